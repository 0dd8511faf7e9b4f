"""Settings of models that say in which of two ways something is computed."""

from typing import Any

import pytest
import torch

from d2seg.config import add_d2seg_config
from d2seg.core.layers import FrozenBatchNorm2d, norm_with_eps
from d2seg.core.modeling import build_model
from tests.core.modeling.thin import ARCHITECTURES, thin_config


def config(**changes: Any) -> Any:
    cfg = thin_config()
    add_d2seg_config(cfg)
    cfg.merge_from_list([x for key, value in changes.items() for x in (key, value)])
    return cfg


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("MODEL.RPN.RANK_BY", "score", r"RANK_BY is 'score', but must be 'logit' or 'probability'"),
        ("MODEL.ROI_KEYPOINT_HEAD.SCORE", "max", r"SCORE is 'max', but must be 'probability' or"),
        ("MODEL.RESNETS.NORM_EPS", -1.0, r"eps is added to a variance and must be 0 or more"),
    ],
)
def test_values_that_do_not_exist(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(config(**{key: value, "MODEL.KEYPOINT_ON": True}))


@pytest.mark.parametrize("family", ["fpn", "c4"])
def test_the_eps_reaches_every_norm_of_the_resnet(family: str) -> None:
    cfg = config(**ARCHITECTURES[family], **{"MODEL.RESNETS.NORM_EPS": 0.5})
    norms = [one for one in build_model(cfg).modules() if isinstance(one, FrozenBatchNorm2d)]
    assert norms and {one.eps for one in norms} == {0.5}


def test_a_layer_without_norm_stays_without() -> None:
    assert norm_with_eps("", 0.0) is None
    layer = norm_with_eps("BN", 0.0)
    assert layer is not None
    x = torch.tensor([[[[3.0]]]])
    assert layer(1).eval()(x).item() == 3.0  # a variance of one and nothing added to it
