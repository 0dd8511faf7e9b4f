"""What has to be different while TorchScript looks at a model."""

import builtins
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import nn

from d2seg.core.export.scripted_instances import make_scripted_instances
from d2seg.core.structures import Instances

__all__ = [
    "freeze_training_mode",
    "patch_builtin_len",
    "patch_instances",
    "patch_nonscriptable_classes",
]

_MODULES_WITH_LEN = (
    "d2seg.core.modeling.poolers",
    "d2seg.core.modeling.postprocessing",
    "d2seg.core.modeling.roi_heads.fast_rcnn",
    "d2seg.core.modeling.roi_heads.keypoint_head",
    "d2seg.core.modeling.roi_heads.mask_head",
)


@contextmanager
def patch_instances(fields: Mapping[str, Any]) -> Iterator[type]:
    """Let TorchScript compile code that uses Instances.

    Args:
        fields: The fields that instances can have, each with its type or its name.

    Yields:
        The class that stands for Instances; its ``from_instances`` makes one from an ordinary one,
        as an argument of what has been compiled.
    """
    scripted = make_scripted_instances(fields)
    _forget_compiled()
    # torch asks classes for this name before it compiles them.
    Instances._jit_override_qualname = torch._jit_internal._qualified_name(scripted)  # type: ignore[attr-defined]
    try:
        yield scripted
    finally:
        del Instances._jit_override_qualname  # type: ignore[attr-defined]
        _forget_compiled()


@contextmanager
def freeze_training_mode(model: nn.Module) -> Iterator[None]:
    """Make ``training`` a constant, so that only the branches that it leaves are compiled."""
    kinds = {type(module) for module in model.modules()}
    with ExitStack() as stack:
        for kind in kinds:
            names = [*getattr(kind, "__constants__", ()), "training"]
            stack.enter_context(mock.patch.object(kind, "__constants__", names, create=True))
        yield


@contextmanager
def patch_builtin_len(modules: Iterable[str] = ()) -> Iterator[None]:
    """Let ``len`` of traced values be traced too, instead of becoming a constant.

    Args:
        modules: Names of more modules than this framework's in which to do so.
    """
    with ExitStack() as stack:
        for name in (*_MODULES_WITH_LEN, *modules):
            module = sys.modules.get(name)
            if module is not None:
                stack.enter_context(mock.patch.object(module, "len", _traced_len, create=True))
        yield


def patch_nonscriptable_classes() -> None:
    """Do nothing: the modules of this framework are written so that TorchScript takes them."""


def _traced_len(value: Any) -> Any:
    own = getattr(value, "__len__", None)
    return builtins.len(value) if own is None or isinstance(value, list | tuple) else own()


def _forget_compiled() -> None:
    """Drop what was compiled with other types of instances."""
    torch.jit._recursive.concrete_type_store.type_store.clear()
    torch.jit._state._jit_caching_layer.clear()
