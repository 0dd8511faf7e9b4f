"""Model zoos: the published configs with their weights, and those that a YAML file lists."""

from d2seg.zoo.cache import CachedFile, list_cache
from d2seg.zoo.fetching import Fetched, fetch_model, is_here
from d2seg.zoo.models import ZooModel, find_model, published_models, search_models
from d2seg.zoo.zoo_file import VARIABLE, all_models, read_zoo

__all__ = [
    "VARIABLE",
    "CachedFile",
    "Fetched",
    "ZooModel",
    "all_models",
    "fetch_model",
    "find_model",
    "is_here",
    "list_cache",
    "published_models",
    "read_zoo",
    "search_models",
]
