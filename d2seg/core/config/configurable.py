"""Let one constructor be called with explicit arguments or with a config."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fvcore.common.config import CfgNode as FvcoreCfgNode


def configurable(
    function: Callable[..., Any] | None = None, *, from_config: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """Decorate an ``__init__`` or a function so that a config may stand for its arguments.

    On ``__init__`` (used bare) the class gives a ``from_config(cls, cfg, ...)`` classmethod; on any
    other function ``from_config`` is given to the decorator. Either returns a dict of arguments.
    Called with a config (a CfgNode, or omegaconf's DictConfig), arguments that ``from_config``
    accepts go to it, and the others override what it returned. Called without a config, the
    function runs as it is.

    Args:
        function: The ``__init__`` to decorate.
        from_config: For a function: turns a config into its arguments.

    Raises:
        TypeError: At decoration or at the call, if the decorator is not used as described.
        AttributeError: At the call, if the class has no ``from_config``.
    """
    if function is not None:
        if from_config is not None or getattr(function, "__name__", "") != "__init__":
            raise TypeError(
                "@configurable without from_config decorates an __init__ method; for a function "
                "write @configurable(from_config=...)."
            )
        return _configurable_init(function)
    if from_config is None:
        return configurable
    if not inspect.isfunction(from_config):
        raise TypeError(f"from_config must be a function, found {type(from_config).__name__}.")
    return functools.partial(_configurable_function, from_config=from_config)


def _configurable_init(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        from_config = getattr(type(self), "from_config", None)
        if not inspect.ismethod(from_config):
            kind = AttributeError if from_config is None else TypeError
            raise kind(
                f"{type(self).__name__} has a @configurable __init__, so it needs a 'from_config' "
                "classmethod."
            )
        if _called_with_config(args, kwargs):
            init(self, **_arguments_from_config(from_config, args, kwargs))
        else:
            init(self, *args, **kwargs)

    return wrapped


def _configurable_function(
    function: Callable[..., Any], from_config: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _called_with_config(args, kwargs):
            return function(**_arguments_from_config(from_config, args, kwargs))
        return function(*args, **kwargs)

    wrapped.from_config = from_config  # type: ignore[attr-defined]
    return wrapped


def _called_with_config(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    first = args[0] if args else kwargs.get("cfg")
    return isinstance(first, FvcoreCfgNode) or _is_dict_config(first)


def _is_dict_config(value: Any) -> bool:
    # Somebody who has such a config has imported its package.
    omegaconf = sys.modules.get("omegaconf")
    return omegaconf is not None and isinstance(value, omegaconf.DictConfig)


def _arguments_from_config(
    from_config: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    parameters = inspect.signature(from_config).parameters
    if next(iter(parameters), None) != "cfg":
        raise TypeError(f"{from_config.__qualname__} must take 'cfg' as its first argument.")
    takes_all = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values())
    accepted = {name: value for name, value in kwargs.items() if takes_all or name in parameters}
    overrides = {name: value for name, value in kwargs.items() if name not in accepted}
    return {**from_config(*args, **accepted), **overrides}
