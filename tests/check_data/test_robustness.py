"""Whatever a file holds, it is told in findings, and the corrected copy passes the check."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from d2seg.check_data import check_dataset, write_corrected
from tests.check_data.conftest import DataFolder

JUNK: list[Any] = [
    *(None, True, -1, 0, 1, 2, 1.5, 1.0, 1e308, -1e308, float("nan"), float("inf"), 10**400),
    *("", "x", "1", "a.png", "../a.png", [], {}, [[]], [1], [None], [[1, 1, 9, 1, 9, 9]]),
    *([1, 1, 9, 1, 9, 9], [-5, -5, 300, 300], {"size": [1, 2], "counts": "abc"}),
    *({"size": [40, 60], "counts": [2400]}, {"size": [-40, -60], "counts": [2400]}),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where something is in a JSON value."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


def damage(content: Any, chance: random.Random) -> None:
    """Replace, remove or repeat something."""
    *path, key = chance.choice(list(places(content)))
    parent = content
    for step in path:
        parent = parent[step]
    kind = chance.random()
    if kind < 0.2:
        del parent[key]
    elif kind < 0.35 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        parent[key] = copy.deepcopy(chance.choice(JUNK))


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_are_checked_and_corrected(folder: DataFolder, seed: int) -> None:
    chance = random.Random(seed)
    folder.content["categories"][1]["keypoints"] = ["head", "tail"]
    folder.annotation(category_id=2, keypoints=[1, 2, 2, 3, 4, 1], num_keypoints=2)
    whole, passed = folder.content, 0
    target = folder.json.with_name("corrected.json")
    for _ in range(40):
        folder.content = copy.deepcopy(whole)
        for _ in range(chance.randint(1, 4)):
            damage(folder.content, chance)
        report = folder.check(decode=False)
        try:
            corrected, _ = write_corrected(report, target)
        except ValueError as error:  # not in COCO's format, or nothing is left
            assert not report.passed, error
            continue
        assert corrected.passed, corrected.findings
        again = check_dataset(str(target), str(folder.images), decode=False)
        assert again.findings == corrected.findings
        assert write_corrected(again, folder.json.with_name("twice.json"))[1] == []
        passed += 1
    assert passed > 30
