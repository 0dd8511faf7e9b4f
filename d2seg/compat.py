"""Serve the name ``detectron2`` from the embedded framework.

After ``install()``, ``from detectron2.x import y`` gives ``d2seg.core.x``'s ``y``: the very same
module objects under two names, so classes are identical, ``isinstance`` holds, and a pickle that
names ``detectron2.structures.instances.Instances`` loads.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

ALIAS = "detectron2"
TARGET = "d2seg.core"


def install() -> None:
    """Let ``import detectron2`` give the embedded framework; a second call does nothing.

    An installed detectron2 that has not been imported yet is hidden until ``uninstall``.

    Raises:
        RuntimeError: The real detectron2 has been imported already; both under one name would mix
            their classes.
    """
    if installed():
        return
    if ALIAS in sys.modules:
        origin = getattr(sys.modules[ALIAS], "__file__", None) or "an unknown place"
        raise RuntimeError(
            f"The real detectron2 has already been imported from {origin}; "
            "call d2seg.compat.install() before anything imports detectron2."
        )
    sys.meta_path.insert(0, _FINDER)


def uninstall() -> None:
    """Give the name ``detectron2`` back; what has been imported through it stays valid."""
    if not installed():
        return
    sys.meta_path.remove(_FINDER)
    for name in [n for n in sys.modules if _is_alias(n)]:
        del sys.modules[name]


def installed() -> bool:
    """Return whether ``detectron2`` is served by the embedded framework at the moment."""
    return _FINDER in sys.meta_path


def find_real_detectron2() -> ModuleSpec | None:
    """Find the installed detectron2, whether or not the alias hides it.

    A folder named detectron2 without ``__init__.py``, such as a clone of its repository in the
    working directory, is not an installation.
    """
    for finder in sys.meta_path:
        if finder is _FINDER:
            continue
        spec = finder.find_spec(ALIAS, None)
        if spec is not None and spec.origin is not None:
            return spec
    return None


class _AliasFinder(MetaPathFinder):
    """Finds ``detectron2.x`` where ``d2seg.core.x`` is."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not _is_alias(fullname):
            return None
        real = find_spec(_target_name(fullname))
        if real is None:
            raise ModuleNotFoundError(
                f"No module named '{fullname}': d2seg's embedded framework, which serves the name "
                f"{ALIAS}, does not have it.",
                name=fullname,
            )
        spec = ModuleSpec(fullname, _AliasLoader(), origin=real.origin)
        spec.submodule_search_locations = real.submodule_search_locations
        return spec


class _AliasLoader(Loader):
    """Gives the target's own module object instead of running its code a second time."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(_target_name(spec.name))
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the alias's spec on the module; reload, pickle and relative
        # imports need the one it was made with.
        module.__spec__ = self._own_spec


_FINDER = _AliasFinder()


def _is_alias(name: str) -> bool:
    return name == ALIAS or name.startswith(f"{ALIAS}.")


def _target_name(name: str) -> str:
    return TARGET + name.removeprefix(ALIAS)
