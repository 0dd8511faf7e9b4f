"""The background class: the first one elsewhere, the last one of the classifier here.

Box regression and masks of the background are trained nowhere and used nowhere; here they have no
rows at all.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from d2seg.core.checkpoint.formats.renamed import Renamed

CLASSIFIER = "roi_heads.box_predictor.cls_score."
ROWS_OF_BACKGROUND = {
    "roi_heads.box_predictor.bbox_pred.": 4,
    "roi_heads.mask_head.predictor.": 1,
}
"""Beginnings of detectron2's names, and how many rows the background has elsewhere."""


def move_background(renamed: Renamed) -> Renamed:
    """Bring the background class of a detector to where detectron2 has it, out of place.

    Args:
        renamed: With detectron2's names, and the background as the first class.
    """
    model, background, reordered = dict(renamed.model), {}, []
    for name, tensor in renamed.model.items():
        rows = _rows_of_background(name)
        if tensor.dim() == 0:
            continue  # of no layer; whoever looks at shapes will say so
        if name.startswith(CLASSIFIER):
            model[name] = torch.roll(tensor, -1, dims=0)
        elif rows:
            model[name], background[name] = tensor[rows:], tensor[:rows]
        else:
            continue
        reordered.append(name)
    return replace(renamed, model=model, background=background, reordered=tuple(reordered))


def restore_background(
    model: Mapping[str, Tensor], background: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Make the background the first class again, the inverse of `move_background`.

    Args:
        model: detectron2's name to tensor; left as it is.
        background: The rows of the background that were dropped; zeros where there are none.
    """
    restored = dict(model)
    for name, tensor in model.items():
        rows = _rows_of_background(name)
        if name.startswith(CLASSIFIER):
            restored[name] = torch.roll(tensor, 1, dims=0)
        elif rows:
            first = background.get(name)
            if first is None or first.shape[1:] != tensor.shape[1:]:
                first = tensor.new_zeros(rows, *tensor.shape[1:])
            restored[name] = torch.cat([first.to(tensor.dtype), tensor])
    return restored


def _rows_of_background(name: str) -> int:
    found = (rows for start, rows in ROWS_OF_BACKGROUND.items() if name.startswith(start))
    return next(found, 0)
