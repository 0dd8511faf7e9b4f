import json
import multiprocessing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg import cli
from d2seg.assets import BENCHMARK_CONFIG_FILE, DEMO_IMAGES
from d2seg.benchmark import data
from d2seg.benchmark.data import BOTH, COCO, PILLOW, TORCHVISION, Part, list_parts
from d2seg.benchmark.data_work import make_up_objects, read_training_set, write_photographs
from d2seg.config import load_config
from d2seg.framework import FRAMEWORK
from d2seg.images import find_images, load_image

COCO_MINI = Path(__file__).parents[1] / "data" / "coco_mini"
PARTS = [
    "read",
    "resize",
    "polygons to bitmaps",
    "RLE to resized bitmaps",
    "whole mapper",
]
SMALL = ["INPUT.MIN_SIZE_TEST", "96", "INPUT.MIN_SIZE_TRAIN", "(96,)"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d2seg.benchmark.data.LOADED_IMAGES", 4)


def coco_mini_config(folder: Path, json_file: Path = COCO_MINI / "instances.json") -> Path:
    path = folder / "config.yaml"
    entry = {"json": str(json_file), "image_root": str(COCO_MINI / "images")}
    name = json_file.parent.name + folder.name
    data = {"REGISTER": {name: entry}, "TRAIN": [name]}
    text = {"_BASE_": str(BENCHMARK_CONFIG_FILE), "DATASETS": data}
    path.write_text(json.dumps(text))
    return path


def as_array(result: Any) -> np.ndarray:
    """Return an image as (H, W, 3) BGR, masks as they are."""
    if isinstance(result, torch.Tensor) and result.dtype == torch.uint8:
        return result.numpy().transpose(1, 2, 0)[:, :, ::-1]
    return np.asarray(result)


def check_equal_work(parts: list[Part]) -> None:
    for part in parts[:-1]:
        for one in part.inputs:
            results = {name: as_array(work(one)) for name, work in part.contestants.items()}
            first = next(iter(results.values()))
            for name, other in results.items():
                if name != TORCHVISION:
                    assert np.array_equal(other, first), (part.name, name)
    for one in parts[-1].inputs:
        plain, mapped = (work(one) for work in parts[-1].contestants.values())
        assert torch.equal(plain["image"], mapped["image"])
        kept = plain["masks"].flatten(1).any(dim=1)  # the mapper leaves out what has no pixel
        assert torch.equal(plain["masks"][kept], mapped["instances"].gt_masks.tensor)


def test_everyone_does_equal_work_on_made_up_objects(tmp_path: Path) -> None:
    paths = write_photographs(find_images([DEMO_IMAGES])[:2], (60, 90), tmp_path)
    assert [load_image(path).shape for path in paths] == [(60, 90, 3)] * 2
    parts = list_parts(make_up_objects(paths, 3), load_config(BENCHMARK_CONFIG_FILE, SMALL))
    assert [part.name for part in parts] == PARTS
    baselines = [next(iter(part.contestants)) for part in parts]
    assert baselines == [PILLOW, PILLOW, COCO, BOTH, BOTH]
    assert all(FRAMEWORK in part.contestants for part in parts)
    check_equal_work(parts)


def test_everyone_does_equal_work_on_a_training_set(tmp_path: Path) -> None:
    cfg = load_config(coco_mini_config(tmp_path), SMALL)
    records = read_training_set(cfg, images=4)
    assert len(records) == 4
    kinds = [type(one["segmentation"]) for each in records for one in each["annotations"]]
    assert list in kinds
    check_equal_work(list_parts(records, cfg))


def test_torchvision_does_not_read_every_format(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "one.bmp")
    records = make_up_objects([tmp_path / "one.bmp"], 1)
    reading = list_parts(records, load_config(BENCHMARK_CONFIG_FILE, SMALL))[0]
    assert list(reading.contestants) == [PILLOW, FRAMEWORK]


@pytest.mark.parametrize("own_set", [False, True])
@pytest.mark.usefixtures("few")
def test_the_command_prints_and_writes(
    own_set: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, plot = tmp_path / "speed.json", tmp_path / "speed.svg"
    options = ["--rounds", "2", "--warmup", "0", "--threads", "1"]
    options += ["--json", str(path), "--plot", str(plot)]
    if own_set:
        options += ["--config-file", str(coco_mini_config(tmp_path)), "--images", "3"]
    else:
        options += ["--input", str(DEMO_IMAGES), "--objects", "2"]
    assert cli.main(["benchmark", "--task", "data", *options, *SMALL]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("3 image(s) of" if own_set else "6 image(s) of")
    assert "MODEL.WEIGHTS" not in printed
    assert "whole loader" in printed
    assert len(ElementTree.parse(plot).getroot().findall("{*}svg")) == len(PARTS) + 1
    document = json.loads(path.read_text())
    assert document["task"] == "data"
    assert len(document["work"]["image_sizes_hw"]) == document["work"]["images"]
    assert "network_sizes_hw" not in document["work"]
    assert document["work"]["objects"] == 12 or own_set
    assert list(document["parts"]) == [*PARTS, "whole loader"]
    for part in document["parts"].values():
        assert part["baseline"] == part["results"][0]["name"]
        assert all(len(one["seconds"]) == 2 and min(one["seconds"]) > 0 for one in part["results"])
    workers = [one["name"] for one in document["parts"]["whole loader"]["results"]]
    assert workers == ["0 workers", "1 worker", "2 workers"]


def test_workers_work_only_while_their_loader_is_timed(tmp_path: Path) -> None:
    paths = write_photographs(find_images([DEMO_IMAGES])[:2], (60, 90), tmp_path)
    cfg = load_config(BENCHMARK_CONFIG_FILE, SMALL)
    loader = data._loader(make_up_objects(paths, 3), cfg, 1, workers=2, num_batches=3)
    for _ in range(2):
        with loader.around():
            assert len(multiprocessing.active_children()) == 2
            loader.run()
        assert not multiprocessing.active_children()


def set_without_masks(folder: Path) -> Path:
    content = json.loads((COCO_MINI / "instances.json").read_text())
    (folder / "bare").mkdir()
    (folder / "bare" / "bare.json").write_text(json.dumps({**content, "annotations": []}))
    return coco_mini_config(folder, folder / "bare" / "bare.json")


def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "speed.json"
    (tmp_path / "empty").mkdir()
    bare = set_without_masks(tmp_path)
    for options, complaint in [
        (["--input", str(tmp_path / "empty")], "has no image"),
        (["--config-file", str(bare)], "has an annotated object with a mask."),
        (["--config-file", str(bare), "DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty; name"),
        (["--config-file", str(bare), "--images", "0"], "images must be at least 1, got 0."),
        (["--config-file", str(bare), "--size", "9", "9"], "--size does not count where the"),
        (["--config-file", str(bare), "--objects", "9"], "--objects does not count where the"),
        (["--images", "9"], "--images does not count where no training set is measured"),
        (["--objects", "0"], "The number of objects must be at least 1, got 0."),
        (["--size", "0", "9"], "The size of images must be positive, got 0x9."),
        (["--batch-size", "0"], "The batch size must be at least 1, got 0."),
    ]:
        arguments = ["benchmark", "--task", "data", "--json", str(path), *options]
        assert cli.main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("d2seg: error: ")
        assert complaint in error
        assert error.count("\n") == 1
        assert not path.exists()
