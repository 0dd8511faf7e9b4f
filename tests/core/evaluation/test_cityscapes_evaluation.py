"""Cityscapes evaluation against numbers that the package cityscapesscripts gave."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg.core.data import MetadataCatalog
from d2seg.core.data.datasets.cityscapes_labels import CITYSCAPES_LABELS, INSTANCE_LABELS
from d2seg.core.evaluation import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from d2seg.core.structures import Boxes, Instances

NAME = "cityscapes_evaluation_test_set"
HEIGHT, WIDTH = 96, 128
IMAGES = [f"aachen_{number:06}_000019" for number in range(6)]
VOID, CARAVAN = 4, 29
CLASSES = [23, 24, 25, 26]
"""Sky, person, rider and car, of which the annotations are made."""


def truth(random: np.random.RandomState) -> np.ndarray:
    """Lay down sky, void, objects of some classes (one of them small), a group and a caravan."""
    ids = np.full((HEIGHT, WIDTH), CLASSES[0])
    ids[:, :9] = VOID
    for number in range(8):
        label = int(random.choice(CLASSES[1:]))
        left, top = int(random.randint(0, 100)), int(random.randint(0, 70))
        width, height = random.randint(15, 40, 2).tolist()
        ids[top : top + height, left : left + width] = 1000 * label + number
    ids[80:88, 20:26] = 24_999
    ids[60:96, 90:128] = int(random.choice(CLASSES[1:]))
    ids[0:12, 100:120] = 1000 * CARAVAN
    return ids


def objects_like(
    ids: np.ndarray, random: np.random.RandomState
) -> tuple[np.ndarray, list[int], list[float]]:
    """Shift what is annotated, twice, sometimes with another class: masks, label ids, scores."""
    masks, label_ids = [], []
    for id_ in np.repeat(np.unique(ids), 2).tolist():
        label = id_ // 1000 if id_ >= 1000 else id_
        if label not in CLASSES[1:]:
            continue
        masks.append(np.roll(ids == id_, random.randint(-4, 5, 2), (0, 1)))
        label_ids.append(label if random.random_sample() < 0.9 else int(random.choice(CLASSES[1:])))
    for _ in range(4):
        masks.append(np.zeros(ids.shape, bool))
        left, top = random.randint(0, 80, 2).tolist()
        masks[-1][top : top + 20, left : left + 30] = True
        label_ids.append(int(random.choice(CLASSES[1:])))
    # Coarse scores, so that there are equal ones.
    return np.array(masks), label_ids, random.random_sample(len(masks)).round(2).tolist()


def labels_like(ids: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Return train ids: what is annotated, shifted; sky where nothing counts."""
    labels = np.where(ids >= 1000, ids // 1000, ids)
    train_ids = np.full(ids.shape, 10)
    for label in CITYSCAPES_LABELS:
        train_ids[labels == label.id] = label.train_id
    noise = random.random_sample(ids.shape) < 0.05
    return np.where(noise, 11, np.roll(train_ids, random.randint(-6, 7, 2), (0, 1)))


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "aachen").mkdir()
    for seed, name in enumerate(IMAGES):
        ids = truth(np.random.RandomState(seed)).astype(np.uint16)
        Image.fromarray(ids).save(tmp_path / "aachen" / f"{name}_gtFine_instanceIds.png")
    MetadataCatalog.get(NAME).set(
        gt_dir=str(tmp_path), thing_classes=[label.name for label in INSTANCE_LABELS]
    )
    yield NAME
    MetadataCatalog.remove(NAME)


def instances(masks: np.ndarray, label_ids: list[int], scores: list[float]) -> Instances:
    index = {label.id: position for position, label in enumerate(INSTANCE_LABELS)}
    return Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.zeros(len(masks), 4)),
        pred_masks=torch.from_numpy(masks),
        scores=torch.tensor(scores, dtype=torch.float64),
        pred_classes=torch.tensor([index[label] for label in label_ids], dtype=torch.int64),
    )


def one_hot(train_ids: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(train_ids), 19).permute(2, 0, 1)


def test_instances_score_as_in_the_package(dataset: str) -> None:
    evaluator = CityscapesInstanceEvaluator(dataset)
    evaluator.reset()
    for seed, name in enumerate(IMAGES):
        ids = truth(np.random.RandomState(seed))
        found = instances(*objects_like(ids, np.random.RandomState(50 + seed)))
        evaluator.process([{"file_name": f"{name}_leftImg8bit.png"}], [{"instances": found}])
    # cityscapesscripts 2.3.0
    expected = {"AP": 12.046294770162529, "AP50": 44.87725605122869}
    assert evaluator.evaluate() == {"segm": pytest.approx(expected, abs=1e-9)}


def test_labels_score_as_in_the_package(dataset: str) -> None:
    evaluator = CityscapesSemSegEvaluator(dataset)
    evaluator.reset()
    for seed, name in enumerate(IMAGES):
        ids = truth(np.random.RandomState(seed))
        labels = labels_like(ids, np.random.RandomState(80 + seed))
        evaluator.process(
            [{"file_name": f"val/aachen/{name}_leftImg8bit.png"}], [{"sem_seg": one_hot(labels)}]
        )
    # cityscapesscripts 2.3.0
    expected = {
        "IoU": 58.86884276772293,
        "iIoU": 55.32916289718962,
        "IoU_sup": 63.4050851241447,
        "iIoU_sup": 61.35602761380934,
    }
    assert evaluator.evaluate() == {"sem_seg": pytest.approx(expected, abs=1e-9)}


def test_nothing_found_and_nothing_seen(dataset: str) -> None:
    evaluator = CityscapesInstanceEvaluator(dataset)
    assert all(math.isnan(value) for value in evaluator.evaluate()["segm"].values())
    none = instances(np.zeros((0, HEIGHT, WIDTH), bool), [], [])
    evaluator.process([{"file_name": f"{IMAGES[0]}_leftImg8bit.png"}], [{"instances": none}])
    assert evaluator.evaluate() == {"segm": {"AP": 0.0, "AP50": 0.0}}
    metrics = CityscapesSemSegEvaluator(dataset).evaluate()["sem_seg"]
    assert all(math.isnan(value) for value in metrics.values())


def test_wrong_input_is_named(dataset: str) -> None:
    image = {"file_name": f"{IMAGES[0]}_leftImg8bit.png"}
    evaluator = CityscapesInstanceEvaluator(dataset)
    found = instances(np.ones((1, HEIGHT, WIDTH), bool), [24], [0.5])
    found.pred_classes += 8
    with pytest.raises(
        AssertionError, match=r"class 8 \(None\), which Cityscapes has no instances"
    ):
        evaluator.process([image], [{"instances": found}])
    semantic = CityscapesSemSegEvaluator(dataset)
    with pytest.raises(ValueError, match=r"size \(96, 128\), but the prediction .* \(96, 127\)"):
        semantic.process([image], [{"sem_seg": torch.zeros(19, HEIGHT, WIDTH - 1)}])
    with pytest.raises(ValueError, match="train ids from 0 to 18; found 19 to 19"):
        semantic.process(
            [image], [{"sem_seg": torch.arange(20).view(20, 1, 1).expand(20, HEIGHT, WIDTH)}]
        )
    with pytest.raises(FileNotFoundError, match="bonn/bonn_0_1_gtFine_instanceIds.png"):
        semantic.process(
            [{"file_name": "bonn_0_1_leftImg8bit.png"}],
            [{"sem_seg": torch.zeros(19, HEIGHT, WIDTH)}],
        )
