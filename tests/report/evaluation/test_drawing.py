import numpy as np
import pytest

from d2seg.report.evaluation.drawing import (
    ERRORS,
    GREY,
    LONGEST_DRAWING,
    VERDICT_COLORS,
    draw_judged_image,
    grey_picture,
)
from d2seg.report.evaluation.evaluate import evaluate
from d2seg.report.evaluation.inputs import build_index
from d2seg.report.evaluation.labels import LABEL_HEIGHT, Label, draw_labels
from d2seg.report.evaluation.matching import Judged, JudgedImage, Verdict
from tests.report.evaluation.scenes import HEIGHT, PET_DETECTIONS, PETS, WIDTH

SCALE = 15
"""The scenes are 40 pixels high, so that they are drawn so many times larger."""
INSIDE_XY = {"left": (5, 7), "middle": (25, 7), "right": (45, 7), "below": (5, 27)}


def drawn_pets(iou_type: str) -> tuple[np.ndarray, np.ndarray]:
    result = evaluate(build_index(PETS), PET_DETECTIONS, iou_type, score_threshold=0.5)
    names = {1: "cat", 2: "dog"}
    return draw_judged_image(
        grey_picture((HEIGHT, WIDTH)), result.images[0], names, result.iou_type
    )


def color_at(picture: np.ndarray, place: str) -> tuple[int, ...]:
    x, y = INSIDE_XY[place]
    return tuple(picture[y * SCALE, x * SCALE].tolist())


def mixed(verdict: Verdict, strength: float) -> tuple[int, ...]:
    return tuple(
        round(GREY * (1 - strength) + channel * strength) for channel in VERDICT_COLORS[verdict]
    )


@pytest.mark.parametrize(("iou_type", "strength"), [("segm", 0.4), ("bbox", 0.12)])
def test_errors_are_filled_and_correct_ones_outlined(iou_type: str, strength: float) -> None:
    objects, detections = drawn_pets(iou_type)
    assert objects.shape == detections.shape == (HEIGHT * SCALE, WIDTH * SCALE, 3)
    grey, confused = (GREY,) * 3, mixed(Verdict.CONFUSED, strength)
    shown = {place: color_at(objects, place) for place in INSIDE_XY}
    missed = mixed(Verdict.MISSED, strength)
    assert shown == {"left": grey, "middle": confused, "right": missed, "below": grey}
    shown = {place: color_at(detections, place) for place in INSIDE_XY}
    false = mixed(Verdict.FALSE, strength)
    # The cat on the right has a score below the threshold.
    assert shown == {"left": grey, "middle": confused, "right": grey, "below": false}
    edge = tuple(detections[7 * SCALE, 10 * SCALE - 1].tolist())
    assert edge == VERDICT_COLORS[Verdict.CORRECT]


def test_a_large_image_is_drawn_smaller() -> None:
    large = grey_picture((100, 2 * LONGEST_DRAWING))
    box = {"bbox": [0, 0, 2 * LONGEST_DRAWING, 100], "area": 1, "category_id": 1}
    judged = JudgedImage(1, [Judged(box, Verdict.CORRECT)])
    objects, detections = draw_judged_image(large, judged, {1: "cat"}, "bbox")
    assert objects.shape == (50, LONGEST_DRAWING, 3)
    assert tuple(objects[25, -1].tolist()) == VERDICT_COLORS[Verdict.CORRECT]
    assert (detections == GREY).all()


def test_colours_differ() -> None:
    assert set(VERDICT_COLORS) == set(Verdict)
    assert len(set(VERDICT_COLORS.values())) == len(VERDICT_COLORS)
    assert set(ERRORS) == set(Verdict) - {Verdict.CORRECT, Verdict.IGNORED}


def test_a_label_lies_above_its_box_and_none_covers_an_earlier_one() -> None:
    picture = np.zeros((80, 200, 3), dtype=np.uint8)
    red, blue, green = (255, 0, 0), (0, 0, 255), (0, 255, 0)
    labels = [
        Label("first", (20.0, 40.0, 60.0, 70.0), red),
        Label("second", (25.0, 42.0, 60.0, 70.0), blue),
        Label("", (100.0, 40.0, 120.0, 70.0), blue),
        Label("edge", (190.0, 0.0, 199.0, 9.0), green),
    ]
    drawn = draw_labels(picture, labels)
    rows, columns = np.nonzero((drawn == red).all(axis=2))
    assert (rows.min(), rows.max(), columns.min()) == (40 - LABEL_HEIGHT, 40, 20)
    assert not (drawn == blue).all(axis=2).any()
    rows, columns = np.nonzero((drawn == green).all(axis=2))
    assert rows.min() == 0
    assert columns.max() == 199
    assert not picture.any()
