"""The progress bar of the commands."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Yield the items, with a bar on stderr where that is a terminal; the bar goes when it is done.

    Args:
        items: What to go through.
        what: One or two words beside the bar.
    """
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    return progress.track(
        items, what, console=console, transient=True, disable=not console.is_terminal
    )
