"""Changes to lists of proposals, by hand."""

import pytest
import torch

from d2seg.core.modeling.proposal_generator.proposal_utils import (
    GROUND_TRUTH_LOGIT,
    add_ground_truth_to_proposals,
    add_ground_truth_to_proposals_single_image,
    find_top_rpn_proposals,
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


FINE = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 11], [50, 30, 70, 50], [5, 5, 6, 30]])
COARSE = torch.tensor([[0.0, 0, 10, 10]])


def top_proposals(training: bool, fine: torch.Tensor = FINE) -> list[Instances]:
    logits = [torch.tensor([[1.0, 3.0, 2.0, 5.0]] * 2), torch.tensor([[0.5], [4.0]])]
    return find_top_rpn_proposals(
        [torch.stack([fine, FINE]), torch.stack([COARSE, COARSE])],
        logits,
        [(40, 60), (40, 60)],
        nms_thresh=0.7,
        pre_nms_topk=3,
        post_nms_topk=2,
        min_box_size=2.0,
        training=training,
    )


def test_top_proposals_are_clipped_and_suppressed_within_their_level() -> None:
    first, second = top_proposals(training=True)
    # The third of the fine level is clipped, the fourth is too narrow, the first not in its top 3.
    assert first.proposal_boxes.tensor.tolist() == [[0, 0, 10, 11], [50, 30, 60, 40]]
    assert first.objectness_logits.tolist() == [3.0, 2.0]
    assert second.proposal_boxes.tensor.tolist() == [[0, 0, 10, 10], [0, 0, 10, 11]]
    assert second.objectness_logits.tolist() == [4.0, 3.0]


def test_boxes_that_are_not_finite_are_left_out_but_in_training() -> None:
    broken = FINE.clone()
    broken[1, 2] = torch.inf
    first, _ = top_proposals(training=False, fine=broken)
    assert first.objectness_logits.tolist() == [2.0, 0.5]
    with pytest.raises(FloatingPointError, match="training has diverged"):
        top_proposals(training=True, fine=broken)
