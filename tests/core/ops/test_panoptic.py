"""Merging objects and stuff, on pictures small enough to check by eye."""

import torch

from d2seg.core.ops.panoptic import merge_panoptic

SEMANTIC = torch.tensor([[0, 0, 1, 1, 2], [0, 0, 1, 1, 2]])


def columns(*chosen: int) -> torch.Tensor:
    mask = torch.zeros(2, 5, dtype=torch.bool)
    mask[:, list(chosen)] = True
    return mask


def merge(
    masks: list[torch.Tensor], scores: list[float], overlap: float = 0.5, area: float = 3
) -> tuple[list[list[int]], list[int], list[int]]:
    stacked = torch.stack(masks) if masks else torch.zeros(0, 2, 5, dtype=torch.bool)
    segments, rows, stuff = merge_panoptic(
        stacked, torch.tensor(scores), SEMANTIC, overlap, area, 0.5
    )
    assert segments.dtype == torch.int32
    return segments.tolist(), rows, stuff


def test_the_better_object_comes_first_and_keeps_its_pixels() -> None:
    segments, rows, stuff = merge([columns(0, 1), columns(1, 2, 3)], [0.7, 0.9])
    assert rows == [1, 0]
    assert segments == [[2, 1, 1, 1, 0]] * 2
    assert stuff == []


def test_an_object_that_is_mostly_taken_is_left_out() -> None:
    masks = [columns(0, 1, 2), columns(1, 2)]
    assert merge(masks, [0.9, 0.8])[1] == [0]
    # Two thirds of an object are taken: too much for 0.5, not for 0.7.
    masks = [columns(0, 1), columns(0, 1, 2)]
    assert merge(masks, [0.9, 0.8])[1] == [0]
    assert merge(masks, [0.9, 0.8], overlap=0.7)[1] == [0, 1]


def test_low_scores_and_empty_masks_are_left_out() -> None:
    assert merge([columns(0), columns(), columns(1)], [0.4, 0.9, 0.5])[1] == [2]


def test_stuff_fills_what_is_free_unless_it_is_small() -> None:
    segments, rows, stuff = merge([columns(2)], [0.9], area=2)
    assert (rows, stuff) == ([0], [1, 2])
    assert segments == [[0, 0, 1, 2, 3]] * 2
    assert merge([columns(2)], [0.9], area=3)[2] == []


def test_an_empty_picture_has_stuff_only() -> None:
    segments, rows, stuff = merge([], [], area=1)
    assert (rows, stuff) == ([], [1, 2])
    assert segments == [[0, 0, 1, 1, 2]] * 2


def test_compiles_with_torchscript() -> None:
    scripted = torch.jit.script(merge_panoptic)
    masks, scores = torch.stack([columns(0, 1), columns(1, 2)]), torch.tensor([0.7, 0.9])
    segments, rows, stuff = scripted(masks, scores, SEMANTIC, 0.5, 3.0, 0.5)
    assert (segments.tolist(), rows, stuff) == merge([columns(0, 1), columns(1, 2)], [0.7, 0.9])
