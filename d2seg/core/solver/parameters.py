"""Which parameters are trained with which learning rate and weight decay."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    lr_factor_func: Callable[[str], float] | None = None,
    overrides: dict[str, dict[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Group the trainable parameters of a model for an optimizer.

    Args:
        model: Parameters that need no gradient are left out, shared ones come once.
        base_lr: Learning rate; None for the optimizer's own.
        weight_decay: Likewise.
        weight_decay_norm: Weight decay of the parameters of norms; None for that of all.
        bias_lr_factor: Multiplies the learning rate of biases; needs ``base_lr`` unless it is 1.
        weight_decay_bias: Weight decay of biases; None for that of all.
        lr_factor_func: From the name of a parameter to a factor of its learning rate; needs
            ``base_lr``.
        overrides: From the last part of a parameter's name, such as ``bias``, to options of it.

    Returns:
        Groups of parameters with equal options.

    Raises:
        ValueError: A factor without a learning rate, or options for biases given twice.
    """
    by_kind = dict(overrides or {})
    of_bias: dict[str, float] = {}
    if bias_lr_factor is not None and bias_lr_factor != 1.0:
        of_bias["lr"] = _required(base_lr, "bias_lr_factor") * bias_lr_factor
    if weight_decay_bias is not None:
        of_bias["weight_decay"] = weight_decay_bias
    if of_bias:
        if "bias" in by_kind:
            raise ValueError("Options of biases are given twice: by overrides and by an argument.")
        by_kind["bias"] = of_bias
    groups = []
    for module, module_name, name, parameter in _trainable(model):
        options: dict[str, Any] = {"params": [parameter], "lr": base_lr}
        options["weight_decay"] = weight_decay
        if isinstance(module, _NORMS) and weight_decay_norm is not None:
            options["weight_decay"] = weight_decay_norm
        if lr_factor_func is not None:
            factor = lr_factor_func(f"{module_name}.{name}" if module_name else name)
            options["lr"] = _required(base_lr, "lr_factor_func") * factor
        options.update(by_kind.get(name, {}))
        groups.append({key: value for key, value in options.items() if value is not None})
    return reduce_param_groups(groups)


def _expand_param_groups(params: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make a group of every parameter; where it is in several, later options win."""
    by_parameter: dict[Any, dict[str, Any]] = {}
    for group in params:
        options = {key: value for key, value in group.items() if key != "params"}
        for parameter in group["params"]:
            by_parameter.setdefault(parameter, {"params": [parameter]}).update(options)
    return list(by_parameter.values())


def reduce_param_groups(params: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join groups with equal options, in order of their first parameters.

    Optimizers run faster over few groups than over one for each parameter. A parameter that is in
    several groups comes once, with the options of all; later ones win.

    Args:
        params: Groups as optimizers take them: ``params``, a list, and options. Not modified.
    """
    joined: dict[tuple[Any, ...], dict[str, Any]] = {}
    for group in _expand_param_groups(params):
        options = {key: value for key, value in group.items() if key != "params"}
        of_equal = joined.setdefault(tuple(sorted(options.items())), {"params": [], **options})
        of_equal["params"].extend(group["params"])
    return list(joined.values())


def _trainable(model: nn.Module) -> Iterator[tuple[nn.Module, str, str, nn.Parameter]]:
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield module, module_name, name, parameter


def _required(base_lr: float | None, what: str) -> float:
    if base_lr is None:
        raise ValueError(f"{what} multiplies the learning rate, but base_lr is not given.")
    return base_lr
