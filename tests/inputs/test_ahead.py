import threading
from collections.abc import Iterator

import pytest

from d2seg.inputs import read_ahead


def test_everything_comes_in_order() -> None:
    assert list(read_ahead(range(1, 50))) == list(range(1, 50))
    assert list(read_ahead([])) == []
    assert list(read_ahead([1, None, 2])) == [1, None, 2]


def test_the_next_is_fetched_meanwhile_by_another_thread() -> None:
    fetched = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number, event in enumerate(fetched):
            event.set()
            yield number
            assert threading.current_thread() is not threading.main_thread()

    for number in read_ahead(items()):
        if number < 3:
            assert fetched[number + 1].wait(timeout=10)
        if number < 2:
            assert not fetched[number + 2].is_set()


def test_an_error_comes_after_what_was_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for number in read_ahead(items()):
            seen.append(number)
    assert seen == [1, 2]


def test_stopping_early_ends_the_thread() -> None:
    before = threading.active_count()
    ahead = read_ahead(range(1, 100))
    assert next(ahead) == 1
    ahead.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
