"""Published configs and their weights, by name."""

from d2seg.core.model_zoo.model_zoo import (
    UnknownModelError,
    get,
    get_checkpoint_url,
    get_config,
    get_config_file,
    is_trained,
)

__all__ = [
    "UnknownModelError",
    "get",
    "get_checkpoint_url",
    "get_config",
    "get_config_file",
    "is_trained",
]
