"""Detections against annotations: average precision, curves, confusions and the worst images."""

from d2seg.report.evaluation.inputs import guess_iou_type, read_detections
from d2seg.report.evaluation.report import write_evaluation_report

__all__ = ["guess_iou_type", "read_detections", "write_evaluation_report"]
