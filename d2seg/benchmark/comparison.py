"""From the times of the rounds to rates and ratios, with their spread."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """The middle half of some values: the quartiles, interpolated between values."""

    median: float
    lower: float
    upper: float


class Comparison(NamedTuple):
    """What the rounds say about one contestant.

    Attributes:
        name: The contestant.
        seconds: Of each round, in their order, for all images.
        seconds_per_image: Over the rounds.
        images_per_second: Over the rounds.
        speedup: How many times as fast as the baseline. Each round is compared with the baseline's
            time in the same round, so that what slows both down does not count.
    """

    name: str
    seconds: list[float]
    seconds_per_image: Spread
    images_per_second: Spread
    speedup: Spread


def spread_of(values: Sequence[float] | np.ndarray) -> Spread:
    """Return median and quartiles of at least one value."""
    lower, median, upper = np.percentile(values, [25, 50, 75])
    return Spread(float(median), float(lower), float(upper))


def compare(
    times: Mapping[str, Sequence[float]], baseline: str, num_images: int
) -> list[Comparison]:
    """Turn times into rates and ratios.

    Args:
        times: Contestant to the seconds of each round, as `time_rounds` returns them.
        baseline: The contestant to which the others are compared.
        num_images: How many images everyone works through in a round.

    Returns:
        One comparison for each contestant, in their order.

    Raises:
        ValueError: There is no time of the baseline, or a contestant has another number of rounds.
    """
    if baseline not in times:
        raise ValueError(f"The baseline '{baseline}' was not timed; there are {', '.join(times)}.")
    reference = np.asarray(times[baseline])
    for name, seconds in times.items():
        if len(seconds) != len(reference):
            raise ValueError(
                f"'{name}' has {len(seconds)} round(s), '{baseline}' {len(reference)}; they can "
                "only be compared round by round."
            )
    return [
        Comparison(
            name,
            list(seconds),
            spread_of(np.asarray(seconds) / num_images),
            spread_of(num_images / np.asarray(seconds)),
            spread_of(reference / np.asarray(seconds)),
        )
        for name, seconds in times.items()
    ]
