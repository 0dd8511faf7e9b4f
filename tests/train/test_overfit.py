"""Models learn eight photographs by heart: data, losses, updates and evaluation fit together."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
import yaml
from PIL import Image

from d2seg.framework import CfgNode
from d2seg.train import Trainer
from d2seg.train.run import TrainingJob, prepare_config
from tests.conftest import ROOT

MINI = ROOT / "tests" / "data" / "coco_mini"
SHORT_EDGE, LONG_EDGE = 224, 320
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*SwigPy:DeprecationWarning"),
]

RECIPE: dict[str, Any] = {
    # The shipped network, a quarter as wide as usual, and its weights to begin with.
    "_BASE_": "d2seg://nuclei.yaml",
    "MODEL": {
        "PIXEL_MEAN": [103.5, 116.3, 123.7],
        "PIXEL_STD": [57.4, 57.1, 58.4],
        "ANCHOR_GENERATOR": {"SIZES": [[16], [32], [64], [128], [256]]},
        "ROI_HEADS": {"NUM_CLASSES": -1, "BATCH_SIZE_PER_IMAGE": 16, "POSITIVE_FRACTION": 0.5},
    },
    "INPUT": {
        "MIN_SIZE_TRAIN": [SHORT_EDGE],
        "MAX_SIZE_TRAIN": LONG_EDGE,
        "MIN_SIZE_TEST": SHORT_EDGE,
        "MAX_SIZE_TEST": LONG_EDGE,
        "RANDOM_FLIP": "none",
    },
    # Batches of all kinds of images: batch norm sees in each what it will see in the evaluation.
    "DATALOADER": {"ASPECT_RATIO_GROUPING": False},
    "SOLVER": {
        "IMS_PER_BATCH": 4,
        "BASE_LR": 0.002,
        "LR_SCHEDULER_NAME": "WarmupCosineLR",
        "WARMUP_ITERS": 20,
        "CHECKPOINT_PERIOD": 10000,
    },
    "TEST": {"DETECTIONS_PER_IMAGE": 100, "PRECISE_BN": {"ENABLED": True, "NUM_ITER": 4}},
    "SEED": 1,
}


class AdamTrainer(Trainer):
    """Trains with AdamW, which learns by heart in a third of the iterations."""

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=cfg.SOLVER.BASE_LR, weight_decay=0.0)


def learn_by_heart(
    folder: Path, dataset: dict[str, Any], keys: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Train on a data set by the recipe, with some keys changed, and evaluate on its images."""
    entry = {"json": str(MINI / "instances.json"), "image_root": str(MINI / "images"), **dataset}
    name = "mini_separated" if "panoptic_json" in entry else "mini"
    recipe = {
        **RECIPE,
        "DATASETS": {"REGISTER": {"mini": entry}, "TRAIN": [name], "TEST": [name]},
        "OUTPUT_DIR": str(folder / "run"),
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    overrides = [str(item) for pair in keys.items() for item in pair]
    trainer = AdamTrainer(prepare_config(TrainingJob(str(path), overrides)))
    trainer.resume_or_load(resume=False)
    trainer.train()
    results: dict[str, dict[str, float]] = json.loads(
        (folder / "run" / "inference" / "results.json").read_text()
    )
    return results


def panoptic_of_what_is_there(folder: Path) -> Path:
    """Write the panoptic annotations with the categories that the photographs show."""
    content = json.loads((MINI / "panoptic.json").read_text())
    segments = [one for image in content["annotations"] for one in image["segments_info"]]
    shown = {one["category_id"] for one in segments}
    content["categories"] = [one for one in content["categories"] if one["id"] in shown]
    path = folder / "panoptic.json"
    path.write_text(json.dumps(content))
    return path


def make_label_maps(panoptic_json: Path) -> str:
    """Run the tool that makes label maps of stuff; return their folder."""
    output = panoptic_json.parent / "stuff"
    tool = ROOT / "tools" / "prepare_panoptic_fpn.py"
    inputs = ["--json", panoptic_json, "--panoptic", MINI / "panoptic"]
    subprocess.run([sys.executable, tool, *inputs, "--output", output], check=True)
    return str(output)


def things_of_panoptic(panoptic_json: Path) -> str:
    """Write the things of panoptic annotations as instances; return the file.

    COCO's own instances overlap, as a tie and the person who wears it: which is on top would be
    for their scores to say, and eight photographs do not teach that.
    """
    panoptic = json.loads(panoptic_json.read_text())
    things = [one for one in panoptic["categories"] if one["isthing"]]
    annotations = []
    for image in panoptic["annotations"]:
        colours = np.array(Image.open(MINI / "panoptic" / image["file_name"]).convert("RGB"))
        segments = colours.astype(np.uint32) @ np.array([1, 256, 256**2], np.uint32)
        for segment in image["segments_info"]:
            if segment["category_id"] in {one["id"] for one in things}:
                encoded = mask_util.encode(np.asfortranarray(segments == segment["id"]))
                mask = {"size": encoded["size"], "counts": encoded["counts"].decode()}
                annotations.append({**segment, "image_id": image["image_id"], "segmentation": mask})
    path = panoptic_json.with_name("things.json")
    categories = [{"id": one["id"], "name": one["name"]} for one in things]
    content = {"images": panoptic["images"], "categories": categories, "annotations": annotations}
    path.write_text(json.dumps(content))
    return str(path)


def test_instances_and_stuff(tmp_path: Path, record_property: Callable[..., None]) -> None:
    """A panoptic model, which is a Mask R-CNN with a semantic head.

    The semantic head sees the padding that a batch has and an image alone does not, which keeps
    the panoptic quality of images this small below that of the instances.
    """
    panoptic_json = panoptic_of_what_is_there(tmp_path)
    categories = json.loads(panoptic_json.read_text())["categories"]
    dataset = {
        "type": "coco_panoptic",
        "json": things_of_panoptic(panoptic_json),
        "panoptic_json": str(panoptic_json),
        "panoptic_root": str(MINI / "panoptic"),
        "sem_seg_root": make_label_maps(panoptic_json),
    }
    keys = {
        "MODEL.META_ARCHITECTURE": "PanopticFPN",
        "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 28,
        "MODEL.ROI_MASK_HEAD.NUM_CONV": 3,
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 1 + sum(not one["isthing"] for one in categories),
        "MODEL.SEM_SEG_HEAD.CONVS_DIM": 64,
        # Group norm would see the padding of a batch, which an image alone does not have.
        "MODEL.SEM_SEG_HEAD.NORM": "",
        "MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT": 256,
        "SOLVER.MAX_ITER": 500,
    }
    results = learn_by_heart(tmp_path, dataset, keys)
    quality = results["panoptic_seg"]["PQ"]
    found = {task: results[task]["AP"] for task in ("bbox", "segm")}
    record_property("overfit", f"AP {found}, PQ {quality:.1f}")
    assert found["bbox"] > 90
    assert found["segm"] > 90
    assert quality > 85


def test_keypoints(tmp_path: Path, record_property: Callable[..., None]) -> None:
    keys = {
        "MODEL.MASK_ON": False,
        "MODEL.KEYPOINT_ON": True,
        "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": [64, 64, 64],
        "MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE": 0,
        "SOLVER.MAX_ITER": 260,
    }
    results = learn_by_heart(tmp_path, {"json": str(MINI / "person_keypoints.json")}, keys)
    found = {task: results[task]["AP"] for task in ("bbox", "keypoints")}
    record_property("overfit", f"AP {found}")
    assert found["bbox"] > 90
    assert found["keypoints"] > 90
