"""Settings of converted models in files with lists of one length, against the eager model."""

from pathlib import Path
from typing import Any

import pytest

from d2seg.export.batched.verify import compare_batch
from d2seg.export.eager import detect_eagerly
from d2seg.export.onnx.file import load_onnx, save_onnx
from d2seg.export.parity import ParityReport, compare_detections
from tests.export.batched.test_deployable import as_file, lay_out_model
from tests.export.models import pictures, thin_config, thin_model
from tests.export.static.test_families import compare_model

# Far from the usual values, so that much depends on them.
SETTINGS: list[tuple[str, Any]] = [
    ("MODEL__PROPOSAL_GENERATOR__MIN_SIDE", 25.0),
    ("MODEL__ROI_HEADS__MIN_SIDE_TEST", 8.0),
    ("MODEL__ROI_HEADS__LEVEL_MARGIN", 2.0),
]


def compare_batched(model: Any, cfg: Any) -> ParityReport:
    run = as_file(*lay_out_model(model, cfg, "batched"))
    return ParityReport(compare_batch(model, run, pictures()))


def compare_static(model: Any, cfg: Any) -> ParityReport:
    return compare_model(model, cfg)[0]


def find_as_usual(model: Any, usual: Any) -> ParityReport:
    """Compare a model with one that has no such setting."""
    found = [[detect_eagerly(one, image) for image in pictures()] for one in (model, usual)]
    return ParityReport([compare_detections((1, 1), *two) for two in zip(*found, strict=True)])


@pytest.mark.parametrize(("key", "value"), SETTINGS)
@pytest.mark.parametrize("compare", [compare_batched, compare_static])
def test_it_finds_what_the_model_with_such_a_setting_finds(
    compare: Any, key: str, value: Any
) -> None:
    cfg = thin_config(**{key: value})
    model = thin_model(cfg)
    assert not find_as_usual(model, thin_model()).passed
    report = compare(model, cfg)
    assert report.passed, report.table()
    assert sum(image.num_eager for image in report.images) > 15


@pytest.mark.slow
def test_proposals_of_the_same_probability_tie_in_a_graph(tmp_path: Path) -> None:
    ranks = {
        rank: thin_config(MODEL__RPN__RANK_BY=rank, MODEL__RPN__POST_NMS_TOPK_TEST=40)
        for rank in ("probability", "logit")
    }
    model, usual = map(thin_model, ranks.values())
    for one in (model, usual):  # most logits round to a probability of 1, more than may stay
        one.proposal_generator.rpn_head.objectness_logits.weight.data.mul_(30)
    assert not find_as_usual(model, usual).passed
    # Not in torch, which chooses among equal values in no particular order.
    module, description = lay_out_model(model, ranks["probability"], "batched")
    save_onnx(module, tmp_path / "model.onnx", description)
    report = ParityReport(compare_batch(model, load_onnx(tmp_path / "model.onnx"), pictures()))
    assert report.passed, report.table()
