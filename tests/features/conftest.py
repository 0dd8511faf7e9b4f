from collections.abc import Iterator

import pytest
from torch import nn

from d2seg.assets import DEMO_CONFIG_FILE
from d2seg.config import load_config
from d2seg.framework import CfgNode, DetectionCheckpointer, build_model


@pytest.fixture(scope="session")
def cfg() -> CfgNode:
    return load_config(DEMO_CONFIG_FILE)


@pytest.fixture(scope="session")
def loaded_model(cfg: CfgNode) -> nn.Module:
    model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


@pytest.fixture
def model(loaded_model: nn.Module) -> Iterator[nn.Module]:
    """The demo model in evaluation mode."""
    yield loaded_model.eval()
