"""What the keys of a training must be, before anything is loaded or written."""

import torch

from d2seg.framework import CfgNode, build_lr_scheduler, comm


def half_precision(cfg: CfgNode) -> torch.dtype | None:
    """Return what ``SOLVER.AMP`` computes in; None where it is off.

    Raises:
        ValueError: ``TRAIN.AMP_DTYPE`` is no such type.
    """
    types = {"float16": torch.float16, "bfloat16": torch.bfloat16}
    on_gpu = torch.device(cfg.MODEL.DEVICE).type == "cuda" and torch.cuda.is_available()
    name = cfg.TRAIN.AMP_DTYPE or ("float16" if on_gpu else "bfloat16")
    if name not in types:
        raise ValueError(
            f"TRAIN.AMP_DTYPE is '{name}', but must be float16, bfloat16, or empty to choose."
        )
    return types[name] if cfg.SOLVER.AMP.ENABLED else None


def check_training_keys(cfg: CfgNode) -> None:
    """Check the keys that a training needs, before anything is loaded.

    Raises:
        ValueError: Some do not fit together.
    """
    keys = cfg.TRAIN
    build_lr_scheduler(cfg, torch.optim.SGD([torch.zeros(1)], lr=1.0))  # raises for its own keys
    half_precision(cfg)
    size = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
    if keys.ACCUMULATION_STEPS < 1 or size % keys.ACCUMULATION_STEPS:
        raise ValueError(
            f"TRAIN.ACCUMULATION_STEPS is {keys.ACCUMULATION_STEPS}, but must divide the {size} "
            "images that SOLVER.IMS_PER_BATCH gives each process."
        )
    if not 0 <= keys.EMA_DECAY < 1:
        raise ValueError(f"TRAIN.EMA_DECAY is {keys.EMA_DECAY}, but must be from 0 to below 1.")
    if cfg.FEATURES.DUMP_PERIOD and not cfg.FEATURES.DUMP_IMAGES:
        raise ValueError("FEATURES.DUMP_PERIOD needs FEATURES.DUMP_IMAGES, the images to watch.")
    if keys.PATIENCE and not keys.BEST_METRIC:
        raise ValueError("TRAIN.PATIENCE needs TRAIN.BEST_METRIC, the metric that it waits for.")
    if keys.BEST_MODE not in ("max", "min"):
        raise ValueError(f"TRAIN.BEST_MODE is '{keys.BEST_MODE}', but must be max or min.")
    for name in ("BEST_METRIC", "VALIDATION_LOSS"):
        if keys[name] and not cfg.DATASETS.TEST:
            raise ValueError(f"TRAIN.{name} needs a data set in DATASETS.TEST; there is none.")
        if keys[name] and cfg.TEST.EVAL_PERIOD <= 0:
            raise ValueError(
                f"TRAIN.{name} needs evaluations: set TEST.EVAL_PERIOD to the number of iterations "
                f"between them; found {cfg.TEST.EVAL_PERIOD}."
            )
    if cfg.TEST.EXPECTED_RESULTS and not cfg.DATASETS.TEST:
        raise ValueError("TEST.EXPECTED_RESULTS needs a data set in DATASETS.TEST; there is none.")
    sigmas = cfg.TEST.KEYPOINT_OKS_SIGMAS
    expected = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
    if cfg.MODEL.KEYPOINT_ON and cfg.DATASETS.TEST and (len(sigmas) or 17) != expected:
        raise ValueError(
            f"TEST.KEYPOINT_OKS_SIGMAS has {len(sigmas)} numbers, but must have one for each of "
            f"the {expected} keypoints (it may be empty for COCO's 17)."
        )
