"""Models from a config that is omegaconf's."""

import pytest
import torch

from d2seg.core.modeling import build_model
from d2seg.core.runtime.events import EventStorage
from tests.core.modeling.thin import thin_config
from tests.reference.cases import ground_truth, picture

omegaconf = pytest.importorskip("omegaconf", reason="such configs are omegaconf's")


def test_a_model_is_the_same_from_either_kind_of_config() -> None:
    cfg = thin_config()
    models = [build_model(one) for one in (cfg, omegaconf.OmegaConf.create(cfg.dump()))]
    inputs = [{"image": picture(1, 70, 110), "instances": ground_truth(1, 70, 110, 3)}]
    models[1].load_state_dict(models[0].state_dict())
    losses = []
    for model in models:
        torch.manual_seed(0)
        with EventStorage():
            losses.append({name: loss.item() for name, loss in model.train()(inputs).items()})
    assert losses[0] == losses[1]
    assert set(losses[0]) >= {"loss_cls", "loss_mask", "loss_rpn_loc"}
