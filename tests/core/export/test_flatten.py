"""Nested values as flat tuples, and tracing with them."""

import json

import pytest
import torch
from torch import Tensor, nn

from d2seg.core.config.instantiate import dump_dataclass, instantiate
from d2seg.core.export import TracingAdapter
from d2seg.core.export.flatten import flatten_to_tuple
from d2seg.core.structures import Boxes, Instances


def test_plain_nesting_comes_back() -> None:
    nested = ({"a": [1, (2,)], "b": "x"}, [], 3)
    values, schema = flatten_to_tuple(nested)
    assert values == (1, 2, "x", 3)
    assert schema(values) == nested
    assert schema == flatten_to_tuple(({"a": [5, (6,)], "b": "y"}, [], 7))[1]
    assert schema != flatten_to_tuple(nested[0])[1]
    with pytest.raises(ValueError, match="nests 4 values, found 3"):
        schema(values[:3])


def test_instances_give_their_fields_by_name_and_their_size() -> None:
    instances = Instances((4, 6), scores=torch.rand(2), pred_boxes=Boxes(torch.rand(2, 4)))
    values, schema = flatten_to_tuple([instances])
    assert values[0] is instances.pred_boxes.tensor
    assert values[1] is instances.scores
    assert values[2].tolist() == [4, 6]
    again = schema(values)[0]
    assert isinstance(again.pred_boxes, Boxes)
    assert again.pred_boxes.tensor is instances.pred_boxes.tensor
    assert instantiate(json.loads(json.dumps(dump_dataclass(schema)))) == schema


class Scale(nn.Module):
    def forward(self, inputs: list[dict[str, Tensor]], factor: int = 1) -> list[Instances]:
        return [
            Instances((one["image"].shape[0], 8), scores=one["image"] * factor) for one in inputs
        ]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_model_takes_and_returns_what_is_inside() -> None:
    adapter = TracingAdapter(Scale(), ([{"image": torch.rand(3)}], torch.tensor(2)))
    traced = torch.jit.trace(adapter, adapter.flattened_inputs)
    scores, size = traced(torch.ones(5), torch.tensor(4))
    assert adapter.outputs_schema is not None
    assert adapter.outputs_schema((scores, size))[0].scores.tolist() == [4.0] * 5
    assert size.tolist()[1] == 8


def test_constants_are_refused_or_kept() -> None:
    inputs = (torch.rand(3), 2)
    with pytest.raises(ValueError, match="inputs of a traced model must only contain tensors"):
        TracingAdapter(nn.Identity(), inputs)
    adapter = TracingAdapter(
        nn.Identity(), inputs, lambda model, x, factor: (x * factor, "text"), allow_non_tensor=True
    )
    (scaled,) = adapter(*adapter.flattened_inputs)
    assert torch.equal(scaled, inputs[0] * 2)
    assert adapter.outputs_schema is None
    with pytest.raises(ValueError, match="cannot generalize to other inputs"):
        adapter(inputs[0].clone())
    strict = TracingAdapter(nn.Identity(), inputs[0], lambda model, x: (x, 1))
    with pytest.raises(ValueError, match="outputs of a traced model must only contain tensors"):
        strict(inputs[0])
