"""From a config to batches: on real images with their annotations."""

import json
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from d2seg.core.config import CfgNode, get_cfg
from d2seg.core.data import (
    DatasetCatalog,
    DatasetFromList,
    DatasetMapper,
    MetadataCatalog,
    ToIterableDataset,
    build_batch_data_loader,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
    load_proposals_into_dataset,
    print_instances_class_histogram,
)
from d2seg.core.data import transforms as T
from d2seg.core.data.build import worker_init_reset_seed
from d2seg.core.data.datasets import register_coco_instances
from d2seg.core.data.samplers import (
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from d2seg.core.runtime import comm
from d2seg.core.structures import BitMasks, BoxMode, PolygonMasks

NUCLEI = Path(__file__).parents[2] / "data" / "nuclei"
NAME = "build_test_nuclei"
TOY = "build_test_toy"


@pytest.fixture(autouse=True)
def datasets() -> Iterator[None]:
    register_coco_instances(NAME, {}, str(NUCLEI / "instances_val.json"), str(NUCLEI / "images"))
    yield
    for name in (NAME, TOY):
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (NAME,)
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.MASK_FORMAT = "bitmask"
    cfg.INPUT.MIN_SIZE_TRAIN = (96, 128)
    cfg.INPUT.MIN_SIZE_TEST = 96
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 3
    return cfg


def toy(*category_ids: int, **changes: Any) -> list[dict[str, Any]]:
    """One image per category, with one object of it."""
    return [
        {
            "image_id": number,
            "width": 8,
            "height": 6,
            "annotations": [{"category_id": category, "iscrowd": 0, **changes}],
        }
        for number, category in enumerate(category_ids)
    ]


def test_training_batches_of_a_config(cfg: CfgNode) -> None:
    np.random.seed(1)
    loader = build_detection_train_loader(cfg)
    batches = [next(iterator) for iterator in [iter(loader)] for _ in range(3)]
    for image in (image for batch in batches for image in batch):
        assert "annotations" not in image
        height, width = image["image"].shape[1:]
        assert image["image"].dtype == torch.uint8 and min(height, width) in (96, 128)
        instances = image["instances"]
        assert instances.image_size == (height, width) and len(instances) > 0
        assert isinstance(instances.gt_masks, BitMasks)
        # Nuclei are drawn pixel by pixel: their boxes and masks stay together when resized.
        around = instances.gt_masks.get_bounding_boxes().tensor
        assert (around - instances.gt_boxes.tensor).abs().max() <= 2.5
    assert [len(batch) for batch in batches] == [3, 3, 3]
    for batch in batches:
        assert len({image["width"] > image["height"] for image in batch}) == 1


def test_a_crop_makes_boxes_new(cfg: CfgNode) -> None:
    np.random.seed(2)
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "relative", [0.5, 0.4]
    mapper = DatasetMapper(cfg, True)
    assert mapper.recompute_boxes and isinstance(mapper.augmentations.augs[0], T.RandomCrop)
    image = DatasetCatalog.get(NAME)[0]
    mapped = mapper(image)
    boxes = mapped["instances"].gt_boxes.tensor
    assert torch.equal(boxes, mapped["instances"].gt_masks.get_bounding_boxes().tensor)
    assert len(boxes) < len(image["annotations"])
    assert set(image) == {"file_name", "height", "width", "image_id", "annotations"}


def test_inference_goes_through_everything_once(cfg: CfgNode) -> None:
    images = DatasetCatalog.get(NAME)
    loaded = [image for (image,) in build_detection_test_loader(cfg, NAME)]
    assert [image["image_id"] for image in loaded] == [image["image_id"] for image in images]
    assert all("instances" not in image and "annotations" not in image for image in loaded)
    assert min(loaded[0]["image"].shape[1:]) == 96


def test_explicit_arguments(cfg: CfgNode) -> None:
    elements = list(range(50))
    for options in ({}, {"batch_size": 4}, {"num_workers": 2}):
        loader = build_detection_test_loader(elements, mapper=None, **options)
        assert sorted(x for batch in loader for x in batch) == elements
    doubled = build_detection_test_loader(elements, mapper=lambda x: x * 2, collate_fn=sum)
    assert list(doubled) == [x * 2 for x in elements]
    ordered = ToIterableDataset(DatasetFromList(elements), InferenceSampler(50))
    loader = build_detection_test_loader(ordered, mapper=None, num_workers=2)
    assert sorted(x for batch in loader for x in batch) == elements
    with pytest.raises(ValueError, match="has its own order; give no sampler"):
        build_detection_test_loader(ordered, mapper=None, sampler=InferenceSampler(50))
    overridden = build_detection_train_loader(cfg, mapper=lambda image: image, total_batch_size=2)
    assert len(next(iter(overridden))) == 2


def test_training_on_explicit_data_sets() -> None:
    images = toy(0, 0, 0)
    options = {"mapper": None, "total_batch_size": 2, "aspect_ratio_grouping": False}
    assert len(next(iter(build_detection_train_loader(images, **options)))) == 2
    endless = ToIterableDataset(DatasetFromList(images), TrainingSampler(3))
    counted = build_detection_train_loader(endless, **options, collate_fn=len)
    assert next(iter(counted)) == 2
    grouped = build_detection_train_loader(images, mapper=None, total_batch_size=2, collate_fn=len)
    assert next(iter(grouped)) == 2
    with pytest.raises(ValueError, match="has its own order; give no sampler"):
        build_detection_train_loader(endless, **options, sampler=TrainingSampler(3))


def test_batch_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = build_batch_data_loader(DatasetFromList(list(range(7))), range(7), 3)
    assert list(loader) == [[0, 1, 2], [3, 4, 5]]
    whole = build_batch_data_loader(list(range(7)), range(7), 3, drop_last=False)
    assert list(whole)[-1] == [6]
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    assert len(next(iter(build_batch_data_loader([1, 2], range(2), 4)))) == 2
    single = build_batch_data_loader([1, 2], range(2), 3, single_gpu_batch_size=1)
    assert next(iter(single)) == [1]
    with pytest.raises(ValueError, match="positive multiple of .* processes, 2; found 3"):
        build_batch_data_loader([1, 2], range(2), 3)


def test_workers_have_their_own_random_numbers() -> None:
    drawn = []
    for worker in (0, 1):
        torch.manual_seed(7)
        worker_init_reset_seed(worker)
        drawn.append((torch.rand(1).item(), np.random.rand()))
    assert drawn[0][0] != drawn[1][0] and drawn[0][1] != drawn[1][1]


def test_the_sampler_of_a_config(cfg: CfgNode) -> None:
    def sampler(name: str) -> Any:
        cfg.DATALOADER.SAMPLER_TRAIN = name
        loader = build_detection_train_loader(cfg, dataset=toy(0, 0, 1), mapper=lambda x: x)
        return loader.dataset.dataset.sampler

    assert isinstance(sampler("TrainingSampler"), TrainingSampler)
    cfg.DATALOADER.REPEAT_THRESHOLD = 1.0
    repeat = sampler("RepeatFactorTrainingSampler")
    assert isinstance(repeat, RepeatFactorTrainingSampler)
    assert (repeat._whole + repeat._fraction).tolist() == pytest.approx([1.5**0.5] * 2 + [3**0.5])
    with pytest.raises(ValueError, match="add the key DATALOADER.RANDOM_SUBSET_RATIO"):
        sampler("RandomSubsetTrainingSampler")
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 0.7
    assert isinstance(sampler("RandomSubsetTrainingSampler"), RandomSubsetTrainingSampler)
    with pytest.raises(ValueError, match="TrainingSampler, .*; found 'Shuffler'"):
        sampler("Shuffler")


def test_what_the_mapper_keeps(cfg: CfgNode, tmp_path: Path) -> None:
    from PIL import Image

    labels = tmp_path / "labels.png"
    first = DatasetCatalog.get(NAME)[0]
    Image.new("L", (first["width"], first["height"]), 7).save(labels)
    points = [1.0, 2.0, 2.0] * 2
    image = {**first, "sem_seg_file_name": str(labels)}
    image["annotations"] = [
        {**first["annotations"][0], "keypoints": points},
        {**first["annotations"][1], "keypoints": points, "iscrowd": 1},
    ]
    mapper = DatasetMapper(
        True, augmentations=[T.Resize((40, 50))], image_format="L", use_keypoint=True
    )
    mapped = mapper(image)
    assert mapped["image"].shape == (1, 40, 50)
    assert mapped["sem_seg"].dtype == torch.int64 and mapped["sem_seg"].unique().tolist() == [7]
    assert len(mapped["instances"]) == 1
    assert set(mapped["instances"].get_fields()) == {"gt_boxes", "gt_classes", "gt_keypoints"}
    boxes_only = DatasetMapper(True, augmentations=[], image_format="BGR")(image)
    assert set(boxes_only["instances"].get_fields()) == {"gt_boxes", "gt_classes"}
    with pytest.raises(ValueError, match="recompute_boxes needs masks"):
        DatasetMapper(True, augmentations=[], image_format="BGR", recompute_boxes=True)


def test_the_mapper_of_a_config(cfg: CfgNode) -> None:
    MetadataCatalog.get(NAME).set(keypoint_names=["a", "b"], keypoint_flip_map=[("a", "b")])
    cfg.MODEL.KEYPOINT_ON = cfg.MODEL.LOAD_PROPOSALS = True
    cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST = 5
    mapper = DatasetMapper(cfg, is_train=False)
    assert mapper.keypoint_hflip_indices == [1, 0] and mapper.proposal_topk == 5
    assert not mapper.recompute_boxes and mapper.image_format == "BGR"


def test_images_that_cannot_be_used_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    images = [
        *toy(0, iscrowd=1),
        *toy(0, keypoints=[1, 1, 2, 0, 0, 0]),
        *toy(1, keypoints=[1, 1, 2, 2, 2, 1]),
    ]
    DatasetCatalog.register(TOY, lambda: images)
    MetadataCatalog.get(TOY).thing_classes = ["cell", "nucleus"]
    with caplog.at_level(logging.INFO):
        assert get_detection_dataset_dicts(TOY) == images[1:]
    assert "2 objects, by class:\ncell: 1     nucleus: 1" in caplog.text
    assert get_detection_dataset_dicts([TOY], filter_empty=False) == images
    assert get_detection_dataset_dicts(TOY, min_keypoints=2) == images[2:]
    with pytest.raises(ValueError, match=f"No image of {TOY} can be used"):
        get_detection_dataset_dicts(TOY, min_keypoints=3)


def test_data_sets_are_joined_and_compared() -> None:
    DatasetCatalog.register(TOY, lambda: toy(0, 0))
    joined = get_detection_dataset_dicts([NAME, TOY], check_consistency=False)
    assert len(joined) == len(DatasetCatalog.get(NAME)) + 2
    with pytest.raises(ValueError, match=f"need the same 'thing_classes': '{NAME}'"):
        get_detection_dataset_dicts([NAME, TOY])
    with pytest.raises(ValueError, match="No data set is named; set DATASETS.TRAIN"):
        get_detection_dataset_dicts(())


def test_empty_and_ready_made_data_sets() -> None:
    class Ready(Dataset):
        def __len__(self) -> int:
            return 2

    DatasetCatalog.register(TOY, Ready)
    assert isinstance(get_detection_dataset_dicts(TOY), Ready)
    assert len(get_detection_dataset_dicts([TOY, TOY])) == 4
    DatasetCatalog.remove(TOY)
    DatasetCatalog.register(TOY, list)
    with pytest.raises(ValueError, match=f"Data set '{TOY}' is empty"):
        get_detection_dataset_dicts(TOY)
    assert not issubclass(Ready, IterableDataset)


def test_a_category_beyond_the_classes() -> None:
    with pytest.raises(ValueError, match="category_id 4, but the data set has 2 classes"):
        print_instances_class_histogram(toy(0, 4), ["cell", "nucleus"])


def test_proposals_come_best_first(tmp_path: Path, cfg: CfgNode) -> None:
    boxes = np.array([[0.0, 0.0, 20.0, 20.0], [5.0, 5.0, 20.0, 30.0]])
    ids = [image["image_id"] for image in DatasetCatalog.get(NAME)]
    content = {
        "boxes": [boxes] * len(ids),
        "indexes": ids,
        "scores": [np.array([1.0, 2.0])] * len(ids),
    }
    file = tmp_path / "proposals.pkl"
    file.write_bytes(pickle.dumps({**content, "bbox_mode": 1}))
    images = load_proposals_into_dataset(DatasetCatalog.get(NAME), str(file))
    assert images[0]["proposal_boxes"].tolist() == boxes[::-1].tolist()
    assert images[0]["proposal_objectness_logits"].tolist() == [2.0, 1.0]
    assert images[0]["proposal_bbox_mode"] is BoxMode.XYWH_ABS
    cfg.MODEL.LOAD_PROPOSALS = True
    cfg.DATASETS.PROPOSAL_FILES_TEST = (str(file),)
    (image,) = next(iter(build_detection_test_loader(cfg, NAME)))
    assert image["proposals"].objectness_logits.tolist() == [2.0, 1.0]
    with pytest.raises(ValueError, match="1 data sets, 0 files"):
        build_detection_train_loader(cfg)


def test_files_without_the_right_proposals(tmp_path: Path) -> None:
    file = tmp_path / "proposals.pkl"
    file.write_bytes(pickle.dumps({"boxes": [], "ids": [3], "objectness_logits": []}))
    with pytest.raises(ValueError, match="no proposals for 2 of 2 images, such as image id 0"):
        load_proposals_into_dataset(toy(0, 0), str(file))
    file.write_bytes(pickle.dumps({"boxes": []}))
    with pytest.raises(ValueError, match="it has no 'ids'"):
        load_proposals_into_dataset(toy(0), str(file))
    file.write_bytes(pickle.dumps(json.loads))
    with pytest.raises(ValueError, match="refers to 'json.loads'"):
        load_proposals_into_dataset(toy(0), str(file))


def test_polygons_are_kept_as_polygons() -> None:
    polygon = [1.0, 1.0, 4.0, 1.0, 4.0, 4.0]
    first = DatasetCatalog.get(NAME)[0]
    image = {**first, "annotations": [{**first["annotations"][0], "segmentation": [polygon]}]}
    mapper = DatasetMapper(True, augmentations=[], image_format="RGB", use_instance_mask=True)
    masks = mapper(image)["instances"].gt_masks
    assert isinstance(masks, PolygonMasks) and masks.polygons[0][0].tolist() == polygon
