"""Every family with fixed shapes, against the eager model on the same canvas."""

from typing import Any

import pytest
import torch

from d2seg.export.deployable import DeployableRCNN
from d2seg.export.description import describe
from d2seg.export.parity import ParityReport, compare_file
from d2seg.export.static.canvas import OnCanvas, fit_canvas
from d2seg.export.static.deployable import StaticRCNN
from d2seg.export.static.export import describe_static
from d2seg.export.static.letterbox import place_on_canvas
from d2seg.export.static.runner import Letterboxed
from tests.core.modeling.thin import _HEADS as HEADS
from tests.core.modeling.thin import ARCHITECTURES, thin_config, thin_model
from tests.export.models import pictures

CANVAS_HW = (64, 96)
# As many as people have: on random maps a few of them have two peaks, and may be on either.
KEYPOINTS = {**ARCHITECTURES["keypoints"], "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 17}
FAMILIES: dict[str, dict[str, Any]] = {
    "Faster R-CNN": {"MODEL.MASK_ON": False},
    "Mask R-CNN C4": ARCHITECTURES["c4"],
    "Mask R-CNN DC5": ARCHITECTURES["dc5"],
    "Keypoint R-CNN": {**KEYPOINTS, "MODEL.MASK_ON": False},
    "masks and keypoints": KEYPOINTS,
    "Cascade Mask R-CNN": ARCHITECTURES["cascade"],
    "deformable convolutions": ARCHITECTURES["deformable"],
    "RetinaNet": ARCHITECTURES["retinanet_bn"],
    "RetinaNet of one class": {
        **ARCHITECTURES["retinanet_bn"],
        "MODEL.RETINANET.NUM_CLASSES": 1,
    },
}


def compare(name: str) -> tuple[ParityReport, Letterboxed]:
    opts = {**HEADS, "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.25, **FAMILIES[name]}
    return compare_model(thin_model(opts), thin_config(opts))


def compare_model(model: Any, cfg: Any) -> tuple[ParityReport, Letterboxed]:
    static = StaticRCNN(DeployableRCNN(model), CANVAS_HW)
    placed = [fit_canvas(image, CANVAS_HW) for image in pictures()]
    canvas = place_on_canvas(placed[0], CANVAS_HW)
    size = torch.tensor(placed[0].shape[1:])
    run = Letterboxed(
        static, describe_static(describe(cfg, "pte", True, "BGR"), static, (canvas, size))
    )
    names = [one.name for one in run.description.outputs]
    return compare_file(OnCanvas(model, CANVAS_HW), run, placed, False, names), run


@pytest.mark.parametrize("name", FAMILIES)
def test_it_finds_what_the_eager_model_finds(name: str, record_property: Any) -> None:
    report, _ = compare(name)
    assert report.passed, report.table()
    assert min(image.num_eager for image in report.images) > 5
    record_property(name, f"\n{report.table()}")
