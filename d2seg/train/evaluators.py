"""Which evaluator a data set needs, and the results as a file."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2seg.core.runtime.files import replace_when_complete
from d2seg.framework import COCOEvaluator, MetadataCatalog

EVALUATORS = {"coco": COCOEvaluator}


def build_evaluator(dataset_name: str, folder: str | Path) -> Any:
    """Return the evaluator of a data set, as the ``evaluator_type`` of its metadata says.

    Args:
        dataset_name: A registered data set.
        folder: Predictions and results are written there.

    Raises:
        ValueError: There is no evaluator of that type.
    """
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type", None)
    if kind not in EVALUATORS:
        raise ValueError(
            f"Data set '{dataset_name}' has evaluator_type {kind!r} in its metadata; it must be "
            f"one of {', '.join(EVALUATORS)} to be evaluated."
        )
    return EVALUATORS[kind](dataset_name, output_dir=str(folder))


def write_results(results: Mapping[str, Any], path: Path) -> None:
    """Write results by task and metric as JSON; numbers that do not exist become null."""
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(results), indent=2) + "\n", encoding="utf-8")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nan(inner) for key, inner in value.items()}
    number = float(value)
    return number if math.isfinite(number) else None
