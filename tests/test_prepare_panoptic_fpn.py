"""Making label maps of stuff."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

MINI = ROOT / "tests" / "data" / "coco_mini"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = ROOT / "tools" / "prepare_panoptic_fpn.py"
    spec = spec_from_file_location("prepare_panoptic_fpn", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_things_stuff_and_nothing(tool: ModuleType) -> None:
    categories = [{"id": 7, "isthing": 0}, {"id": 3, "isthing": 1}, {"id": 5, "isthing": 0}]
    labels = tool.label_of_category(categories)
    assert labels == {3: 0, 5: 1, 7: 2}
    panoptic = np.array([[[1, 0, 0], [2, 1, 0], [0, 0, 1], [9, 9, 9]]], dtype=np.uint8)
    segments = [
        {"id": 1, "category_id": 3},
        {"id": 2 + 256, "category_id": 7},
        {"id": 65536, "category_id": 5},
    ]
    assert tool.make_label_map(panoptic, segments, labels).tolist() == [[0, 2, 1, 255]]


def test_too_much_stuff(tool: ModuleType) -> None:
    with pytest.raises(ValueError, match="room for 254 categories of stuff, not 255"):
        tool.label_of_category([{"id": n, "isthing": 0} for n in range(255)])


def test_a_folder_of_coco(tool: ModuleType, tmp_path: Path) -> None:
    paths = ["--json", str(MINI / "panoptic.json"), "--panoptic", str(MINI / "panoptic")]
    tool.main([*paths, "--output", str(tmp_path / "stuff")])
    maps = sorted((tmp_path / "stuff").iterdir())
    assert [path.name for path in maps] == sorted(p.name for p in (MINI / "panoptic").iterdir())
    values = set(np.unique(np.asarray(Image.open(maps[0]))).tolist())
    assert 0 in values
    assert values <= {*range(54), 255}
