"""Constructors and functions that take a config or explicit arguments."""

from typing import Any

import pytest

from d2seg.core.config import CfgNode, configurable


class Layer:
    @configurable
    def __init__(self, *, width: int, depth: int = 2, name: str = "") -> None:
        self.values = (width, depth, name)

    @classmethod
    def from_config(cls, cfg: CfgNode, name: str = "") -> dict[str, Any]:
        return {"width": cfg.WIDTH, "name": name.upper()}


class WideLayer(Layer):
    @classmethod
    def from_config(cls, cfg: CfgNode, name: str = "") -> dict[str, Any]:
        return {**super().from_config(cfg, name), "width": 10 * cfg.WIDTH}


@configurable(from_config=lambda cfg, *args, **kwargs: {"width": cfg.WIDTH, "rest": (args, kwargs)})
def function(width: int, rest: Any = None) -> tuple[int, Any]:
    return width, rest


CFG = CfgNode({"WIDTH": 3})


def test_explicit_arguments() -> None:
    assert Layer(width=1, name="a").values == (1, 2, "a")


def test_config_arguments_and_overrides() -> None:
    assert Layer(CFG).values == (3, 2, "")
    assert Layer(CFG, "b", depth=5).values == (3, 5, "B")
    assert Layer(cfg=CFG, width=7, name="b").values == (7, 2, "B")


def test_subclass_has_its_own_from_config() -> None:
    assert WideLayer(CFG).values == (30, 2, "")


def test_function() -> None:
    assert function(1) == (1, None)
    assert function(CFG, 4, extra=5) == (3, ((4,), {"extra": 5}))
    assert callable(function.from_config)


def test_misuse() -> None:
    class Bare:
        @configurable
        def __init__(self, x: int) -> None: ...

    class Instance(Bare):
        def from_config(self, cfg: CfgNode) -> dict[str, Any]:
            return {"x": 1}

    for bad, error in ((Bare, AttributeError), (Instance, TypeError)):
        with pytest.raises(error, match=f"{bad.__name__} .* needs a 'from_config' classmethod"):
            bad(CFG)
    with pytest.raises(TypeError, match="decorates an __init__ method"):
        configurable(lambda cfg: {})
    with pytest.raises(TypeError, match="must be a function, found dict"):
        configurable(from_config={})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must take 'cfg' as its first argument"):
        configurable(from_config=lambda x: {})(lambda x: x)(CFG)


def test_a_config_of_omegaconf_serves_too() -> None:
    omegaconf = pytest.importorskip("omegaconf", reason="configs written in Python need it")

    class Wide:
        @configurable
        def __init__(self, width: int) -> None:
            self.width = width

        @classmethod
        def from_config(cls, cfg: Any) -> dict[str, Any]:
            return {"width": cfg.WIDTH}

    assert Wide(omegaconf.OmegaConf.create({"WIDTH": 5})).width == 5
