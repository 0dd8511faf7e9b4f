"""Models compiled to TorchScript."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2seg.core.export.torchscript_patch import freeze_training_mode, patch_instances
from d2seg.core.runtime.files import PathManager, replace_when_complete

__all__ = ["dump_torchscript_IR", "patch_instances", "scripting_with_instances"]


def scripting_with_instances(model: nn.Module, fields: Mapping[str, Any]) -> Any:
    """Compile a model that passes Instances around.

    Args:
        model: In evaluation mode.
        fields: The fields that instances can have, with their types; TorchScript has to know them
            beforehand. A field may be unset.

    Returns:
        The compiled model. Instances that it returns are objects of another class, with the same
        fields; see `d2seg.core.utils.testing.convert_scripted_instances`.

    Raises:
        ValueError: The model is in training mode.
    """
    if model.training:
        raise ValueError("Only a model in evaluation mode can be compiled; call model.eval().")
    with freeze_training_mode(model), patch_instances(fields):
        return torch.jit.script(model)


def dump_torchscript_IR(model: Any, dir: str) -> None:
    """Write what TorchScript made of a model, to be read by people.

    Args:
        model: A traced or compiled module or function.
        dir: Folder of the files, made if need be: ``model_ts_code.txt``, ``model_ts_IR.txt``,
            ``model_ts_IR_inlined.txt`` and, of a module, ``model.txt``.
    """
    PathManager.mkdirs(dir)
    inlined = model.inlined_graph if hasattr(model, "inlined_graph") else _inlined(model.graph)
    texts = {"model_ts_code": _code(model), "model_ts_IR": _graphs(model)}
    texts["model_ts_IR_inlined"] = str(inlined)
    if isinstance(model, nn.Module):
        texts["model"] = str(model)
    for name, text in texts.items():
        with replace_when_complete(Path(dir) / f"{name}.txt") as temporary:
            Path(temporary).write_text(text, encoding="utf-8")


def _inlined(graph: Any) -> Any:
    copy = graph.copy()
    torch._C._jit_pass_inline(copy)
    return copy


def _code(model: Any) -> str:
    if not isinstance(model, torch.jit.ScriptModule):
        return str(model.code)
    parts = [
        f"{type(module).__name__} {name or 'model'}\n{module.code}"
        for name, module in model.named_modules()
        if isinstance(module, torch.jit.ScriptModule) and _has_forward(module)
    ]
    return "\n".join(parts)


def _graphs(model: Any) -> str:
    if not isinstance(model, torch.jit.ScriptModule):
        return str(model.graph)
    parts = [
        f"{name or 'model'}\n{module.graph}"
        for name, module in model.named_modules()
        if isinstance(module, torch.jit.ScriptModule) and _has_forward(module)
    ]
    return "\n".join(parts)


def _has_forward(module: torch.jit.ScriptModule) -> bool:
    return bool(module._c._has_method("forward"))
