"""The order of the anchors of a cell that has several sizes and ratios."""

from dataclasses import replace

from torch import Tensor

from d2seg.core.checkpoint.formats.renamed import Renamed

NUM_RATIOS = 3
_HEAD = "proposal_generator.rpn_head."
_LOGITS, _DELTAS = f"{_HEAD}objectness_logits.", f"{_HEAD}anchor_deltas."


def sizes_before_ratios(renamed: Renamed) -> Renamed:
    """Order the outputs of a region proposal network as detectron2's anchors are, out of place.

    Detectron and maskrcnn-benchmark list the sizes of one aspect ratio, then those of the next.
    detectron2 lists the ratios of one size, then those of the next. With a pyramid, where a cell
    has one size, both are the same.

    Args:
        renamed: With detectron2's names, and three aspect ratios.
    """
    model, reordered = dict(renamed.model), []
    for name, tensor in renamed.model.items():
        values = 1 if name.startswith(_LOGITS) else 4 if name.startswith(_DELTAS) else 0
        if tensor.dim() == 0:
            continue  # of no layer; whoever looks at shapes will say so
        sizes, rest = divmod(len(tensor), NUM_RATIOS * values) if values else (0, 0)
        if sizes > 1 and rest == 0:
            model[name] = _transpose(tensor, sizes, values)
            reordered.append(name)
    return replace(renamed, model=model, reordered=(*renamed.reordered, *reordered))


def _transpose(tensor: Tensor, sizes: int, values: int) -> Tensor:
    shape = tensor.shape
    by_ratio = tensor.reshape(NUM_RATIOS, sizes, values, *shape[1:])
    return by_ratio.transpose(0, 1).reshape(shape).contiguous()
