"""Keep what modules take and give while a model runs."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

INPUT, OUTPUT = ":input", ":output"

Captured = dict[str, list[Any]]
"""What was seen at each place, in the order of the calls."""


class Enough(Exception):
    """Raised inside a model to end its run when everything wanted has been seen."""


@contextmanager
def capture(
    model: nn.Module,
    names: Sequence[str],
    after_each: Callable[[Captured], None] | None = None,
    copy: bool = True,
) -> Iterator[Captured]:
    """Keep the inputs or outputs of modules while the block runs the model.

    The hooks are gone after the block, however it ends. Without ``torch.no_grad()`` what is kept is
    part of the graph.

    Args:
        model: Any module that is neither scripted nor compiled.
        names: Dotted paths of modules, such as ``roi_heads.box_head.fc1``: their outputs. With
            ``:input`` at the end, their arguments: alone or, if there are several, as a tuple.
        after_each: Called whenever something has been captured.
        copy: Keep copies of the tensors, which a later layer that works in place cannot change.

    Yields:
        Name to a list with an entry for each call of the module; filled while the model runs.

    Raises:
        ValueError: There is no such module; the message names the nearest.
        TypeError: The model is scripted or compiled, so that hooks would be passed over, or
            ``names`` is a single string.
    """
    check_hookable(model)
    if isinstance(names, str):
        raise TypeError(f"names must be a list of paths, got the string '{names}'.")
    modules = {name: find_module(model, name) for name in names}
    captured: Captured = {name: [] for name in names}

    def keep(name: str, value: Any) -> None:
        captured[name].append(copied(value) if copy else value)
        if after_each is not None:
            after_each(captured)

    handles = []
    try:
        for name, module in modules.items():
            handles.append(_add_hook(module, name, keep))
        yield captured
    finally:
        for handle in handles:
            handle.remove()


def capture_until_complete(
    model: nn.Module, calls: Mapping[str, int], run: Callable[[], Any]
) -> Captured:
    """Run a model no further than needed.

    Args:
        model: Its modules are watched.
        calls: Name, as of `capture`, to how often the module is called.
        run: Runs the model.

    Returns:
        What was captured when every module had been called so often.
    """

    def stop_when_complete(captured: Captured) -> None:
        if all(len(captured[name]) >= number for name, number in calls.items()):
            raise Enough

    with capture(model, list(calls), stop_when_complete) as captured, suppress(Enough):
        run()
    return captured


def find_module(model: nn.Module, name: str) -> nn.Module:
    """Return the module that a name, as of `capture`, stands for.

    Raises:
        ValueError: There is no such module; the message names the nearest.
    """
    path = module_path(name)
    try:
        if path:
            return model.get_submodule(path)
    except AttributeError:
        pass
    known = [known for known, _ in model.named_modules() if known]
    nearest = difflib.get_close_matches(path, known, n=3)
    hint = f" The nearest are {', '.join(nearest)}." if nearest else ""
    raise ValueError(f"{type(model).__name__} has no module '{path}'.{hint}")


def module_path(name: str) -> str:
    """Return the path in a name: ``a.b`` of ``a.b:input``."""
    return name.removesuffix(INPUT).removesuffix(OUTPUT)


def check_hookable(model: nn.Module) -> None:
    """Make sure that hooks on a model are called.

    Raises:
        TypeError: It, or a part of it, is scripted or compiled.
    """
    for path, module in model.named_modules():
        kind = _unhookable_kind(module)
        if kind:
            part = f"part '{path}' of the model" if path else "model"
            raise TypeError(
                f"The {part} is {kind}, and hooks on {kind} modules are not called; take the "
                "features from the model as it was before."
            )


def _unhookable_kind(module: nn.Module) -> str:
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted"
    # What torch.compile(model) and model.compile() leave behind; importing its classes is slow.
    if "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None:
        return "compiled"
    return ""


def _add_hook(module: nn.Module, name: str, keep: Callable[[str, Any], None]) -> Any:
    if name.endswith(INPUT):

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            values = (*args, *kwargs.values())
            keep(name, values[0] if len(values) == 1 else values)

        return module.register_forward_pre_hook(before, with_kwargs=True)

    def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        keep(name, output)

    return module.register_forward_hook(after)


def copied(value: Any) -> Any:
    """Copy the tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        copies = [copied(item) for item in value]
        return type(value)(*copies) if hasattr(value, "_fields") else type(value)(copies)
    return value
