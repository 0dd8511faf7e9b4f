"""Tracing of models whose inputs and outputs are not plain tensors."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.export.schema import Schema, flatten_to_tuple
from d2seg.core.export.torchscript_patch import patch_builtin_len

__all__ = ["Schema", "TracingAdapter", "flatten_to_tuple"]


class TracingAdapter(nn.Module):
    """A model as one that takes and returns a flat tuple of tensors, as tracing needs it.

        adapter = TracingAdapter(model, [{"image": image}])
        traced = torch.jit.trace(adapter, adapter.flattened_inputs)
        outputs = adapter.outputs_schema(traced(other_image))

    Attributes:
        flattened_inputs: The tensors in the inputs, what to trace with.
        inputs_schema: How they are nested; None if the inputs hold something else too.
        outputs_schema: How the outputs of the last call are nested; None if they hold something
            else than tensors.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        inference_func: Callable[..., Any] | None = None,
        allow_non_tensor: bool = False,
    ) -> None:
        """Adapt a model.

        Args:
            model: The model.
            inputs: Its arguments: a tuple, or the only one.
            inference_func: Called with the model and the arguments; by default it calls the model.
            allow_non_tensor: Keep numbers, texts and the like as constants of the trace, and leave
                them out of the outputs; otherwise they are an error.

        Raises:
            ValueError: The inputs hold something else than tensors and may not.
        """
        super().__init__()
        # A wrapper that prepares the same model for several GPUs cannot be traced.
        self.model = model.module if isinstance(model, nn.DataParallel) else model
        self.inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self.inference_func = inference_func or _call
        self.allow_non_tensor = allow_non_tensor
        values, schema = flatten_to_tuple(self.inputs)
        self.flattened_inputs = self._tensors(values, "inputs")
        all_tensors = len(self.flattened_inputs) == len(values)
        self.inputs_schema: Schema | None = schema if all_tensors else None
        self.outputs_schema: Schema | None = None

    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        """Run the model on flat inputs.

        Raises:
            ValueError: The inputs differ from the first ones and hold constants, or the outputs
                hold something else than tensors and may not.
        """
        with torch.no_grad(), patch_builtin_len():
            outputs = self.inference_func(self.model, *self._nested(args))
            values, schema = flatten_to_tuple(outputs)
            tensors = self._tensors(values, "outputs")
        self.outputs_schema = schema if len(tensors) == len(values) else None
        return tensors

    def _nested(self, args: tuple[Tensor, ...]) -> tuple[Any, ...]:
        if self.inputs_schema is not None:
            nested: tuple[Any, ...] = self.inputs_schema(args)
            return nested
        same = len(args) == len(self.flattened_inputs) and all(
            new is old for new, old in zip(args, self.flattened_inputs, strict=True)
        )
        if not same:
            raise ValueError(
                "The first inputs held constants, so the adapter cannot generalize to other "
                "inputs; call it with its own flattened_inputs."
            )
        return self.inputs

    def _tensors(self, values: tuple[Any, ...], what: str) -> tuple[Tensor, ...]:
        others = [value for value in values if not isinstance(value, Tensor)]
        if others and not self.allow_non_tensor:
            raise ValueError(
                f"The {what} of a traced model must only contain tensors; found "
                f"a {type(others[0]).__name__}. With allow_non_tensor=True it becomes a constant."
            )
        return tuple(value for value in values if isinstance(value, Tensor))


def _call(model: nn.Module, *inputs: Any) -> Any:
    return model(*inputs)
