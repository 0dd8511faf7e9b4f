"""Registries that help with a wrong name."""

import pytest

from d2seg.core.runtime.registry import Registry


def test_an_unknown_name_lists_the_nearest_and_the_known() -> None:
    registry = Registry("ANIMALS")
    registry.register(obj=len)
    registry.register(obj=sorted)
    assert registry.get("len") is len
    with pytest.raises(KeyError, match="No 'sortd' in the registry ANIMALS; did you mean 'sorted'"):
        registry.get("sortd")
    with pytest.raises(KeyError, match="in the registry ANIMALS. Known: len, sorted."):
        registry.get("xyz")
