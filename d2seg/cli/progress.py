"""The progress bar of the commands."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")


def track(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Yield the items, with a bar on stderr where that is a terminal; the bar goes when it is done.

    Args:
        items: What to go through.
        what: One or two words beside the bar.
    """
    from rich import progress

    return progress.track(items, what, **_options())


@contextmanager
def advancing(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
    """Show a bar, as `track` does, with the rate; yield what moves it on by so many steps.

    Args:
        total: How many steps there are, if that is known.
        what: One or two words beside the bar.
    """
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        _rate_column(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, **_options()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.update(task, advance=steps)


def show_round(done: int) -> None:
    """Count rounds on a terminal; a bar would redraw itself while something is timed."""
    if sys.stderr.isatty():
        print(f"round {done}", end="\r", file=sys.stderr, flush=True)


def _rate_column() -> Any:
    from rich import progress, text

    class Rate(progress.ProgressColumn):
        """Steps per second."""

        def render(self, task: progress.Task) -> text.Text:
            return text.Text(f"{task.speed:.2f}/s" if task.speed else "")

    return Rate()


def _options() -> dict[str, Any]:
    from rich.console import Console

    console = Console(stderr=True)
    return {"console": console, "transient": True, "disable": not console.is_terminal}
