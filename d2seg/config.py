"""Making a config the way every tool does: defaults, the plugin's keys, a file, overrides."""

import os
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem

from d2seg.datasets import fill_num_classes, register_datasets
from d2seg.framework import FRAMEWORK, CfgNode, PathManager, get_cfg, model_zoo


def add_d2seg_config(cfg: CfgNode) -> None:
    """Add the plugin's own keys to ``cfg``; keys it already has keep their values."""
    _add_section(cfg, "FEATURES", _FEATURES)
    _add_section(cfg.MODEL, "INFERENCE", _INFERENCE)
    _add_section(cfg, "EXPORT", _EXPORT)
    # Data sets by name: {json: FILE, image_root: FOLDER}; see d2seg.datasets.
    _add_section(cfg, "DATALOADER", {"RANDOM_SUBSET_RATIO": 1.0})  # of RandomSubsetTrainingSampler
    _add_section(cfg, "DATASETS", {"REGISTER": CfgNode(new_allowed=True)})
    _add_section(cfg, "TRAIN", _TRAINING)
    _add_section(cfg.INPUT, "LSJ", _LARGE_SCALE_JITTER)
    _add_section(cfg.INPUT, "COPY_PASTE", _COPY_PASTE)
    for path, defaults in CONVENTIONS.items():
        _add_keys(reduce(getitem, path.split("."), cfg), defaults)


_FEATURES = {
    # Names of stages and paths of modules; see d2seg.features.FeatureExtractor.
    "STAGES": ["backbone", "proposals", "mask_pooler"],
    # Where box_pooler and box_head look: the "proposal" that was judged, or the final "detection".
    "BOX_REGION": "proposal",
    "FORMAT": "safetensors",  # or zarr, parquet
    "HALF": False,  # store float16
    # In a training, write the features of these images (files, folders, patterns) at its end and
    # every so many iterations.
    "DUMP_IMAGES": (),
    "DUMP_PERIOD": 0,
}

_INFERENCE = {
    # Compute masks for the predicted class alone; on a CPU, run convolutions with their norms, sums
    # and ReLUs in one go and linear layers by oneDNN, and pool regions by gathering pixels. The
    # results are the same up to rounding. Training always uses the faster operators.
    "FUSE": True,
    # float32; bfloat16 or float16: convolutions and matrix products compute in that, which is
    # faster where the processor has it. Results differ a little.
    "PRECISION": "float32",
    # Backend of torch.compile for the backbone, such as inductor; empty: it is not compiled.
    "COMPILE": "",
    "NUM_THREADS": 0,  # of torch, on a CPU; 0: as they are
}

_EXPORT = {
    "ATEN_ONLY": True,  # no torchvision operators in the file
    "INPUT_ORDER": "",  # channels that the file expects, RGB or BGR; empty: those of INPUT.FORMAT
    "SCORE_THRESHOLD": -1.0,  # detections score above this; negative: as the model was tested
    "MAX_DETECTIONS": 0,  # at most so many; 0: as the model was tested
    # Resize images inside the file, by INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST.
    "RESIZE_INSIDE": False,
    "FULL_MASKS": False,  # masks (N, H, W) of the image, not (N, 1, h, w) of the boxes
    "WEIGHTS": "fp32",  # how the file stores them: fp32, half or int8
    "OPTIMIZE": False,  # prepack them for XNNPACK
}

_TRAINING = {
    # A batch of SOLVER.IMS_PER_BATCH goes through the model in so many parts.
    "ACCUMULATION_STEPS": 1,
    # Stop when a loss is not finite, before the weights are touched, and name the images.
    "NAN_GUARD": False,
    # At each evaluation, compute the losses on DATASETS.TEST too (val_total_loss, ...).
    "VALIDATION_LOSS": False,
    # Keep model_best.pth by this metric, such as segm/AP or val_total_loss; empty: do not.
    "BEST_METRIC": "",
    "BEST_MODE": "max",
    # Stop after so many evaluations without a better BEST_METRIC; 0: never.
    "PATIENCE": 0,
    # Evaluate, and write as model_ema.pth, an exponential moving average of the weights; 0: none.
    "EMA_DECAY": 0.0,
    # What SOLVER.AMP computes in: float16 or bfloat16; empty: float16 on a GPU, bfloat16 elsewhere.
    "AMP_DTYPE": "",
    # Iterations whose time and memory are traced, for TensorBoard or a browser.
    "PROFILE_ITERS": (),
}

_LARGE_SCALE_JITTER = {
    # Scale training images at random, then crop and pad to a square; replaces MIN_SIZE_TRAIN.
    "ENABLED": False,
    "SIZE": 1024,  # side of the square in pixels
    # At scale 1.0 the image just fits into the square.
    "MIN_SCALE": 0.1,
    "MAX_SCALE": 2.0,
}

_COPY_PASTE = {
    # Paste objects of one training image into another; needs MASK_FORMAT bitmask.
    "ENABLED": False,
    "PROBABILITY": 0.5,
    # A random number of objects up to this; 0: up to all of them.
    "MAX_OBJECTS": 0,
    # Pixels over which the edges of pasted objects fade (the sigma of a Gaussian); 0.0: hard edges.
    "BLEND": 0.0,
}


# What other toolboxes compute in another way than detectron2, whose way the defaults are.
CONVENTIONS: dict[str, dict[str, object]] = {
    # How images are resized for testing: pillow smooths and gives whole grey values; interpolate
    # takes the four nearest pixels, gives fractions, and rounds sizes down.
    "INPUT": {"RESIZE_TEST": "pillow"},
    "MODEL.RESNETS": {"NORM_EPS": 1e-5},  # what the norms add to the variance
    "MODEL.ANCHOR_GENERATOR": {
        "WHOLE_PIXELS": False,  # round the corners of the anchors of a cell
        # Share the padded image out among the cells of each level, in whole pixels, instead of
        # taking the nominal stride: another one where a level halves an odd number of cells.
        "MEASURED_STRIDES": False,
    },
    "MODEL.PROPOSAL_GENERATOR": {"MIN_SIDE": 0.0},  # pixels, at least; MIN_SIZE must be exceeded
    "MODEL.RPN": {"RANK_BY": "logit"},  # or probability, which is equal for large logits
    "MODEL.ROI_HEADS": {
        "MIN_SIDE_TEST": 0.0,  # detections smaller than this are dropped before NMS; pixels
        "LEVEL_MARGIN": 0.0,  # added to a box's level in the pyramid before it is rounded down
    },
    "MODEL.ROI_MASK_HEAD": {"WHOLE_PIXELS": False},  # paste masks as the first Detectron did
    "MODEL.ROI_KEYPOINT_HEAD": {"SCORE": "probability"},  # or logit
}


def load_config(config_file: str | os.PathLike[str], overrides: Sequence[str] = ()) -> CfgNode:
    """Return the config of a file with overrides applied, not frozen.

    A ``NUM_CLASSES`` of -1 becomes the number of categories of the data set.

    Args:
        config_file: A file or address, or a name of the model zoo such as
            ``COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml``, or of a zoo in ``D2SEG_ZOO``
            (docs/zoo.md), whose weights it then has. A file wins over a name.
        overrides: Full keys and values in turn, ``["MODEL.DEVICE", "cpu"]``.

    Raises:
        FileNotFoundError: Neither a file nor a name of the model zoo.
        KeyError: A key does not exist.
        ValueError: Not a config file, a value of the wrong type, or a key without a value.
    """
    cfg = read_config(config_file, overrides)
    if -1 in (cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.RETINANET.NUM_CLASSES):
        register_datasets(cfg)
        fill_num_classes(cfg)
    return cfg


def read_config(config_file: str | os.PathLike[str], overrides: Sequence[str] = ()) -> CfgNode:
    """Return what `load_config` does, but read no data set: a ``NUM_CLASSES`` of -1 stays."""
    cfg = get_cfg()
    add_d2seg_config(cfg)
    # No code in YAML, whichever framework reads it.
    path, weights = _find_config(os.fspath(config_file))
    try:
        cfg.merge_from_file(path, allow_unsafe=False)
        cfg.MODEL.WEIGHTS = weights or cfg.MODEL.WEIGHTS
        cfg.merge_from_list(list(overrides))
    except AssertionError as error:  # how yacs itself reports bad input
        raise ValueError(str(error)) from error
    _require_conventions(cfg)
    return cfg


def _require_conventions(cfg: CfgNode) -> None:
    """Refuse keys of `CONVENTIONS` for a framework that would not read them."""
    if FRAMEWORK == "core":
        return
    for path, defaults in CONVENTIONS.items():
        section = reduce(getitem, path.split("."), cfg)
        for key, value in defaults.items():
            if section[key] != value:
                raise ValueError(
                    f"{path}.{key} is {section[key]!r}, which detectron2 does not know; set "
                    "D2SEG_FRAMEWORK=core to run this config on the embedded framework."
                )


def _find_config(name: str) -> tuple[str, str]:
    """Return the file of a config, and the weights that a zoo of ``D2SEG_ZOO`` has for it."""
    path = os.path.expanduser(name)
    if "://" in path or PathManager.isfile(path):
        return path, ""
    try:
        return str(model_zoo.get_config_file(name)), ""
    except (ValueError, RuntimeError) as error:
        from d2seg.zoo import find_listed, local_file

        listed = find_listed(name)
        if listed is not None:
            return str(local_file(listed.config)), listed.weights
        raise FileNotFoundError(
            f"Config '{name}' is neither a file nor a published config. {error}"
        ) from error


def _add_section(cfg: CfgNode, name: str, defaults: Mapping[str, object]) -> None:
    _add_keys(cfg.setdefault(name, CfgNode()), defaults)


def _add_keys(section: CfgNode, defaults: Mapping[str, object]) -> None:
    for key, value in defaults.items():
        section.setdefault(key, value)
