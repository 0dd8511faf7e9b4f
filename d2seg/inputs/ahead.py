"""Fetching the next thing while the last one is worked on."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")

_END: Any = object()


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield what an iterable gives; a thread of its own fetches the next one meanwhile.

    Images are decoded and resized by libraries that let other threads run, models included. What
    the iterable raises is raised here, after what came before it.

    Args:
        items: No more than one is held that was not yielded.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(next, iterator, _END)
        while (item := waiting.result()) is not _END:
            waiting = executor.submit(next, iterator, _END)
            yield item
