"""Features of every family that has regions; the others are refused."""

import pytest
import torch

from d2seg.features import FeatureExtractor
from tests.core.modeling.thin import thin_architecture
from tests.reference.cases import picture

STAGES = ["instances", "box_pooler", "box_head", "mask_pooler", "mask_head"]


@pytest.mark.parametrize("family", ["c4", "dc5", "cascade", "keypoints", "panoptic", "deformable"])
def test_rows_of_every_stage_line_up_with_the_detections(family: str) -> None:
    model = thin_architecture(family)
    images = [picture(1, 96, 160), picture(2, 128, 70)]
    for features in FeatureExtractor(model, STAGES).extract(images):
        count = len(features["instances.scores"])
        assert count > 0
        for stage in STAGES[1:]:
            assert features[stage].shape[0] == count
            assert torch.isfinite(features[stage]).all()


@pytest.mark.parametrize("family", ["retinanet", "semantic", "proposals"])
def test_models_without_regions_are_named(family: str) -> None:
    with pytest.raises(TypeError, match="Features come from a GeneralizedRCNN .* got "):
        FeatureExtractor(thin_architecture(family), ["backbone"])


def test_precomputed_proposals_are_refused() -> None:
    model = thin_architecture("fpn", {"MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals"})
    with pytest.raises(TypeError, match="with .*proposal_generator"):
        FeatureExtractor(model, ["backbone"])
