"""The program in tools/cpp, which has no Python in it, finds what the predictor finds."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from d2seg.predict import Predictor
from tests.conftest import ROOT
from tests.predict.conftest import Stored
from tests.reference import deterministic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("make") and shutil.which("g++")), reason="there is no make or no g++"
    ),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cpp") / "detect"
    arguments = ["-C", ROOT / "tools" / "cpp", f"PYTHON={sys.executable}", f"OUTPUT={path}"]
    done = run("make", *arguments, "CXXFLAGS=-O1 -Wall -Wextra -Werror")
    assert done.returncode == 0, done.stderr
    return path


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )


def detect(program: Path, model: Path, rgb: np.ndarray, folder: Path) -> list[dict[str, Any]]:
    Image.fromarray(rgb).save(folder / "picture.ppm")
    names = [folder / name for name in ("picture.ppm", "found.json", "overlay.ppm")]
    done = run(program, model, *names)
    assert (done.returncode, done.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(names[1].read_text())
    return found


@pytest.mark.parametrize("size_hw", [(97, 150), (130, 70), (64, 96)])
def test_its_detections_are_those_of_the_predictor(
    program: Path, stored: Stored, tmp_path: Path, size_hw: tuple[int, int], record_property: Any
) -> None:
    rgb = np.ascontiguousarray(deterministic.image(1, *size_hw)[:, :, ::-1])
    found = detect(program, stored.ptl, rgb, tmp_path)
    # As a float tensor, the image is resized by the same operator on both sides.
    expected = Predictor(stored.ptl)(torch.from_numpy(rgb).permute(2, 0, 1).float(), "RGB")
    assert len(found) == len(expected) > 0
    assert [one["name"] for one in found] == expected.names
    assert [one["class"] for one in found] == expected.classes.tolist()
    torch.testing.assert_close(torch.tensor([one["score"] for one in found]), expected.scores)
    torch.testing.assert_close(torch.tensor([one["box"] for one in found]), expected.boxes)
    runs = [coco_mask.frPyObjects(one["mask"], *size_hw) for one in found]
    masks = np.stack([coco_mask.decode(run) for run in runs]).astype(bool)
    differing = int((masks != expected.masks().numpy()).sum())
    assert differing <= 2  # probabilities of almost exactly one half
    record_property(
        f"C++ at {size_hw[0]} x {size_hw[1]}",
        f"{len(found)} detections, {differing} of {int(masks.sum())} mask pixels differ",
    )


def test_sure_objects_are_drawn(program: Path, stored: Stored, tmp_path: Path) -> None:
    rgb = np.ascontiguousarray(deterministic.image(1, 97, 150)[:, :, ::-1])
    found = detect(program, stored.ptl, rgb, tmp_path)
    expected = np.zeros((97, 150), bool)
    for one in found:
        if one["score"] >= 0.5:
            expected |= coco_mask.decode(coco_mask.frPyObjects(one["mask"], 97, 150)).astype(bool)
    overlay = np.asarray(Image.open(tmp_path / "overlay.ppm"))
    changed = (overlay != rgb).any(axis=2)
    assert changed.any()
    assert not changed[~expected].any()
    assert changed[expected].mean() > 0.99


def test_bad_input_is_one_line(program: Path, stored: Stored, tmp_path: Path) -> None:
    (tmp_path / "cut.ppm").write_bytes(b"P6\n5 4\n255\n012")
    (tmp_path / "text.ppm").write_text("no picture")
    whole = tmp_path / "whole.ppm"
    Image.new("RGB", (5, 4)).save(whole)
    out = tmp_path / "found.json"
    for arguments, message in [
        (("model.ptl",), "usage: detect model.ptl picture.ppm found.json [overlay.ppm]"),
        ((stored.ptl, "no.ppm", out), "no image file at 'no.ppm'"),
        ((stored.ptl, tmp_path / "cut.ppm", out), "ends before its pixels do"),
        ((stored.ptl, tmp_path / "text.ppm", out), "is no PPM image of 8 bits"),
        ((stored.ptl, whole, tmp_path / "no" / "found.json"), "detections cannot be written"),
        (("no.ptl", whole, out), "no.ptl"),
    ]:
        done = run(program, *arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
