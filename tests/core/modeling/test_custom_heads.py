"""Heads of projects, written for detectron2: its signatures, and plain dicts of losses."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from d2seg.core.modeling import ROI_HEADS_REGISTRY
from d2seg.core.modeling.roi_heads import StandardROIHeads
from d2seg.core.structures import Instances
from tests.core.modeling.thin import thin_architecture
from tests.reference.cases import ground_truth, picture


class ProjectHeads(StandardROIHeads):
    """Overrides each step with the arguments that detectron2 gives it."""

    def _forward_box(self, features: dict[str, Tensor], proposals: list[Instances]) -> Any:
        result = super()._forward_box(features, proposals)
        return self._doubled(result)

    def _forward_mask(self, features: dict[str, Tensor], instances: list[Instances]) -> Any:
        return self._doubled(super()._forward_mask(features, instances))

    def _forward_keypoint(self, features: dict[str, Tensor], instances: list[Instances]) -> Any:
        return self._doubled(super()._forward_keypoint(features, instances))

    def _doubled(self, result: Any) -> Any:
        if not self.training:
            return result
        return {name: 2 * loss for name, loss in result.items()}


@pytest.fixture
def project_heads() -> Iterator[str]:
    ROI_HEADS_REGISTRY.register(ProjectHeads)
    yield "ProjectHeads"
    del ROI_HEADS_REGISTRY._obj_map["ProjectHeads"]


def one_input() -> list[dict[str, Any]]:
    targets = ground_truth(1, 96, 160, 3, num_keypoints=4)
    return [{"image": picture(1, 96, 160), "instances": targets}]


def trained(name: str, opts: dict[str, Any] | None = None) -> dict[str, Tensor]:
    model = thin_architecture(name, opts).train()
    torch.manual_seed(0)
    return dict(model(one_input()))


def test_steps_with_the_signatures_of_detectron2_train_and_detect(project_heads: str) -> None:
    plain = trained("keypoints")
    own = trained("keypoints", {"MODEL.ROI_HEADS.NAME": project_heads})
    sum(own.values()).backward()
    assert own.keys() == plain.keys()
    for name, loss in own.items():
        factor = 1 if "rpn" in name else 2
        torch.testing.assert_close(loss, factor * plain[name])
    model = thin_architecture("keypoints", {"MODEL.ROI_HEADS.NAME": project_heads})
    with torch.no_grad():
        (found,) = model([{"image": picture(1, 96, 160)}])
    assert found["instances"].has("pred_keypoints")
