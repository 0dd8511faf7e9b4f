"""Time contestants in turns, so that a slow spell of the machine hits all of them alike."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

SEED = 0
"""The order inside the rounds is random, but the same in every run."""


class Contestant(NamedTuple):
    """Something to time.

    Attributes:
        name: What it is called in the report; not that of another contestant.
        run: Does the work once, and returns when it is done (on a GPU too).
        around: Makes a block around every run, for what is not timed before and after it.
    """

    name: str
    run: Callable[[], object]
    around: Callable[[], AbstractContextManager[object]] = nullcontext


class Rounds(NamedTuple):
    """How often everything is timed.

    Attributes:
        number: How many rounds are timed; each contestant runs once in a round.
        seconds: When set, counts instead of ``number``: rounds begin until so much time is over,
            and there is at least one.
        warmup: How many rounds go before them, untimed.
    """

    number: int = 10
    seconds: float | None = None
    warmup: int = 1


def time_rounds(
    contestants: Sequence[Contestant],
    rounds: Rounds,
    clock: Callable[[], float] = time.perf_counter,
    after_round: Callable[[int], None] = lambda done: None,
) -> dict[str, list[float]]:
    """Time each contestant once in every round, in an order that changes from round to round.

    Args:
        contestants: At least one.
        rounds: How many.
        clock: Gives the time in seconds.
        after_round: Is told how many timed rounds are done; what it does is not timed.

    Returns:
        Name to seconds of each round, contestants in the order given.

    Raises:
        ValueError: There is no contestant, two have one name, or ``rounds`` asks for no round.
    """
    _check_names(contestants)
    order = random.Random(SEED)
    times: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for number in count_rounds(rounds, clock):
        in_turns = _time_round(contestants, order, clock)
        if number:
            for name, seconds in in_turns:
                times[name].append(seconds)
            after_round(number)
    return times


def count_rounds(rounds: Rounds, clock: Callable[[], float] = time.perf_counter) -> Iterator[int]:
    """Yield 0 for each warm-up round, then 1, 2, ... for the timed ones.

    Raises:
        ValueError: As of :func:`check_rounds`, when the first is asked for.
    """
    check_rounds(rounds)
    for _ in range(rounds.warmup):
        yield 0
    start, done = clock(), 0
    while done == 0 or _goes_on(rounds, done, clock() - start):
        done += 1
        yield done


def check_rounds(rounds: Rounds) -> None:
    """Refuse numbers of rounds that are out of range.

    Raises:
        ValueError: No round would be timed, or the number of warm-up rounds is negative.
    """
    if rounds.seconds is None and rounds.number < 1:
        raise ValueError(f"At least 1 round must be timed, got {rounds.number}.")
    if rounds.seconds is not None and not rounds.seconds > 0:
        raise ValueError(f"The time for the rounds must be above 0 s, got {rounds.seconds:g}.")
    if rounds.warmup < 0:
        raise ValueError(f"The number of warm-up rounds must be 0 or more, got {rounds.warmup}.")


def _goes_on(rounds: Rounds, done: int, elapsed: float) -> bool:
    return done < rounds.number if rounds.seconds is None else elapsed < rounds.seconds


def _time_round(
    contestants: Sequence[Contestant], order: random.Random, clock: Callable[[], float]
) -> list[tuple[str, float]]:
    """Run everyone once; return names and seconds in the order in which they ran."""
    times = []
    for contestant in order.sample(contestants, len(contestants)):
        with contestant.around():
            start = clock()
            contestant.run()
            times.append((contestant.name, clock() - start))
    return times


def _check_names(contestants: Sequence[Contestant]) -> None:
    names = [contestant.name for contestant in contestants]
    if not names:
        raise ValueError("There is nothing to time; give at least one contestant.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Contestants need different names; there are several '{twice[0]}'.")
