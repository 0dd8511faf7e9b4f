"""Checks of a COCO-format data set, before a night of training is lost on it."""

from d2seg.check_data.check import Report, check_dataset
from d2seg.check_data.compare import compare_datasets
from d2seg.check_data.corrections import write_corrected
from d2seg.check_data.findings import Expectations, Finding, group_by_kind

__all__ = [
    "Expectations",
    "Finding",
    "Report",
    "check_dataset",
    "compare_datasets",
    "group_by_kind",
    "write_corrected",
]
