"""The config keys of PointRend."""

from d2seg.core.config import CfgNode


def add_pointrend_config(cfg: CfgNode) -> None:
    """Add the keys of PointRend to a config, in place."""
    # Crop again until no class fills more than this share of a semantic crop.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    cfg.INPUT.COLOR_AUG_SSD = False

    mask = cfg.MODEL.ROI_MASK_HEAD
    mask.IN_FEATURES = ("p2",)  # levels that the coarse head reads
    mask.FC_DIM = 1024
    mask.NUM_FC = 2
    mask.OUTPUT_SIDE_RESOLUTION = 7  # of the coarse mask
    mask.POINT_HEAD_ON = False

    cfg.MODEL.POINT_HEAD = CfgNode()
    point = cfg.MODEL.POINT_HEAD
    point.NAME = "StandardPointHead"
    point.NUM_CLASSES = 80
    point.IN_FEATURES = ("p2",)  # levels that the point head reads
    point.TRAIN_NUM_POINTS = 14 * 14
    point.OVERSAMPLE_RATIO = 3  # k of section 3.1
    point.IMPORTANCE_SAMPLE_RATIO = 0.75  # beta of section 3.1
    point.SUBDIVISION_STEPS = 5
    point.SUBDIVISION_NUM_POINTS = 28 * 28
    point.FC_DIM = 256
    point.NUM_FC = 3
    point.CLS_AGNOSTIC_MASK = False
    point.COARSE_PRED_EACH_LAYER = True
    point.COARSE_SEM_SEG_HEAD_NAME = "SemSegFPNHead"

    cfg.MODEL.IMPLICIT_POINTREND = CfgNode()
    implicit = cfg.MODEL.IMPLICIT_POINTREND
    implicit.IMAGE_FEATURE_ENABLED = True
    implicit.POS_ENC_ENABLED = True
    implicit.PARAMS_L2_REGULARIZER = 0.00001
