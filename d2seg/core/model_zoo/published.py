"""Where detectron2 publishes trained weights: facts, by folder and name of the config."""

from d2seg.core.runtime.checksum import Checksum
from d2seg.core.runtime.download_cache import known_checksums
from d2seg.core.runtime.files import ZOO_ADDRESS

# Run number and the last part of the file name, model_final_<part>.pkl: the first digits of the
# file's MD5, as detectron2's MODEL_ZOO.md says.
_FINAL: dict[str, dict[str, tuple[int, str]]] = {
    "COCO-Detection": {
        "fast_rcnn_R_50_FPN_1x": (137635226, "e5f7ce"),
        "faster_rcnn_R_50_C4_1x": (137257644, "721ade"),
        "faster_rcnn_R_50_C4_3x": (137849393, "f97cb7"),
        "faster_rcnn_R_50_DC5_1x": (137847829, "51d356"),
        "faster_rcnn_R_50_DC5_3x": (137849425, "68d202"),
        "faster_rcnn_R_50_FPN_1x": (137257794, "b275ba"),
        "faster_rcnn_R_50_FPN_3x": (137849458, "280758"),
        "faster_rcnn_R_101_C4_3x": (138204752, "298dad"),
        "faster_rcnn_R_101_DC5_3x": (138204841, "3e0943"),
        "faster_rcnn_R_101_FPN_3x": (137851257, "f6e8b1"),
        "faster_rcnn_X_101_32x8d_FPN_3x": (139173657, "68b088"),
        "retinanet_R_50_FPN_1x": (190397773, "bfca0b"),
        "retinanet_R_50_FPN_3x": (190397829, "5bd44e"),
        "retinanet_R_101_FPN_3x": (190397697, "971ab9"),
        "rpn_R_50_C4_1x": (137258005, "450694"),
        "rpn_R_50_FPN_1x": (137258492, "02ce48"),
    },
    "COCO-InstanceSegmentation": {
        "mask_rcnn_R_50_C4_1x": (137259246, "9243eb"),
        "mask_rcnn_R_50_C4_3x": (137849525, "4ce675"),
        "mask_rcnn_R_50_DC5_1x": (137260150, "4f86c3"),
        "mask_rcnn_R_50_DC5_3x": (137849551, "84107b"),
        "mask_rcnn_R_50_FPN_1x": (137260431, "a54504"),
        "mask_rcnn_R_50_FPN_3x": (137849600, "f10217"),
        "mask_rcnn_R_101_C4_3x": (138363239, "a2914c"),
        "mask_rcnn_R_101_DC5_3x": (138363294, "0464b7"),
        "mask_rcnn_R_101_FPN_3x": (138205316, "a3ec72"),
        "mask_rcnn_X_101_32x8d_FPN_3x": (139653917, "2d9806"),
    },
    "COCO-Keypoints": {
        "keypoint_rcnn_R_50_FPN_1x": (137261548, "04e291"),
        "keypoint_rcnn_R_50_FPN_3x": (137849621, "a6e10b"),
        "keypoint_rcnn_R_101_FPN_3x": (138363331, "997cc7"),
        "keypoint_rcnn_X_101_32x8d_FPN_3x": (139686956, "5ad38f"),
    },
    "COCO-PanopticSegmentation": {
        "panoptic_fpn_R_50_1x": (139514544, "dbfeb4"),
        "panoptic_fpn_R_50_3x": (139514569, "c10459"),
        "panoptic_fpn_R_101_3x": (139514519, "cafdb1"),
    },
    "LVISv0.5-InstanceSegmentation": {
        "mask_rcnn_R_50_FPN_1x": (144219072, "571f7c"),
        "mask_rcnn_R_101_FPN_1x": (144219035, "824ab5"),
        "mask_rcnn_X_101_32x8d_FPN_1x": (144219108, "5e3439"),
    },
    "Cityscapes": {"mask_rcnn_R_50_FPN": (142423278, "af9cf5")},
    "PascalVOC-Detection": {"faster_rcnn_R_50_C4": (142202221, "b1acc2")},
    "Misc": {
        "cascade_mask_rcnn_R_50_FPN_1x": (138602847, "e9d89b"),
        "cascade_mask_rcnn_R_50_FPN_3x": (144998488, "480dd8"),
        "mask_rcnn_R_50_FPN_1x_dconv_c3-c5": (138602867, "65c703"),
        "mask_rcnn_R_50_FPN_3x_dconv_c3-c5": (144998336, "821d0b"),
        "mask_rcnn_R_50_FPN_3x_gn": (138602888, "dc5d9e"),
        "mask_rcnn_R_50_FPN_3x_syncbn": (169527823, "3b3c51"),
        "panoptic_fpn_R_101_dconv_cascade_gn_3x": (139797668, "be35db"),
        "scratch_mask_rcnn_R_50_FPN_3x_gn": (138602908, "01ca85"),
        "scratch_mask_rcnn_R_50_FPN_9x_gn": (183808979, "da7b4c"),
        "scratch_mask_rcnn_R_50_FPN_9x_syncbn": (184226666, "5ce33e"),
    },
    "Detectron1-Comparisons": {
        "faster_rcnn_R_50_FPN_noaug_1x": (137781054, "7ab50c"),
        "keypoint_rcnn_R_50_FPN_1x": (137781195, "cce136"),
        "mask_rcnn_R_50_FPN_noaug_1x": (137781281, "62ca52"),
    },
}

TRAINED = {
    f"{folder}/{name}": f"{run}/model_final_{part}.pkl"
    for folder, models in _FINAL.items()
    for name, (run, part) in models.items()
} | {
    # Of the one model that was published before its last iteration.
    "Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv": "18131413/model_0039999_e76410.pkl",
}
"""Name of a config, without ``.yaml``, to the rest of the address of its weights."""


def trained_address(name: str) -> str:
    """Return the address of the weights of a name in `TRAINED`."""
    return f"{ZOO_ADDRESS}{name}/{TRAINED[name]}"


known_checksums.update(
    {
        trained_address(name): Checksum("md5", rest.removesuffix(".pkl")[-6:])
        for name, rest in TRAINED.items()
    }
)
