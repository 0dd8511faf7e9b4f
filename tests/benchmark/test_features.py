from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.benchmark import (
    Rounds,
    benchmark_features,
    describe_work,
    features,
    load_model,
    prepare_batches,
)
from d2seg.config import load_config
from d2seg.framework import CfgNode
from d2seg.images import find_images

ONCE = Rounds(1, warmup=0)


@pytest.fixture(scope="module")
def cfg() -> CfgNode:
    cfg = load_config(DEMO_CONFIG_FILE)
    cfg.INPUT.MIN_SIZE_TEST = 64
    return cfg


@pytest.fixture(scope="module")
def model(cfg: CfgNode) -> nn.Module:
    return load_model(cfg)


def batches_of(cfg: CfgNode, number: int, batch_size: int) -> list[list[dict[str, Any]]]:
    return prepare_batches(find_images([DEMO_IMAGES])[:number], cfg, batch_size)


def test_images_come_in_batches(cfg: CfgNode, model: nn.Module) -> None:
    batches = batches_of(cfg, 3, 2)
    assert [len(batch) for batch in batches] == [2, 1]
    work = describe_work(model, batches)
    found = [item["instances"] for batch in batches for item in model.inference(batch)]
    assert work == {
        "images": 3,
        "batch_size": 2,
        "network_sizes_hw": [[64, 64]] * 3,
        "objects": sum(map(len, found)),
    }
    with pytest.raises(ValueError, match="batch size must be at least 1, got 0"):
        prepare_batches([], cfg, 0)


def test_the_whole_model_is_the_baseline(cfg: CfgNode, model: nn.Module) -> None:
    told: list[int] = []
    results = benchmark_features(
        model, batches_of(cfg, 1, 1), ["backbone.p3"], Rounds(2), told.append
    )
    assert [result.name for result in results] == ["whole model", "backbone.p3"]
    assert results[0].speedup == (1.0, 1.0, 1.0)
    assert all(len(result.seconds) == 2 for result in results)
    assert told == [1, 2]


def test_each_works_on_all_images_in_each_round(cfg: CfgNode, model: nn.Module) -> None:
    sizes = []
    batches = batches_of(cfg, 3, 2)
    hook = model.backbone.register_forward_hook(lambda _, args, out: sizes.append(len(args[0])))
    with hook:
        benchmark_features(model, batches, ["backbone", "mask_pooler"], Rounds(2, warmup=1))
    assert sizes == [2, 1] * 9  # 3 contestants in 3 rounds


def test_the_default_goes_from_the_first_level_to_everything(
    cfg: CfgNode, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[tuple[str, ...], int] = {}

    class Extractor:
        def __init__(self, model: nn.Module, stages: Sequence[str]) -> None:
            asked[tuple(stages)] = 0
            self.stages = tuple(stages)

        @property
        def extract(self) -> Callable[[object], None]:
            return lambda batch: asked.update({self.stages: asked[self.stages] + 1})

    monkeypatch.setattr(features, "FeatureExtractor", Extractor)
    results = benchmark_features(model, batches_of(cfg, 1, 1), rounds=ONCE)
    stages = ["backbone.p2", "backbone", "proposals", "instances", "box_head", "mask_pooler"]
    assert [result.name for result in results] == ["whole model", *stages, "everything"]
    *single, everything = asked
    assert single == [(stage,) for stage in stages]
    assert {*stages, "instances", "mask_head"} <= set(everything)
    assert set(asked.values()) == {1}


def test_a_model_without_masks_has_no_mask_stage(cfg: CfgNode) -> None:
    without_masks = cfg.clone()
    without_masks.MODEL.MASK_ON = False
    without_masks.MODEL.WEIGHTS = ""
    model = load_model(without_masks)
    assert features.default_stages(model) == [
        "backbone.p2",
        "backbone",
        "proposals",
        "instances",
        "box_head",
        "everything",
    ]
    assert not model.training
    weights = model.state_dict()
    again = load_model(without_masks).state_dict()
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_wrong_arguments_are_named(cfg: CfgNode, model: nn.Module) -> None:
    with pytest.raises(ValueError, match="no image to measure with"):
        benchmark_features(model, [])
    with pytest.raises(ValueError, match="Unknown stage 'mask_poler'"):
        benchmark_features(model, batches_of(cfg, 1, 1), ["mask_poler"])
