"""The batched model in torch, against the model that it was made from."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from d2seg.export.batched.deployable import BatchedRCNN
from d2seg.export.batched.layouts import LAYOUTS, Layout
from d2seg.export.batched.runner import FileRunner
from d2seg.export.batched.verify import compare_batch
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.description import describe
from tests.export.models import pictures, thin_model
from tests.export.test_families import family

FAMILIES = ["masks and keypoints", "Mask R-CNN C4", "Cascade Mask R-CNN", "RetinaNet"]


def lay_out(name: str, layout: str, full_masks: bool = False) -> tuple[Layout, Any, Any]:
    """Return a layout of a family, its description, and the eager model."""
    cfg, model = family(name)
    return *lay_out_model(model, cfg, layout, full_masks), model


def lay_out_model(
    model: Any, cfg: Any, layout: str, full_masks: bool = False
) -> tuple[Layout, Any]:
    """Return a layout of a model, and its description."""
    description = describe(cfg, "onnx", False, cfg.INPUT.FORMAT, full_masks=full_masks)
    deployable = DeployableRCNN(model, aten_only=False, full_masks=full_masks)
    module = LAYOUTS[layout](BatchedRCNN(deployable), description)
    return module, replace(description, inputs=module.inputs, outputs=module.outputs)


def as_file(module: Layout, description: Any) -> FileRunner:
    """Run a layout as if it were a file, by the names of its schemas."""

    def run(inputs: Any) -> Any:
        with torch.inference_mode():
            outputs = module(*(inputs[schema.name] for schema in module.inputs))
        return dict(zip([schema.name for schema in module.outputs], outputs, strict=True))

    return FileRunner(run, description)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_finds_what_the_eager_model_finds(name: str, layout: str) -> None:
    module, description, model = lay_out(name, layout)
    run = as_file(module, description)
    together = [pictures()] if run.takes_batches else []
    batches = [*([image] for image in pictures()), *together]
    rows = [row for batch in batches for row in compare_batch(model, run, batch)]
    for row in rows:
        assert row.num_matched == row.num_eager == row.num_file > 0
        assert row.box_difference < 2e-3


@pytest.mark.parametrize("layout", ["single", "batched"])
def test_full_masks_are_those_of_the_model(layout: str) -> None:
    module, description, model = lay_out("Mask R-CNN C4", layout, full_masks=True)
    run = as_file(module, description)
    for batch in [pictures()[:2]] if run.takes_batches else [[one] for one in pictures()]:
        for row in compare_batch(model, run, batch):
            assert row.num_matched == row.num_eager == row.num_file > 20


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_schemas_tell_shapes_and_types(layout: str) -> None:
    module, _, _ = lay_out("masks and keypoints", layout)
    inputs = module.example()
    sizes: dict[str, int] = {}
    for schema, value in zip(
        [*module.inputs, *module.outputs], [*inputs, *module(*inputs)], strict=True
    ):
        assert str(value.dtype) == f"torch.{schema.dtype}", schema.name
        for expected, size in zip(schema.shape, value.shape, strict=True):
            letter = expected if isinstance(expected, str) else None
            assert size == (expected if letter is None else sizes.setdefault(letter, size))


def test_what_cannot_have_lists_of_one_length_is_refused() -> None:
    _, deformable = family("deformable, modulated, groups")
    with pytest.raises(ValueError, match="deformable convolutions .* a file of format 'ptl', not"):
        BatchedRCNN(DeployableRCNN(deformable))
    with pytest.raises(ValueError, match="resize_inside is for files of format 'ptl'"):
        BatchedRCNN(DeployableRCNN(thin_model(), resize=(96, 160)))
