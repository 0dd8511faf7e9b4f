import pytest

from d2seg.benchmark import Spread, compare
from d2seg.benchmark.comparison import spread_of


def test_quartiles_are_interpolated() -> None:
    assert spread_of([4.0, 1.0, 2.0, 3.0, 5.0]) == Spread(median=3.0, lower=2.0, upper=4.0)
    assert spread_of([1.0, 2.0]) == Spread(median=1.5, lower=1.25, upper=1.75)
    assert spread_of([7.0]) == Spread(7.0, 7.0, 7.0)


def test_times_become_rates() -> None:
    whole, part = compare({"whole": [8.0, 4.0, 16.0], "part": [2.0, 2.0, 2.0]}, "whole", 4)
    assert (whole.name, part.name) == ("whole", "part")
    assert whole.seconds_per_image == Spread(2.0, 1.5, 3.0)
    assert whole.images_per_second == Spread(0.5, 0.375, 0.75)
    assert part.images_per_second == Spread(2.0, 2.0, 2.0)
    assert whole.speedup == Spread(1.0, 1.0, 1.0)
    assert part.speedup == Spread(4.0, 3.0, 6.0)


def test_a_spell_that_slows_all_does_not_change_the_ratio() -> None:
    times = {"whole": [2.0, 20.0, 2.0, 6.0], "part": [1.0, 10.0, 1.0, 3.0]}
    assert compare(times, "whole", 1)[1].speedup == Spread(2.0, 2.0, 2.0)


def test_what_cannot_be_compared_is_named() -> None:
    with pytest.raises(ValueError, match="baseline 'whole' was not timed; there are a, b"):
        compare({"a": [1.0], "b": [1.0]}, "whole", 1)
    with pytest.raises(ValueError, match=r"'b' has 2 round\(s\), 'a' 1;"):
        compare({"a": [1.0], "b": [1.0, 2.0]}, "a", 1)
