"""From an image's entry in a data set to what a model takes."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from d2seg.core.config import CfgNode, configurable
from d2seg.core.data import detection_utils as utils
from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.data.transforms import (
    AugInput,
    Augmentation,
    AugmentationList,
    RandomCrop,
    Transform,
)

__all__ = ["DatasetMapper"]

logger = logging.getLogger(__name__)


class DatasetMapper:
    """Read the image, change it, and bring what is annotated on it into the form models take.

    Attributes:
        is_train: Whether it is for training.
        augmentations: What is done to images.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[Augmentation | Transform],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | Sequence[int] | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
    ) -> None:
        """Describe the mapping.

        Args:
            is_train: Without it annotations are dropped.
            augmentations: Policies and transforms, in order.
            image_format: As in ``read_image``.
            use_instance_mask: Keep the masks.
            use_keypoint: Keep the keypoints.
            instance_mask_format: ``polygon`` or ``bitmask``.
            keypoint_hflip_indices: See ``create_keypoint_hflip_indices``.
            precomputed_proposal_topk: Keep so many of the proposals that come with the image; None
                for none.
            recompute_boxes: Replace boxes by those around the masks, which are tighter after a
                crop.

        Raises:
            ValueError: ``recompute_boxes`` without masks.
        """
        if recompute_boxes and not use_instance_mask:
            raise InvalidArgumentError("recompute_boxes needs masks; set use_instance_mask too.")
        self.is_train = is_train
        self.augmentations = AugmentationList(augmentations)
        self.image_format = image_format
        self.use_instance_mask = use_instance_mask
        self.use_keypoint = use_keypoint
        self.instance_mask_format = instance_mask_format
        self.keypoint_hflip_indices = keypoint_hflip_indices
        self.proposal_topk = precomputed_proposal_topk
        self.recompute_boxes = recompute_boxes
        purpose = "training" if is_train else "inference"
        logger.info("Images for %s are changed by %s.", purpose, self.augmentations)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Read the arguments from a config.

        Args:
            cfg: ``INPUT``, ``MODEL.MASK_ON``, ``MODEL.KEYPOINT_ON``, ``MODEL.LOAD_PROPOSALS`` and
                ``DATASETS`` are read.
            is_train: Whether it is for training.
        """
        augmentations: list[Any] = utils.build_augmentation(cfg, is_train)
        cropped = cfg.INPUT.CROP.ENABLED and is_train
        if cropped:
            augmentations.insert(0, RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        arguments = {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "use_instance_mask": cfg.MODEL.MASK_ON,
            "instance_mask_format": cfg.INPUT.MASK_FORMAT,
            "use_keypoint": cfg.MODEL.KEYPOINT_ON,
            "recompute_boxes": cropped and cfg.MODEL.MASK_ON,
        }
        if cfg.MODEL.KEYPOINT_ON:
            indices = utils.create_keypoint_hflip_indices(cfg.DATASETS.TRAIN)
            arguments["keypoint_hflip_indices"] = indices
        if cfg.MODEL.LOAD_PROPOSALS:
            split = "TRAIN" if is_train else "TEST"
            arguments["precomputed_proposal_topk"] = cfg.DATASETS[
                f"PRECOMPUTED_PROPOSAL_TOPK_{split}"
            ]
        return arguments

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map one image.

        Args:
            dataset_dict: As a data set gives it; ``file_name`` is read. Not modified.

        Returns:
            The other keys, and ``image``, (C, H, W) uint8 in the order of the format; where there
            is one ``sem_seg`` (H, W) int64 and ``proposals``; and for training ``instances``.
        """
        unused = () if self.is_train else ("annotations",)  # which may be many
        kept = {key: value for key, value in dataset_dict.items() if key not in unused}
        dataset_dict = copy.deepcopy(kept)
        inputs = self._read(dataset_dict)
        transforms = self.augmentations(inputs)
        image_shape = inputs.image.shape[:2]
        dataset_dict["image"] = _to_tensor(inputs.image)
        if inputs.sem_seg is not None:
            dataset_dict["sem_seg"] = torch.as_tensor(inputs.sem_seg.astype(np.int64))
        if self.proposal_topk is not None:
            utils.transform_proposals(
                dataset_dict, image_shape, transforms, proposal_topk=self.proposal_topk
            )
        if "annotations" in dataset_dict:
            self._transform_annotations(dataset_dict, transforms, image_shape)
        return dataset_dict

    def _read(self, dataset_dict: dict[str, Any]) -> AugInput:
        """Read the image and its label map, whose file name is taken out of the dict."""
        image = utils.read_image(dataset_dict["file_name"], format=self.image_format)
        utils.check_image_size(dataset_dict, image)
        labels_file = dataset_dict.pop("sem_seg_file_name", None)
        if labels_file is None:
            return AugInput(image)
        return AugInput(image, sem_seg=utils.read_image(labels_file, "L").squeeze(2))

    def _transform_annotations(
        self, dataset_dict: dict[str, Any], transforms: Transform, image_shape: tuple[int, int]
    ) -> None:
        """Replace ``annotations`` by ``instances``; crowds and empty objects are left out."""
        annotations = [
            utils.transform_instance_annotations(
                self._without_unused(annotation),
                transforms,
                image_shape,
                keypoint_hflip_indices=self.keypoint_hflip_indices,
            )
            for annotation in dataset_dict.pop("annotations")
            if annotation.get("iscrowd", 0) == 0
        ]
        instances = utils.annotations_to_instances(
            annotations, image_shape, mask_format=self.instance_mask_format
        )
        if self.recompute_boxes and instances.has("gt_masks"):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        dataset_dict["instances"] = utils.filter_empty_instances(instances)

    def _without_unused(self, annotation: dict[str, Any]) -> dict[str, Any]:
        unused = set() if self.use_instance_mask else {"segmentation"}
        if not self.use_keypoint:
            unused.add("keypoints")
        return {key: value for key, value in annotation.items() if key not in unused}


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    planes = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    return torch.as_tensor(np.ascontiguousarray(planes))
