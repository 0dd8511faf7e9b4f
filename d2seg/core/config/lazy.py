"""Configs written in Python, under detectron2's names; they need the package omegaconf.

Loading such a file runs it, as importing it would: it is a program, with all your rights. A YAML
file that is loaded here runs nothing, but `instantiate` calls what its ``_target_`` names, whatever
that is. Configs of strangers belong into a ``CfgNode``, which runs nothing ever.
"""

import builtins
import dataclasses
import inspect
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from d2seg.core.config.instantiate import describe_dataclass
from d2seg.core.runtime.files import PathManager, replace_when_complete
from d2seg.core.runtime.names import locate, target_name
from d2seg.core.runtime.untrusted.yaml_texts import MOST_CHARACTERS, load_plain_yaml

_PACKAGE = "d2seg_lazy_config"

logger = logging.getLogger(__name__)


class LazyCall:
    """Describes a call instead of making it: ``LazyCall(f)(x=1)``.

    Args:
        target: A function, a class, the dotted name of one, or a description of it.
    """

    def __init__(self, target: Any) -> None:
        if not (callable(target) or isinstance(target, str | Mapping)):
            raise TypeError(f"LazyCall needs something to call, or its name; found {target!r}.")
        self._target = target

    def __call__(self, **kwargs: Any) -> Any:
        """Return the description, a config whose entries can be changed."""
        target = self._target
        if isinstance(target, type) and (
            dataclasses.is_dataclass(target) or issubclass(target, dict | list | tuple)
        ):
            # omegaconf would take the class itself for a description of a config.
            target = target_name(target)
        content = {name: _described(value) for name, value in kwargs.items()}
        return _dict_config({"_target_": target, **content})


class LazyConfig:
    """Loads, saves and changes configs written in Python."""

    @staticmethod
    def load(filename: str, keys: str | Sequence[str] | None = None) -> Any:
        """Load a config file.

        Args:
            filename: A ``.py`` file, which is run, or a YAML file.
            keys: What to return of it; by default everything that is a config.

        Returns:
            A config; for one key its value, for several a tuple of values.

        Raises:
            ValueError: The file is of another kind.
            ImportError: A relative import in it leads to no file.
        """
        suffix = os.path.splitext(filename)[1]
        if suffix == ".py":
            with _config_imports():
                namespace = _run(filename)
        elif suffix in (".yaml", ".yml"):
            with PathManager.open(filename) as file:
                namespace = _parse(file.read(MOST_CHARACTERS + 1), filename)
        else:
            raise ValueError(f"'{filename}' is neither a .py nor a .yaml file.")
        if keys is None:
            if suffix == ".py":
                public = {k: v for k, v in namespace.items() if not k.startswith("_")}
                namespace = {k: v for k, v in public.items() if _is_config(v)}
            return _dict_config(namespace)
        if isinstance(keys, str):
            return _as_config(namespace[keys])
        return tuple(_as_config(namespace[key]) for key in keys)

    @staticmethod
    def load_rel(filename: str, keys: str | Sequence[str] | None = None) -> Any:
        """Load a config file named relative to the file of the caller; see `load`."""
        caller = inspect.stack()[1].frame.f_globals["__file__"]
        return LazyConfig.load(os.path.join(os.path.dirname(caller), filename), keys)

    @staticmethod
    def save(cfg: Any, filename: str) -> None:
        """Write a config as YAML, with names in place of functions and classes.

        Where that does not lead back to the same config, because of a lambda for instance, a
        warning says so and a pickle is written beside it, ``filename.pkl``.
        """
        content = _omegaconf().OmegaConf.to_container(cfg, resolve=False)
        written = _with_names(content, representable=False)
        with replace_when_complete(Path(filename)) as temporary:
            Path(temporary).write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
        lost = list(_lost_in_yaml(content))
        if lost:
            logger.warning("'%s' cannot hold %s; see '%s.pkl'.", filename, lost[0], filename)
            with replace_when_complete(Path(f"{filename}.pkl")) as temporary:
                Path(temporary).write_bytes(_cloudpickle().dumps(cfg))

    @staticmethod
    def apply_overrides(cfg: Any, overrides: Sequence[str]) -> Any:
        """Change a config, in place, by ``key.inner=value`` texts; values are YAML.

        Raises:
            KeyError: A key leads into something that is no config.
        """
        oc = _omegaconf().OmegaConf
        for override in overrides:
            key, separator, text = override.partition("=")
            if not separator:
                raise ValueError(f"The override '{override}' is not of the form key=value.")
            parts = key.split(".")
            for length in range(1, len(parts)):
                outer = ".".join(parts[:length])
                found = oc.select(cfg, outer, default=None)
                if found is not None and not oc.is_config(found):
                    raise KeyError(f"Cannot set '{key}': '{outer}' is {found!r}, not a config.")
            oc.update(cfg, key, yaml.safe_load(text), merge=True)
        return cfg

    @staticmethod
    def to_py(cfg: Any, prefix: str = "cfg.") -> str:
        """Write a config as lines of Python, to be read; formatted where black is installed."""
        content = _omegaconf().OmegaConf.to_container(cfg, resolve=True)
        text = "".join(_lines(_with_names(content), prefix))
        try:
            import black
        except ImportError:
            return text
        return black.format_str(text, mode=black.Mode())


def _parse(text: str, filename: str) -> Any:
    try:
        return load_plain_yaml(text)
    except ValueError as error:
        raise ValueError(f"Config file '{filename}' {error}.") from error


def _omegaconf() -> ModuleType:
    try:
        import omegaconf
    except ImportError as error:
        raise ImportError(
            "Configs written in Python need the package omegaconf: pip install omegaconf."
        ) from error
    return omegaconf


def _dict_config(content: Any) -> Any:
    return _omegaconf().DictConfig(content=content, flags={"allow_objects": True})


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) or _omegaconf().OmegaConf.is_config(value)


def _as_config(value: Any) -> Any:
    return _dict_config(value) if isinstance(value, dict) else value


def _described(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return describe_dataclass(value)
    return value


def _run(filename: str) -> dict[str, Any]:
    """Run a Python config; relative imports in it load other configs, each time anew."""
    with PathManager.open(filename) as file:
        code = compile(file.read(), filename, "exec")
    namespace = {"__file__": filename, "__package__": _PACKAGE, "__name__": _PACKAGE}
    exec(code, namespace)
    return namespace


@contextmanager
def _config_imports() -> Iterator[None]:
    plain = builtins.__import__

    def load_config(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if level == 0 or globals is None or globals.get("__package__") != _PACKAGE:
            return plain(name, globals, locals, fromlist, level)
        file = _imported_file(name, str(globals["__file__"]), level)
        module = ModuleType(f"{_PACKAGE}.{name}")
        loaded = _run(str(file))
        for key in fromlist or ():
            if key in loaded:
                setattr(module, key, _as_config(deepcopy(loaded[key])))
        return module

    builtins.__import__ = load_config
    try:
        yield
    finally:
        builtins.__import__ = plain


def _imported_file(name: str, importer: str, level: int) -> Path:
    """Return the file that a relative import in a config means."""
    if not name:
        raise ImportError(
            f"'{importer}' has a relative import of a folder, 'from {'.' * level} import x'; a "
            "config imports values from a file: 'from .x import y'."
        )
    folder = Path(importer).parents[level - 1]
    file = folder.joinpath(*name.split(".")).with_suffix(".py")
    if not file.is_file():
        raise ImportError(f"'{importer}' imports '{name}', but '{file}' does not exist.")
    return file


def _with_names(content: Any, *, representable: bool = True) -> Any:
    """Replace functions and classes by their names, recursively; on wish the rest by its text."""
    if isinstance(content, dict):
        return {k: _with_names(v, representable=representable) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [_with_names(value, representable=representable) for value in content]
    if callable(content):
        return target_name(content)
    return content if representable or _is_plain(content) else str(content)


def _lost_in_yaml(content: Any) -> Iterator[str]:
    """Yield what a file with names cannot give back."""
    if isinstance(content, dict):
        target = content.get("_target_")
        if callable(target) and not _can_be_found(target):
            yield f"the target {target!r}"
        for key, value in content.items():
            if key != "_target_" or not callable(value):
                yield from _lost_in_yaml(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _lost_in_yaml(value)
    elif not _is_plain(content):
        yield repr(content)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bytes | bool | int | float)


def _can_be_found(target: Any) -> bool:
    try:
        return locate(target_name(target)) is target
    except ImportError:
        return False


def _cloudpickle() -> ModuleType:
    try:
        return import_module("cloudpickle")  # has no type information
    except ImportError as error:
        raise ImportError(
            "A config that YAML cannot hold is pickled, which needs the package cloudpickle: "
            "pip install cloudpickle."
        ) from error


def _lines(content: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict) and "_target_" not in value:
            yield from _lines(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} = {_expression(value)}\n"


def _expression(value: Any) -> str:
    if isinstance(value, dict) and "_target_" in value:
        arguments = [
            f"{name}={_expression(inner)}" for name, inner in value.items() if name != "_target_"
        ]
        return f"{value['_target_']}({', '.join(arguments)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_expression(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_expression, value)) + "]"
    return repr(value)
