import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from d2seg.benchmark import Contestant, Rounds, check_rounds, time_rounds
from d2seg.benchmark.rounds import count_rounds


class FakeClock:
    """A clock that goes on only when a contestant works."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ran: list[str] = []

    def __call__(self) -> float:
        return self.now

    def contestant(self, name: str, seconds: float, slower: float = 0.0) -> Contestant:
        """Make one that takes so long, and each time ``slower`` more."""

        def run() -> None:
            self.now += seconds + slower * self.ran.count(name)
            self.ran.append(name)

        return Contestant(name, run)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_each_gets_its_own_times_in_the_order_of_the_rounds(clock: FakeClock) -> None:
    contestants = [clock.contestant("slow", 2.0, slower=0.5), clock.contestant("fast", 0.25)]
    times = time_rounds(contestants, Rounds(3, warmup=0), clock)
    assert times == {"slow": [2.0, 2.5, 3.0], "fast": [0.25, 0.25, 0.25]}
    assert list(times) == ["slow", "fast"]


def test_all_run_once_in_every_round(clock: FakeClock) -> None:
    contestants = [clock.contestant(name, 1.0) for name in "abcd"]
    time_rounds(contestants, Rounds(20, warmup=0), clock)
    rounds = [tuple(clock.ran[i : i + 4]) for i in range(0, 80, 4)]
    assert all(sorted(one) == list("abcd") for one in rounds)
    assert len(set(rounds)) > 5
    assert {one[0] for one in rounds} == set("abcd")


def test_the_order_is_the_same_in_every_run(clock: FakeClock) -> None:
    contestants = [clock.contestant(name, 1.0) for name in "abc"]
    time_rounds(contestants, Rounds(5, warmup=0), clock)
    first = clock.ran[:]
    time_rounds(contestants, Rounds(5, warmup=0), clock)
    assert clock.ran == first * 2


def test_warm_up_rounds_run_but_do_not_count(clock: FakeClock) -> None:
    times = time_rounds([clock.contestant("a", 1.0, slower=1.0)], Rounds(2, warmup=3), clock)
    assert times == {"a": [4.0, 5.0]}


@pytest.mark.parametrize(("seconds", "number"), [(0.1, 1), (6.0, 2), (6.5, 3)])
def test_rounds_begin_until_the_time_is_over(clock: FakeClock, seconds: float, number: int) -> None:
    contestants = [clock.contestant("a", 1.0), clock.contestant("b", 2.0)]
    times = time_rounds(contestants, Rounds(99, seconds=seconds), clock)
    assert times == {"a": [1.0] * number, "b": [2.0] * number}


def test_what_is_done_after_a_round_is_not_timed(clock: FakeClock) -> None:
    told = []

    def after_round(done: int) -> None:
        told.append(done)
        clock.now += 1000

    times = time_rounds([clock.contestant("a", 1.0)], Rounds(3), clock, after_round)
    assert times == {"a": [1.0, 1.0, 1.0]}
    assert told == [1, 2, 3]


@pytest.mark.parametrize(
    ("names", "rounds", "complaint"),
    [
        ("", Rounds(), "nothing to time"),
        ("aba", Rounds(), "need different names; there are several 'a'"),
        ("a", Rounds(0), "At least 1 round must be timed, got 0"),
        ("a", Rounds(seconds=0.0), "must be above 0 s, got 0"),
        ("a", Rounds(seconds=float("nan")), "must be above 0 s, got nan"),
        ("a", Rounds(warmup=-1), "must be 0 or more, got -1"),
    ],
)
def test_wrong_arguments_are_named(
    clock: FakeClock, names: str, rounds: Rounds, complaint: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        time_rounds([clock.contestant(name, 1.0) for name in names], rounds, clock)
    assert not clock.ran
    if names == "a":
        with pytest.raises(ValueError, match=re.escape(complaint)):
            check_rounds(rounds)


def test_rounds_are_counted_from_the_first_timed_one(clock: FakeClock) -> None:
    assert list(count_rounds(Rounds(3, warmup=2), clock)) == [0, 0, 1, 2, 3]


def test_what_lies_around_a_run_is_not_timed(clock: FakeClock) -> None:
    @contextmanager
    def around() -> Iterator[None]:
        clock.now += 10
        yield
        clock.now += 10

    contestant = clock.contestant("a", 1.0)._replace(around=around)
    assert time_rounds([contestant], Rounds(2), clock) == {"a": [1.0, 1.0]}
    assert clock.now == 100 + 3 * 21
