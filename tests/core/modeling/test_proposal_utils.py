"""Changes to lists of proposals, by hand."""

import pytest
import torch

from d2seg.core.modeling.proposal_generator.proposal_utils import (
    GROUND_TRUTH_LOGIT,
    add_ground_truth_to_proposals,
    add_ground_truth_to_proposals_single_image,
)
from d2seg.core.structures import Boxes, Instances


def proposals() -> Instances:
    return Instances(
        (40, 60),
        proposal_boxes=Boxes([[1.0, 2, 9, 8]]),
        objectness_logits=torch.tensor([0.5], dtype=torch.float64),
    )


OBJECTS = Boxes([[5.0, 6, 20, 30], [0.0, 0, 60, 40]])


@pytest.mark.parametrize("gt", [OBJECTS, Instances((40, 60), gt_boxes=OBJECTS)])
def test_ground_truth_comes_after_the_proposals_and_is_certain(gt: Boxes | Instances) -> None:
    single = add_ground_truth_to_proposals_single_image(gt, proposals())
    (of_list,) = add_ground_truth_to_proposals([gt], [proposals()])
    for found in (single, of_list):
        assert found.proposal_boxes.tensor.tolist() == [
            [1, 2, 9, 8],
            [5, 6, 20, 30],
            [0, 0, 60, 40],
        ]
        assert found.objectness_logits.tolist() == [0.5, GROUND_TRUTH_LOGIT, GROUND_TRUTH_LOGIT]
        assert found.image_size == (40, 60)


def test_without_objects_the_proposals_stay() -> None:
    (found,) = add_ground_truth_to_proposals([Boxes(torch.zeros(0, 4))], [proposals()])
    assert found.proposal_boxes.tensor.tolist() == [[1, 2, 9, 8]]
