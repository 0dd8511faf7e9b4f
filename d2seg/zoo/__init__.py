"""Model zoos: the published configs with their weights, and those that a YAML file lists."""

from d2seg.zoo.cache import CachedFile, list_cache
from d2seg.zoo.fetching import Fetched, fetch_model, is_here, local_file
from d2seg.zoo.models import ZooModel, find_model, published_models, search_models
from d2seg.zoo.zoo_file import VARIABLE, all_models, find_listed, read_zoo

__all__ = [
    "VARIABLE",
    "CachedFile",
    "Fetched",
    "ZooModel",
    "all_models",
    "fetch_model",
    "find_listed",
    "find_model",
    "is_here",
    "list_cache",
    "local_file",
    "published_models",
    "read_zoo",
    "search_models",
]
