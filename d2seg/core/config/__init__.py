"""Configs: yacs nodes with bases, versions, safe YAML and errors that name the right key."""

from d2seg.core.config.compat import downgrade_config, upgrade_config
from d2seg.core.config.config import CfgNode, get_cfg, global_cfg, set_global_cfg
from d2seg.core.config.configurable import configurable
from d2seg.core.config.instantiate import instantiate
from d2seg.core.config.lazy import LazyCall, LazyConfig

__all__ = [
    "CfgNode",
    "LazyCall",
    "LazyConfig",
    "configurable",
    "downgrade_config",
    "get_cfg",
    "global_cfg",
    "instantiate",
    "set_global_cfg",
    "upgrade_config",
]
