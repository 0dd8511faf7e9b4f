"""Random weights that behave like trained ones: bounded features, as many objects as wanted."""

from typing import Any

import torch
from torch import Tensor, nn

from d2seg.benchmark.work import predicting
from d2seg.framework import CfgNode

Inputs = list[dict[str, Any]]


@torch.no_grad()
def settle_norms(model: Any, inputs: Inputs) -> None:
    """Give the fixed batch norms of a backbone the statistics of some images, in place.

    As drawn, the features of random weights grow from block to block, and boxes with them.

    Args:
        model: In evaluation mode.
        inputs: Of the model.
    """
    norms = [one for one in model.backbone.modules() if hasattr(one, "running_var")]
    hooks = [norm.register_forward_pre_hook(_take_statistics) for norm in norms]
    try:
        model.backbone(model.preprocess_image(inputs).tensor)
    finally:
        for hook in hooks:
            hook.remove()


def _take_statistics(norm: Any, arguments: tuple[Tensor, ...]) -> None:
    variance, mean = torch.var_mean(arguments[0], dim=(0, 2, 3))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


@torch.no_grad()
def ask_for_objects(cfg: CfgNode, model: Any, inputs: Inputs, number: int) -> None:
    """Lower or raise the score threshold so that every image has a number of objects.

    Args:
        cfg: Gets the threshold and the limit of detections, in place.
        model: Its model, in evaluation mode; likewise.
        inputs: Of the model.
        number: How many objects; at least 1.

    Raises:
        ValueError: The model has no box predictor of its own threshold, or its proposals do not
            yield so many objects.
    """
    predictor: Any = getattr(getattr(model, "roi_heads", None), "box_predictor", None)
    if isinstance(predictor, nn.ModuleList) or not hasattr(predictor, "test_score_thresh"):
        raise ValueError(
            "A number of objects can be asked of models with one box predictor (StandardROIHeads), "
            f"but this is another {type(model).__name__}; leave it out."
        )
    with predicting(model):
        predictions, proposals = _predictions(model, inputs)
        probs = torch.cat(predictor.predict_probs(predictions, proposals))[:, :-1]
        scores = probs.flatten().sort(descending=True).values
        predictor.test_topk_per_image = cfg.TEST.DETECTIONS_PER_IMAGE = number
        count, fewest = number, 0
        while fewest < number and count < 2 * len(scores):
            count *= 2
            threshold = float(scores[min(count, len(scores)) - 1])
            predictor.test_score_thresh = cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
            found, _ = predictor.inference(predictions, proposals)
            fewest = min(map(len, found))
    if fewest < number:
        raise ValueError(
            f"One of the images yields {fewest} objects, not {number}; ask for fewer, or raise "
            "MODEL.RPN.POST_NMS_TOPK_TEST."
        )


def _predictions(model: Any, inputs: Inputs) -> tuple[Any, Any]:
    """Return what the box predictor says of all proposals, and the proposals."""
    images = model.preprocess_image(inputs)
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features)
    heads = model.roi_heads
    levels = [features[name] for name in heads.in_features]
    pooled = heads.box_pooler(levels, [one.proposal_boxes for one in proposals])
    return heads.box_predictor(heads.box_head(pooled)), proposals
