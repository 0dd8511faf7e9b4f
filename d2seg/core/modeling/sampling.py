"""Random subsets for training under detectron2's name."""

from torch import Tensor

from d2seg.core.ops.matching import sample_labels


def subsample_labels(
    labels: Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[Tensor, Tensor]:
    """Draw positives and negatives; see `d2seg.core.ops.matching.sample_labels`."""
    return sample_labels(labels, num_samples, positive_fraction, bg_label)
