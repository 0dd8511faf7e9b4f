"""The extractor's tensors against what detectron2 recorded."""

import pytest

from d2seg.features import FeatureExtractor
from d2seg.framework import Boxes, Instances
from tests.core.test_reference_cases import rows_as_recorded
from tests.reference import cases, compare

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", cases.CASES)
def test_features_are_the_recorded_ones(name: str) -> None:
    recorded = cases.load_case(name)["inference"]
    model = cases.case_model(name)
    where = recorded["seed"], recorded["height"], recorded["width"]
    inputs = {"image": cases.picture(*where)}
    if getattr(model, "proposal_generator", None) is None:
        inputs["proposals"] = cases.given_proposals(*where)
    wanted = ["backbone", "proposals", "instances", "mask_pooler", "mask_head"]
    stages = [
        one for one in wanted if one in FeatureExtractor(model, ["backbone"]).available_stages
    ]
    features = FeatureExtractor(model, stages).extract([inputs])[0]

    differences = []
    for level, tensor in recorded.get("features", {}).items():
        found = features[f"backbone.{level}"][None].numpy()
        differences += compare.compare_tensor(level, tensor, found)
    if "proposals" in recorded:
        boxes, logits = features["proposals.boxes"], features["proposals.logits"]
        differences += compare.compare_detections(
            "proposals", recorded["proposals"], boxes.numpy(), logits.numpy()
        )
    if "roi_heads" in recorded:
        raw = recorded["roi_heads"]
        boxes, classes = features["instances.boxes"], features["instances.classes"]
        differences += compare.compare_detections(
            "instances", raw, boxes.numpy(), features["instances.scores"].numpy(), classes.numpy()
        )
        found = Instances((1, 1), pred_boxes=Boxes(boxes), pred_classes=classes)
        order = rows_as_recorded(raw, found)
        tensors = {"mask_pooler": recorded.get("mask_pooler")}
        tensors["mask_head"] = raw.get("mask_probabilities")
        for stage, tensor in tensors.items():
            if tensor is not None:
                rows = features[stage][order].numpy()
                differences += compare.compare_tensor(stage, tensor, rows)
    assert differences == []
