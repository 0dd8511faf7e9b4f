"""All checks of a data set, each a function that yields findings."""

from collections.abc import Callable, Iterable

from d2seg.check_data.checks import boxes, ids, images, keypoints, segmentations
from d2seg.check_data.findings import Expectations, Finding
from d2seg.check_data.records import Dataset

Check = Callable[[Dataset, Expectations], Iterable[Finding]]

CHECKS: tuple[Check, ...] = (
    ids.check_image_ids,
    ids.check_category_ids,
    ids.check_annotation_ids,
    ids.check_references,
    ids.check_number_of_categories,
    ids.check_category_names,
    images.check_file_names,
    images.check_files,
    images.check_sizes,
    images.check_orientation,
    images.check_pixels,
    images.check_duplicate_images,
    images.check_empty,
    boxes.check_box_format,
    boxes.check_box_sizes,
    boxes.check_box_outlines,
    boxes.check_areas,
    boxes.check_duplicate_annotations,
    segmentations.check_polygons,
    segmentations.check_rle,
    segmentations.check_masks_inside,
    segmentations.check_masks_present,
    segmentations.check_mask_format,
    segmentations.check_crowds,
    keypoints.check_keypoint_names,
    keypoints.check_keypoints,
)
"""In the order in which their findings are listed."""
