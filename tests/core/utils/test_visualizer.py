"""Pictures, checked where pixels must and must not change."""

from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from PIL import Image

from d2seg.core.data import MetadataCatalog
from d2seg.core.data.catalog import Metadata
from d2seg.core.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from d2seg.core.utils.generic_mask import drop_small_parts
from d2seg.core.utils.video_visualizer import VideoVisualizer
from d2seg.core.utils.visualizer import ColorMode, Visualizer

HEIGHT, WIDTH = 80, 120
IMAGE = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
MASKS = np.zeros((2, HEIGHT, WIDTH), bool)
MASKS[0, 10:30, 10:50] = True
MASKS[1, 40:70, 60:110] = True
BOXES = [[10.0, 10, 50, 30], [60.0, 40, 110, 70]]


def detections(**fields: Any) -> Instances:
    return Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(BOXES),
        pred_classes=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.5]),
        **fields,
    )


def metadata(**values: Any) -> Metadata:
    return Metadata(name="test").set(thing_classes=["cell", "nucleus"], **values)


def changed(picture: np.ndarray) -> np.ndarray:
    return (picture != IMAGE).any(axis=2)


def test_masks_are_coloured_and_the_rest_is_not() -> None:
    drawn = changed(Visualizer(IMAGE).overlay_instances(masks=MASKS).get_image())
    np.testing.assert_array_equal(drawn, MASKS.any(axis=0))


@pytest.mark.parametrize("form", ["tensor", "bitmasks", "runs", "polygons", "polygon_masks"])
def test_masks_come_in_many_forms(form: str) -> None:
    polygons = [[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in BOXES]
    forms = {
        "tensor": torch.from_numpy(MASKS),
        "bitmasks": BitMasks(torch.from_numpy(MASKS)),
        "runs": [mask_util.encode(np.asfortranarray(m.astype(np.uint8))) for m in MASKS],
        "polygons": polygons,
        "polygon_masks": PolygonMasks(polygons),
    }
    drawn = changed(Visualizer(IMAGE).overlay_instances(masks=forms[form]).get_image())
    inside = MASKS.any(axis=0)
    assert drawn[inside].all()
    assert (drawn & ~inside).sum() <= 288  # the outline of a polygon reaches one pixel beyond


def test_a_prediction_is_drawn_with_box_mask_and_label() -> None:
    found = detections(pred_masks=torch.from_numpy(MASKS))
    plain = Visualizer(IMAGE, metadata()).draw_instance_predictions(found).get_image()
    assert plain.shape == IMAGE.shape
    assert changed(plain)[MASKS.any(axis=0)].all()
    found.remove("pred_classes")
    found.remove("scores")
    unlabelled = Visualizer(IMAGE).draw_instance_predictions(found).get_image()
    assert changed(plain).sum() > changed(unlabelled).sum()


def test_scale_enlarges_the_picture() -> None:
    found = detections(pred_masks=torch.from_numpy(MASKS))
    visualizer = Visualizer(IMAGE, metadata(), scale=2.5)
    assert visualizer.draw_instance_predictions(found).get_image().shape == (200, 300, 3)


def test_classes_have_their_colours_in_segmentation_mode() -> None:
    colors = [[255, 0, 0], [0, 0, 255]]
    visualizer = Visualizer(
        IMAGE, metadata(thing_colors=colors), instance_mode=ColorMode.SEGMENTATION
    )
    found = detections(pred_masks=torch.from_numpy(MASKS))
    picture = visualizer.draw_instance_predictions(found, jittering=False).get_image()
    assert picture[25, 45].argmax() == 0
    assert picture[65, 90].argmax() == 2


def test_the_image_turns_grey_except_for_objects() -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, :, 0] = 90
    visualizer = Visualizer(image, instance_mode=ColorMode.IMAGE_BW)
    empty = visualizer.draw_instance_predictions(detections(pred_masks=MASKS)[:0]).get_image()
    assert (empty == 30).all()
    visualizer = Visualizer(image, instance_mode=ColorMode.IMAGE_BW)
    found = detections(pred_masks=torch.from_numpy(MASKS))
    picture = visualizer.draw_instance_predictions(found).get_image()
    assert picture[75, 5].tolist() == [30, 30, 30]
    assert picture[20, 30].tolist() != [30, 30, 30]


def test_semantic_classes_fill_their_pixels() -> None:
    classes = np.zeros((HEIGHT, WIDTH), int)
    classes[:, 60:] = 1
    known = Metadata(name="stuff").set(
        stuff_classes=["sky", "grass"], stuff_colors=[[0, 0, 255], [0, 255, 0]]
    )
    picture = Visualizer(IMAGE, known).draw_sem_seg(classes, alpha=0.9).get_image()
    assert picture[10, 10].argmax() == 2
    assert picture[10, 110].argmax() == 1


def test_panoptic_segments_are_stuff_and_things() -> None:
    segments = torch.zeros(HEIGHT, WIDTH, dtype=torch.int32)
    segments[MASKS[0]] = 1
    segments[MASKS[1]] = 2
    infos = [
        {"id": 1, "isthing": True, "category_id": 1, "score": 0.8},
        {"id": 2, "isthing": False, "category_id": 0, "area": 1500},
    ]
    known = metadata(stuff_classes=["sky"])
    picture = Visualizer(IMAGE, known).draw_panoptic_seg(segments, infos).get_image()
    assert changed(picture)[MASKS.any(axis=0)].all()
    assert not changed(picture)[75:, :50].any()
    with pytest.raises(ValueError, match="needs segments_info, or 'label_divisor'"):
        Visualizer(IMAGE, known).draw_panoptic_seg(segments, None)


def test_annotations_of_a_data_set_are_drawn() -> None:
    crowd = mask_util.encode(np.asfortranarray(MASKS[1].astype(np.uint8)))
    annotations = [
        {
            "bbox": [10, 10, 40, 20],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": 0,
            "segmentation": [[10, 10, 50, 10, 50, 30, 10, 30]],
            "keypoints": [20, 20, 2, 30, 25, 2],
        },
        {
            "bbox": [60, 40, 50, 30],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": 1,
            "segmentation": crowd,
            "keypoints": [0, 0, 0, 0, 0, 0],
            "iscrowd": 1,
        },
    ]
    known = metadata(
        keypoint_names=["head", "tail"], keypoint_connection_rules=[("head", "tail", (255, 0, 0))]
    )
    picture = Visualizer(IMAGE, known).draw_dataset_dict({"annotations": annotations}).get_image()
    assert changed(picture)[MASKS.any(axis=0)].mean() > 0.95
    assert picture[22, 25].argmax() == 0  # the red line between the two points
    rotated = [{"bbox": [60, 40, 30, 10, 45.0], "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 0}]
    picture = Visualizer(IMAGE).draw_dataset_dict({"annotations": rotated}).get_image()
    assert changed(picture).any()


def test_a_rotated_box_turns_counter_clockwise() -> None:
    drawer = Visualizer(IMAGE)
    drawer.draw_rotated_box_with_label([60.0, 40.0, 60.0, 2.0, 30.0], alpha=1.0)
    drawn = changed(drawer.get_output().get_image())
    assert drawn[20:40, 70:90].any()  # upper right
    assert drawn[40:60, 30:50].any()  # lower left
    assert not drawn[44:, 70:].any()


def test_labels_stay_in_the_picture_and_files_are_whole(tmp_path: Path) -> None:
    drawer = Visualizer(IMAGE)
    drawer.draw_text("a long text at the corner", (WIDTH - 1, HEIGHT - 1), color="yellow")
    drawn = changed(drawer.get_output().get_image())
    assert drawn.any()
    path = tmp_path / "picture.png"
    drawer.get_output().save(path)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), drawer.get_output().get_image())
    assert [one.name for one in tmp_path.iterdir()] == ["picture.png"]


def test_soft_masks_shade_and_small_masks_are_left_out() -> None:
    soft = np.tile(np.linspace(0, 1, WIDTH, dtype=np.float32), (HEIGHT, 1))
    picture = Visualizer(IMAGE).draw_soft_mask(soft, "red", alpha=1.0).get_image()
    assert picture[40, 5, 0] < picture[40, 60, 0] < picture[40, 115, 0]
    tiny = np.zeros((HEIGHT, WIDTH))
    tiny[0, 0] = 1
    assert not changed(Visualizer(IMAGE).draw_binary_mask(tiny, "red").get_image()).any()
    assert changed(
        Visualizer(IMAGE).draw_binary_mask(tiny, "red", area_threshold=None).get_image()
    )[0, 0].any()


def test_parts_below_the_threshold_are_left_out() -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:16, 10:20] = True  # 60 pixels around a hole
    mask[12:14, 12:18] = False
    mask[40:44, 40:45] = True  # 20 pixels
    large = mask.copy()
    large[40:] = False
    np.testing.assert_array_equal(drop_small_parts(mask, 20), mask)
    np.testing.assert_array_equal(drop_small_parts(mask, 21), large)
    assert not drop_small_parts(mask, 61).any()
    picture = Visualizer(IMAGE).draw_binary_mask(mask, "red", area_threshold=21).get_image()
    drawn = changed(picture)
    assert drawn[10, 15].any() and not drawn[38:46, 38:47].any()


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) RGB images; found \(80, 120\)"):
        Visualizer(IMAGE[:, :, 0])
    with pytest.raises(ValueError, match=r"equally many; found \[1, 2\]"):
        Visualizer(IMAGE).overlay_instances(boxes=BOXES, labels=["one"])
    assert not changed(Visualizer(IMAGE).overlay_instances().get_image()).any()


@pytest.mark.parametrize("with_masks", [True, False])
def test_objects_keep_their_colours_over_a_video(with_masks: bool) -> None:
    fields = {"pred_masks": torch.from_numpy(MASKS)} if with_masks else {}
    video = VideoVisualizer(MetadataCatalog.get("video_test_set"))
    found = detections(**fields)
    found.remove("scores")
    first = video.draw_instance_predictions(IMAGE, found).get_image()
    video.draw_instance_predictions(IMAGE, found[:0])
    again = video.draw_instance_predictions(IMAGE, found[[1, 0]]).get_image()
    np.testing.assert_array_equal(first, again)
    MetadataCatalog.remove("video_test_set")
