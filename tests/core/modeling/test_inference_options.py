"""``MODEL.INFERENCE`` changes how a model computes, not what it is."""

from pathlib import Path
from typing import Any

import pytest
import torch

from d2seg.config import load_config
from d2seg.core.engine import DefaultPredictor
from d2seg.core.layers.conv import is_fusing, may_replace_operators
from d2seg.core.modeling import build_model
from d2seg.core.modeling.inference_options import InferenceOptions
from d2seg.predict import Predictor
from tests.export.models import thin_config, thin_model
from tests.reference import cases, deterministic

IMAGE = deterministic.image(1, 97, 150)
"""BGR."""


@pytest.fixture
def weights(tmp_path: Path) -> str:
    path = tmp_path / "model.pth"
    torch.save({"model": thin_model().state_dict()}, path)
    return str(path)


def predict(weights: str, **options: Any) -> Any:
    keys = {f"MODEL__INFERENCE__{key}": value for key, value in options.items()}
    predictor = DefaultPredictor(thin_config(MODEL__WEIGHTS=weights, **keys))
    before = predictor.model.state_dict()
    instances = predictor(IMAGE)["instances"]
    after = predictor.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert instances.scores.dtype == torch.float32
    return instances


def test_fused_or_not_the_objects_are_the_same(weights: str) -> None:
    fused, plain = predict(weights), predict(weights, FUSE=False)
    assert len(fused) == len(plain) > 10
    torch.testing.assert_close(fused.scores, plain.scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(fused.pred_boxes.tensor, plain.pred_boxes.tensor, atol=1e-2, rtol=0)
    assert torch.equal(fused.pred_classes, plain.pred_classes)
    assert float((fused.pred_masks != plain.pred_masks).float().mean()) < 1e-4


def test_half_precision_finds_much_the_same(weights: str) -> None:
    exact, half = predict(weights), predict(weights, PRECISION="bfloat16")
    assert half.pred_masks.dtype == torch.bool
    distance = (exact.pred_boxes.tensor[:, None] - half.pred_boxes.tensor).abs().amax(dim=2)
    assert not torch.equal(exact.scores[:5], half.scores[:5])
    assert float((distance.amin(dim=1) < 3).float().mean()) > 0.5
    found = Predictor(thin_config(MODEL__INFERENCE__PRECISION="bfloat16"), weights, device="cpu")(
        IMAGE, "BGR"
    )
    assert torch.equal(found.scores, half.scores)
    assert torch.equal(found.masks(), half.pred_masks)


def test_a_compiled_backbone_computes_the_same(weights: str) -> None:
    # This backend records the graph as any other does, and runs it without a compiler.
    compiled, plain = predict(weights, COMPILE="eager"), predict(weights, FUSE=False)
    torch.testing.assert_close(compiled.scores, plain.scores, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_compiler_reads_a_backbone_in_one_piece() -> None:
    model: Any = thin_model(thin_config())
    whole = torch.compile(model.backbone, backend="eager", fullgraph=True)
    image = torch.rand(1, 3, 64, 96)
    for name, level in model.backbone(image).items():
        torch.testing.assert_close(whole(image)[name], level, atol=1e-5, rtol=1e-5)


def test_threads_are_as_before_afterwards() -> None:
    model: Any = thin_model(thin_config(MODEL__INFERENCE__NUM_THREADS=2))
    seen: list[int] = []
    before = torch.get_num_threads()
    note = model.backbone.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    with note, torch.no_grad():
        model([{"image": torch.zeros(3, 64, 96)}])
    assert seen == [2]
    assert torch.get_num_threads() == before


def test_options_hold_inside_the_block_only() -> None:
    options = InferenceOptions(fuse=False)
    with torch.no_grad():
        with options.applied(torch.device("cpu")):
            assert not is_fusing()
        assert is_fusing()


def test_training_uses_the_faster_operators_whatever_the_options_are() -> None:
    model: Any = thin_model(thin_config(MODEL__INFERENCE__FUSE=False))
    seen: list[bool] = []
    model.backbone.register_forward_hook(lambda *_: seen.append(may_replace_operators()))
    inputs = {"image": torch.zeros(3, 64, 96), "instances": cases.ground_truth(1, 64, 96, 1)}
    with torch.no_grad():
        model([inputs])
    model.train()([inputs])
    assert seen == [False, True]


def test_wrong_values_are_named() -> None:
    with pytest.raises(ValueError, match="PRECISION is 'int4', but must be one of float32, bfl"):
        build_model(thin_config(MODEL__INFERENCE__PRECISION="int4"))
    with pytest.raises(ValueError, match="NUM_THREADS is -1, but must be 0 or more"):
        build_model(thin_config(MODEL__INFERENCE__NUM_THREADS=-1))
    assert load_config("d2seg://nuclei.yaml").MODEL.INFERENCE.FUSE
