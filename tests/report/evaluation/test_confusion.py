import numpy as np
import pytest

from d2seg.report.evaluation.confusion import class_counts, confusion_matrix, most_confused
from d2seg.report.evaluation.evaluate import Evaluation, evaluate
from d2seg.report.evaluation.inputs import build_index
from d2seg.report.evaluation.matching import Verdict
from d2seg.report.evaluation.worst import rank_images
from tests.report.evaluation.scenes import (
    BELOW,
    HEIGHT,
    LEFT,
    MIDDLE,
    PET_DETECTIONS,
    PETS,
    RIGHT,
    WIDTH,
    Box,
    dataset,
    detection,
)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_the_matrix_by_hand(iou_type: str) -> None:
    result = evaluate(build_index(PETS), PET_DETECTIONS, iou_type, score_threshold=0.5)
    assert result.matrix.tolist() == [
        [1, 0, 1],  # cats: one found, one missed, for its score is too low
        [1, 0, 0],  # the dog: taken for a cat
        [0, 1, 0],  # a dog where nothing is
    ]
    assert class_counts(result.matrix) == [(2, 2, 1), (1, 1, 0)]
    assert most_confused(result.matrix, 5) == [(1, 0, 1, 1.0)]


def test_from_a_lower_threshold_the_second_cat_is_found() -> None:
    result = evaluate(build_index(PETS), PET_DETECTIONS, "segm", score_threshold=0.3)
    assert result.matrix[0].tolist() == [2, 0, 0]


def test_what_its_own_class_finds_is_no_confusion() -> None:
    found = [detection(1, 1, 0.9, MIDDLE), detection(1, 2, 0.4, MIDDLE)]
    result = evaluate(build_index(dataset([(1, 2, MIDDLE)])), found, "segm", score_threshold=0.1)
    # The dog is found, though with a lower score; the cat on it is a false positive.
    assert result.matrix.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_a_second_detection_of_an_object_is_a_false_positive() -> None:
    found = [detection(1, 1, 0.9, LEFT), detection(1, 1, 0.8, LEFT)]
    result = evaluate(build_index(dataset([(1, 1, LEFT)])), found, "segm", score_threshold=0.1)
    assert result.matrix.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_an_object_is_confused_only_once_and_with_the_best_score() -> None:
    names = ["cat", "dog", "cow"]
    found = [detection(1, 2, 0.6, LEFT), detection(1, 3, 0.7, LEFT)]
    truth = build_index(dataset([(1, 1, LEFT)], names))
    result = evaluate(truth, found, "segm", score_threshold=0.1)
    assert result.matrix[0].tolist() == [0, 0, 1, 0]
    assert result.matrix[3].tolist() == [0, 1, 0, 0]


def test_crowds_and_detections_on_them_are_not_counted() -> None:
    scene = dataset([(1, 1, LEFT), (1, 1, (20, 0, 40, 40))])
    scene["annotations"][1]["iscrowd"] = 1
    found = [detection(1, 1, 0.9, MIDDLE), detection(1, 1, 0.8, RIGHT)]
    result = evaluate(build_index(scene), found, "segm", score_threshold=0.1)
    assert result.matrix.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    verdicts = [judged.verdict for judged in result.images[0].detections]
    assert verdicts == [Verdict.IGNORED, Verdict.IGNORED]
    assert result.curve.num_objects == 1


def test_images_are_ranked_by_f1_and_then_by_errors() -> None:
    objects = [(1, 1, LEFT), (2, 1, LEFT), (3, 1, LEFT), (3, 1, MIDDLE), (4, 1, LEFT)]
    found = [detection(1, 1, 0.9, LEFT), detection(2, 1, 0.9, LEFT), detection(2, 1, 0.8, BELOW)]
    truth = build_index(dataset(objects, images=5))
    result = evaluate(truth, found, "segm", score_threshold=0.5)
    ranked = [(image.image_id, image.f1, image.errors) for image in rank_images(result.images)]
    # The first image is right, the last one empty.
    assert ranked == [(3, 0.0, 2), (4, 0.0, 1), (2, pytest.approx(2 / 3), 1)]


def test_a_wrong_class_is_a_miss_and_a_false_positive_in_f1() -> None:
    result = evaluate(build_index(PETS), PET_DETECTIONS, "segm", score_threshold=0.5)
    image = result.images[0]
    assert (image.count(Verdict.CORRECT), image.count(Verdict.CONFUSED), image.errors) == (1, 1, 3)
    assert image.f1 == pytest.approx(2 * 1 / (3 + 3))  # three objects, three detections


def random_evaluation(seed: int) -> Evaluation:
    random = np.random.default_rng(seed)

    def box() -> Box:
        x, y = random.integers(0, WIDTH - 20), random.integers(0, HEIGHT - 20)
        return int(x), int(y), int(random.integers(6, 20)), int(random.integers(6, 20))

    objects = [(int(random.integers(1, 4)), int(random.integers(1, 5)), box()) for _ in range(25)]
    found = [
        detection(image_id, int(random.integers(1, 5)), float(random.integers(1, 9)) / 10, place)
        for image_id, _, place in objects
    ] + [detection(int(random.integers(1, 4)), 1, 0.5, box()) for _ in range(10)]
    truth = build_index(dataset(objects, ["a", "b", "c", "d"], images=3))
    return evaluate(truth, found, "segm", score_threshold=0.3)


@pytest.mark.parametrize("seed", range(4))
def test_rows_sum_to_objects_columns_to_detections_and_hits_to_the_curve(seed: int) -> None:
    result = random_evaluation(seed)
    annotations = result.ground_truth.dataset["annotations"]
    by_class = np.bincount([item["category_id"] for item in annotations], minlength=5)[1:]
    counted = result.measurement.coco_eval.cocoDt.dataset["annotations"]
    kept = [item["category_id"] for item in counted if item["score"] >= 0.3]
    assert result.matrix[:-1].sum(axis=1).tolist() == by_class.tolist()
    assert result.matrix[:, :-1].sum(axis=0).tolist() == np.bincount(kept, minlength=5)[1:].tolist()
    hits = int(result.curve.correct[result.curve.scores >= 0.3].sum())
    assert hits == result.matrix.trace()
    off_diagonal = result.matrix[:-1, :-1].sum() - hits
    assert off_diagonal > 0
    assert off_diagonal == sum(image.count(Verdict.CONFUSED) for image in result.images)


def test_most_confused_orders_and_limits() -> None:
    matrix = np.array([[5, 2, 0, 9], [3, 4, 2, 0], [0, 0, 1, 0], [8, 0, 0, 0]])
    assert most_confused(matrix, 2) == [(1, 0, 3, 3 / 9), (0, 1, 2, 2 / 16)]
    assert [pair[:3] for pair in most_confused(matrix, 9)] == [(1, 0, 3), (0, 1, 2), (1, 2, 2)]


def test_without_categories_the_matrix_is_background_only() -> None:
    assert confusion_matrix([], []).tolist() == [[0]]
    assert most_confused(np.zeros((1, 1), dtype=np.int64), 5) == []
