"""Models of published configs that nobody recorded: one step of training, one prediction."""

from typing import Any

import pytest
import torch

from d2seg.core import model_zoo
from d2seg.core.modeling import build_model
from tests.reference import cases

WHERE = (7, 96, 128)  # seed, height, width
# Little work: the fifth stage of a C4 model runs on every region.
SMALL = [
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 8, "TEST.DETECTIONS_PER_IMAGE", 4),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 16, "MODEL.RPN.POST_NMS_TOPK_TEST", 8),
]

# Each way in which a published model differs from the recorded ones.
NEW_IN_SOME_WAY = {
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x_giou": "another box loss",
    "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x": "grouped convolutions",
    "Detectron1-Comparisons/keypoint_rcnn_R_50_FPN_1x": "smooth losses, unaligned pooling",
    "LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x": "many classes",
    "Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv": "grouped deformable convolutions",
    "Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x": "stuff beside a cascade",
    "Misc/scratch_mask_rcnn_R_50_FPN_9x_syncbn": "nothing frozen",
    "quick_schedules/keypoint_rcnn_R_50_FPN_normalized_training_acc_test": "keypoint loss by count",
    "quick_schedules/mask_rcnn_R_50_FPN_pred_boxes_training_acc_test": "masks on predicted boxes",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NEW_IN_SOME_WAY)
def test_losses_gradients_and_results_are_finite(name: str) -> None:
    cfg = model_zoo.get_config(f"{name}.yaml")
    cfg.merge_from_list(SMALL)
    model = build_model(cfg)
    cases.fill_deterministic(model, pixel_std_is_one=all(s == 1 for s in cfg.MODEL.PIXEL_STD))
    inputs = one_image(cfg.MODEL)

    losses = model.train()([inputs])
    sum(losses.values()).backward()
    assert all(loss.isfinite() and loss >= 0 for loss in losses.values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)

    with torch.no_grad():
        (result,) = model.eval()([{"image": inputs["image"], "height": 64, "width": 96}])
    instances = result["instances"]
    assert instances.image_size == (64, 96)
    for value in instances.get_fields().values():
        assert torch.as_tensor(getattr(value, "tensor", value)).isfinite().all()
    assert instances.has("pred_keypoints") == cfg.MODEL.KEYPOINT_ON
    assert instances.has("pred_masks") == cfg.MODEL.MASK_ON


def one_image(cfg: Any) -> dict[str, Any]:
    """Return the deterministic image with what the model of section MODEL learns from."""
    num_keypoints = cfg.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS if cfg.KEYPOINT_ON else 0
    return {
        "image": cases.picture(*WHERE),
        "instances": cases.ground_truth(*WHERE, 1, num_keypoints),
        "sem_seg": cases.semantic_map(*WHERE),
    }
