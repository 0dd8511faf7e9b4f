"""From the resolution of the network input to that of the user's image."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.core.structures import Instances, ROIMasks


def detector_postprocess(
    results: Instances,
    output_height: int,
    output_width: int,
    mask_threshold: float = 0.5,
    whole_pixels: bool = False,
) -> Instances:
    """Rescale detections to an output resolution and paste their masks.

    Args:
        results: Detections in pixels of the network input; ``pred_masks`` as (N, 1, h, w)
            probabilities of the boxes, ``pred_keypoints`` (N, K, 3) as x, y, score. Not modified.
        output_height: Height in pixels of the wanted output.
        output_width: Width in pixels of the wanted output.
        mask_threshold: Probability from which a pixel belongs to the object.
        whole_pixels: Paste masks into whole pixels, as the first Detectron did.

    Returns:
        New Instances of that size; ``pred_masks`` is (N, output_height, output_width) bool.
        Detections whose box is empty after clipping are left out.
    """
    # In a trace the sizes stay tensors, so that it holds for others.
    keep: Any = torch.as_tensor if torch.jit.is_tracing() else int
    size_hw = (keep(output_height), keep(output_width))
    scale_x = size_hw[1] / results.image_size[1]
    scale_y = size_hw[0] / results.image_size[0]
    output = Instances(size_hw, **results.get_fields())
    name = "pred_boxes" if output.has("pred_boxes") else "proposal_boxes"
    if not output.has(name):
        raise ValueError(
            "Detections need 'pred_boxes' or 'proposal_boxes' to be rescaled, but have only "
            f"{sorted(output.get_fields())}."
        )
    boxes = output.get(name).clone()
    boxes.scale(scale_x, scale_y)
    boxes.clip(size_hw)
    output.set(name, boxes)
    output = output[boxes.nonempty()]
    if output.has("pred_masks"):
        masks = output.pred_masks
        roi_masks = masks if isinstance(masks, ROIMasks) else ROIMasks(masks[:, 0])
        output.pred_masks = roi_masks.to_bitmasks(
            output.pred_boxes.tensor, size_hw[0], size_hw[1], mask_threshold, whole_pixels
        ).tensor
    if output.has("pred_keypoints"):
        keypoints = output.pred_keypoints.clone()
        keypoints[:, :, 0] *= scale_x
        keypoints[:, :, 1] *= scale_y
        output.pred_keypoints = keypoints
    return output


def sem_seg_postprocess(
    result: Tensor, img_size: tuple[int, int], output_height: int, output_width: int
) -> Tensor:
    """Cut the padding off the logits of an image and resize them.

    Args:
        result: (C, H, W) float, of the padded network input.
        img_size: Height and width of the image in it.
        output_height: Height in pixels of the wanted output.
        output_width: Width in pixels of the wanted output.

    Returns:
        (C, output_height, output_width) float.
    """
    image = result[None, :, : img_size[0], : img_size[1]]
    size_hw = (int(output_height), int(output_width))
    return F.interpolate(image, size=size_hw, mode="bilinear", align_corners=False)[0]
