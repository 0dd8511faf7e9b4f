"""Fetching the next thing while the last one is worked on."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield what an iterable gives; a thread of its own fetches the next one meanwhile.

    Images are decoded and resized by libraries that let other threads run, models included. What
    the iterable raises is raised here, after what came before it.

    Args:
        items: None is among them at the end only. No more than one is held that was not yielded.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(next, iterator, None)
        while (item := waiting.result()) is not None:
            waiting = executor.submit(next, iterator, None)
            yield item
