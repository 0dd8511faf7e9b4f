"""The config node: a yacs tree that files, lists and older versions can be merged into."""

from collections.abc import Mapping, Sequence
from typing import IO, Any

from fvcore.common.config import CfgNode as FvcoreCfgNode

from d2seg.core.config import compat
from d2seg.core.config.errors import leaf_keys, same_kind, unknown_key_error, wrong_type_error
from d2seg.core.config.safe_yaml import BASE_KEY, load_config_tree
from d2seg.core.runtime.files import PathManager


class CfgNode(FvcoreCfgNode):
    """A node of a config, as fvcore's, with versions, safe files and helpful errors.

    A merge checks everything first: it takes all of the new values or, raising, none of them.
    """

    @classmethod
    def _open_cfg(cls, filename: str) -> IO[Any]:
        stream: IO[Any] = PathManager.open(filename, "r")
        return stream

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """Read a YAML file and its bases into nested dicts; see ``load_config_tree``.

        Args:
            filename: A file, or an address of the path manager.
            allow_unsafe: Accepted for compatibility and ignored: files never run code.
        """
        return load_config_tree(str(filename), cls._open_cfg)

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = False) -> None:
        """Merge a YAML file, upgraded first if it is of an older version.

        Args:
            cfg_filename: A file, or an address of the path manager.
            allow_unsafe: Accepted for compatibility and ignored: files never run code.

        Raises:
            FileNotFoundError: The file or one of its bases does not exist.
            KeyError: A key does not exist.
            ValueError: Not a config file, a value of the wrong type, or a newer version.
        """
        filename = str(cfg_filename)
        tree = self.load_yaml_with_base(filename)
        if "VERSION" in self:
            tree = self._upgraded(tree, filename)
        self._merge_tree(tree, f" in '{filename}'")

    def merge_from_other_cfg(self, cfg_other: Mapping[str, Any]) -> None:
        """Merge another config, or nested dicts; errors as for ``merge_from_file``."""
        self._merge_tree(cfg_other, "")

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Merge a flat list of full keys and values, as from a command line.

        Strings are read as Python literals where they are one.

        Raises:
            KeyError: A key does not exist.
            ValueError: The list has an odd length, or a value has the wrong type.
        """
        if len(cfg_list) % 2:
            raise ValueError(
                "Config overrides come in pairs KEY VALUE, found an odd number of words: "
                f"{' '.join(map(str, cfg_list))}."
            )
        for key, value in zip(cfg_list[0::2], cfg_list[1::2], strict=True):
            self._check_override(str(key), self._decode_cfg_value(value))
        super().merge_from_list(list(cfg_list))

    @classmethod
    def _decode_cfg_value(cls, value: Any) -> Any:
        try:
            return super()._decode_cfg_value(value)
        except (TypeError, MemoryError, RecursionError):
            return value  # not a literal after all, so a plain string

    def _upgraded(self, tree: dict[str, Any], filename: str) -> dict[str, Any]:
        version = tree.get("VERSION")
        if version is None:
            version = compat.guess_version(tree, filename)
        if type(version) is not int or not 0 <= version <= self.VERSION:
            raise ValueError(
                f"Config file '{filename}' has VERSION {version!r}; expected an integer from 0 to "
                f"{self.VERSION}."
            )
        model = tree.get("MODEL")
        named = model.get("META_ARCHITECTURE") if isinstance(model, dict) else None
        meta_architecture = named or self.get("MODEL", {}).get("META_ARCHITECTURE", "")
        upgraded = compat.upgrade_tree(tree, version, self.VERSION, meta_architecture)
        upgraded.pop("VERSION", None)
        return upgraded

    def _merge_tree(self, tree: Mapping[str, Any], source: str) -> None:
        if BASE_KEY in tree:
            raise ValueError(f"The key '{BASE_KEY}' can only be used in files.")
        self._check_tree(self, tree, "", source)
        # Each node merges into one of its own class, whichever class the other config had.
        super().merge_from_other_cfg(type(self)(_as_dicts(tree)))

    def _check_tree(
        self, node: FvcoreCfgNode, tree: Mapping[str, Any], prefix: str, source: str
    ) -> None:
        for key, raw in tree.items():
            full_key, value = f"{prefix}{key}", self._decode_cfg_value(raw)
            if key not in node:
                self._check_new_key(node, full_key, value, source)
            elif not same_kind(node[key], value):
                raise wrong_type_error(full_key, node[key], value, source)
            elif isinstance(value, Mapping):
                self._check_tree(node[key], value, f"{full_key}.", source)

    def _check_new_key(self, node: FvcoreCfgNode, full_key: str, value: Any, source: str) -> None:
        """Raise unless yacs itself adds, ignores or explains this key."""
        if node.is_new_allowed() or self.key_is_deprecated(full_key):
            return
        if self.key_is_renamed(full_key):
            self.raise_key_rename_error(full_key)
        raise unknown_key_error(next(leaf_keys({full_key: value})), self, source)

    def _check_override(self, full_key: str, value: Any) -> None:
        if full_key == BASE_KEY:
            raise ValueError(f"The key '{BASE_KEY}' can only be used in files.")
        if self.key_is_deprecated(full_key) or self.key_is_renamed(full_key):
            return  # yacs ignores the one and explains the other
        node: Any = self
        for part in full_key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                raise unknown_key_error(full_key, self, "")
            node = node[part]
        if isinstance(node, Mapping) or not same_kind(node, value):
            raise wrong_type_error(full_key, node, value, "")


global_cfg = CfgNode()
"""The config of the process, for quick experiments; empty until ``set_global_cfg``."""


def get_cfg() -> CfgNode:
    """Return a new config that holds every key with its default."""
    from d2seg.core.config.defaults import _C  # the defaults are CfgNodes: they import this module

    return _C.clone()


def set_global_cfg(cfg: FvcoreCfgNode) -> None:
    """Make ``global_cfg`` hold the keys of ``cfg``; sections are shared, not copied."""
    global_cfg.clear()
    global_cfg.update(cfg)


def _as_dicts(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _as_dicts(v) if isinstance(v, Mapping) else v for k, v in tree.items()}
