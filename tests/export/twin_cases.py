"""Files, the images to run them on in torch 2.1.0, and what must come out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.config import load_config
from d2seg.export.eager import Detections
from d2seg.export.parity import compare_detections
from d2seg.export.torchscript import RunFile
from d2seg.framework import DetectionCheckpointer, build_model
from d2seg.images import find_images, load_image
from d2seg.postprocess import resize_shortest_edge
from tests.core.modeling.thin import _HEADS as HEADS
from tests.core.modeling.thin import ARCHITECTURES
from tests.export.twin import TWIN, run_in_twin

CUTS_HW = ((160, 224), (97, 131), (33, 45))
THRESHOLD = {**HEADS, "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.25}
FAMILIES: dict[str, dict[str, Any]] = {
    "Faster R-CNN": {"MODEL.MASK_ON": False},
    "Mask R-CNN C4": ARCHITECTURES["c4"],
    "Mask R-CNN DC5": ARCHITECTURES["dc5"],
    "Keypoint R-CNN": {**ARCHITECTURES["keypoints"], "MODEL.MASK_ON": False},
    "Cascade Mask R-CNN": ARCHITECTURES["cascade"],
    "deformable convolutions": ARCHITECTURES["deformable"],
    "RetinaNet": {**ARCHITECTURES["retinanet_bn"], "MODEL.RETINANET.SCORE_THRESH_TEST": 0.01},
}


@dataclass(frozen=True)
class Case:
    """A file, the images to run it on, and what must come out.

    Attributes:
        path: The file.
        images: Each (3, H, W).
        names: Of the outputs.
        expected: What runs here, for each image.
    """

    path: Path
    images: list[Tensor]
    names: list[str]
    expected: list[Detections]


def nuclei_images() -> list[Tensor]:
    """Return real images of four sizes, and one that shows nothing but the grain of a camera."""
    whole = torch.from_numpy(load_image(find_images([DEMO_IMAGES])[0])).permute(2, 0, 1).float()
    enlarged = resize_shortest_edge(whole, 320, 320)
    images = [enlarged, *(whole[:, -height:, -width:] for height, width in CUTS_HW)]
    grain = torch.randn(3, 200, 176, generator=torch.Generator().manual_seed(0))
    return [*images, (whole.median() + 2 * grain).round().clamp(0, 255)]


def demo_model() -> Any:
    cfg = load_config(DEMO_CONFIG_FILE)
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


def outputs_of(run: RunFile, names: Sequence[str], images: Sequence[Tensor]) -> list[Detections]:
    with torch.inference_mode():
        return [Detections.from_outputs(names, run(image)) for image in images]


def ask_twin(cases: dict[str, Case], config: pytest.Config, folder: Path) -> dict[str, Any]:
    jobs = [(case.path, case.images) for case in cases.values()]
    answer = run_in_twin(TWIN.find(config), jobs, folder)
    return {**answer, "results": dict(zip(cases, answer["results"], strict=True))}


def compare_all(case: Case, results: Any) -> tuple[list[int], float]:
    """Compare detections image by image; return how many there were and the worst box."""
    assert isinstance(results, list), results
    counts, worst = [], 0.0
    for image, expected, outputs in zip(case.images, case.expected, results, strict=True):
        size_hw = (image.shape[1], image.shape[2])
        found = Detections.from_outputs(case.names, outputs)
        parity = compare_detections(size_hw, expected, found)
        assert parity.passed, parity
        assert outputs[-1].tolist() == list(size_hw)
        counts.append(parity.num_eager)
        worst = max(worst, parity.box_difference if parity.num_matched else 0.0)
    return counts, worst
