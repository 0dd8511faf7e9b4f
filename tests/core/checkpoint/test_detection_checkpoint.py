"""Loading into a model and saving from it."""

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from iopath.common.file_io import PathHandler
from iopath.common.file_io import PathManager as PathManagerBase
from torch import nn

from d2seg.core.checkpoint import DetectionCheckpointer, PeriodicCheckpointer


class Detector(nn.Module):
    """Names as those of a detector: a backbone of some layers, a head, and constant buffers."""

    def __init__(self, width: int = 2, layers: int = 12) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({f"conv{i}": nn.Linear(width, 3) for i in range(layers)})
        self.head = nn.Linear(3, width)
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1))
        self.register_buffer("pixel_std", torch.ones(3, 1, 1))


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def save(path: Path, data: Any) -> str:
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(data))
    else:
        torch.save(data, path)
    return str(path)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s, "iteration": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_load_raw_wrapped_and_prefixed(tmp_path: Path, wrap: Any, prefix: str) -> None:
    source, target = Detector(), Detector()
    state = {prefix + name: value for name, value in source.state_dict().items()}
    rest = DetectionCheckpointer(target).load(save(tmp_path / "a.pth", wrap(state)))
    assert equal(weights(source), weights(target))
    assert rest in ({}, {"iteration": 3})


def test_load_pkl_without_heuristics(tmp_path: Path) -> None:
    source, target = Detector(), Detector()
    state = {name: value.numpy() for name, value in source.state_dict().items()}
    data = {"model": state, "__author__": "someone"}
    rest = DetectionCheckpointer(target).load(save(tmp_path / "a.pkl", data))
    assert equal(weights(source), weights(target))
    assert rest == {"__author__": "someone"}


@pytest.mark.parametrize("kind", ["query", "entry"])
def test_load_a_backbone_by_suffix(tmp_path: Path, kind: str) -> None:
    source, target = Detector(), Detector()
    head = target.head.weight.clone()
    data: dict[str, Any] = {"model": source.backbone.state_dict()}
    if kind == "entry":
        data["matching_heuristics"] = True
    path = save(tmp_path / "a.pth", data)
    query = "?matching_heuristics=True" if kind == "query" else ""
    DetectionCheckpointer(target).load(path + query)
    assert equal(weights(source.backbone), weights(target.backbone))
    assert torch.equal(target.head.weight, head)


def test_load_caffe2_blobs(tmp_path: Path) -> None:
    target = Detector(layers=2)
    blobs = {"conv1_w": np.full((3, 2), 5, np.float32), "conv1_w_momentum": np.zeros(1)}
    model = nn.ModuleDict({"stem": nn.ModuleDict({"conv1": nn.Linear(2, 3)}), "rest": target})
    DetectionCheckpointer(model).load(save(tmp_path / "a.pkl", {"blobs": blobs}))
    assert model.state_dict()["stem.conv1.weight"].tolist() == [[5.0, 5.0]] * 3


def test_constants_are_not_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = weights(Detector())
    del state["pixel_mean"], state["pixel_std"]
    state["proposal_generator.anchor_generator.cell_anchors.0"] = torch.zeros(3, 4)
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(Detector()).load(save(tmp_path / "a.pth", state))
    assert not caplog.records


def test_missing_and_unexpected_keys_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = weights(Detector())
    del state["head.weight"], state["head.bias"]
    state["extra.weight"] = torch.zeros(1)
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(Detector()).load(save(tmp_path / "a.pth", state))
    assert "lacks 2 keys of the model, has 1 others; 0 differ in shape" in caplog.text
    assert "head.{bias, weight}" in caplog.text
    assert "extra.weight" in caplog.text


def test_another_shape_is_skipped_with_both_shapes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = Detector(), Detector()
    state = {**weights(source), "head.weight": torch.zeros(7, 3)}
    head = target.head.weight.clone()
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(target).load(save(tmp_path / "a.pth", state))
    assert torch.equal(target.head.weight, head)
    assert torch.equal(target.head.bias, source.head.bias)
    assert "(7, 3) in the checkpoint but (2, 3) in the model" in caplog.text


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {f"layer{i}.weight": torch.zeros(1) for i in range(30)},
            r"another model: 0 of its 30 keys fit the model's 28 by name and shape\. 28 missing: .*"
            r"30 unexpected: layer0\.weight, .* Check that --config-file is",
        ),
        (
            {k: v for k, v in weights(Detector(width=5)).items() if "weight" in k},
            r"another model: 0 of its 13 keys .*"
            r" 13 of another shape: backbone\.conv0\.weight \(3x5, the model has 3x2\)",
        ),
        ({}, "another model: 0 of its 0 keys fit"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, state: Any, message: str) -> None:
    target = Detector()
    before = weights(target)
    with pytest.raises(ValueError, match=message):
        DetectionCheckpointer(target).load(save(tmp_path / "a.pth", {"model": state}))
    assert equal(weights(target), before)


def test_part_of_a_model_and_a_deeper_model_are_accepted(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", weights(Detector(layers=1)))
    DetectionCheckpointer(Detector(layers=50)).load(path)
    DetectionCheckpointer(Detector(layers=1)).load(save(tmp_path / "b.pth", weights(Detector())))


def test_nothing_to_load() -> None:
    assert DetectionCheckpointer(Detector()).load("") == {}
    assert DetectionCheckpointer(Detector()).load(None) == {}


def test_save_load_and_resume(tmp_path: Path) -> None:
    source = Detector()
    optimizer = torch.optim.SGD(source.parameters(), lr=0.5)
    saver = DetectionCheckpointer(source, tmp_path / "run", optimizer=optimizer)
    assert not saver.has_checkpoint()
    saver.save("model_7", iteration=7)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "last_checkpoint",
        "model_7.pth",
    ]
    assert saver.get_checkpoint_file() == str(tmp_path / "run" / "model_7.pth")

    target = Detector()
    fresh = torch.optim.SGD(target.parameters(), lr=0.1)
    loader = DetectionCheckpointer(target, str(tmp_path / "run"), optimizer=fresh)
    assert loader.resume_or_load("unused.pth", resume=True) == {"iteration": 7}
    assert equal(weights(source), weights(target))
    assert fresh.param_groups[0]["lr"] == 0.5


def test_without_resume_only_the_model_is_loaded(tmp_path: Path) -> None:
    source = Detector()
    saver = DetectionCheckpointer(source, tmp_path, other=nn.Linear(1, 1))
    saver.save("a")
    other = nn.Linear(1, 1)
    before = weights(other)
    loader = DetectionCheckpointer(Detector(), tmp_path, other=other)
    rest = loader.resume_or_load(str(tmp_path / "a.pth"), resume=False)
    assert list(rest) == ["other"]
    assert equal(weights(other), before)


def test_a_failed_save_leaves_the_earlier_file(tmp_path: Path) -> None:
    model = Detector()
    saver = DetectionCheckpointer(model, tmp_path)
    saver.save("a", iteration=1)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        saver.save("a", iteration=lambda: None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth", "last_checkpoint"]
    assert DetectionCheckpointer(Detector()).load(tmp_path / "a.pth") == {"iteration": 1}


def test_saving_nowhere_and_to_a_path(tmp_path: Path) -> None:
    DetectionCheckpointer(Detector()).save("a")
    DetectionCheckpointer(Detector(), tmp_path, save_to_disk=False).save("a")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="plain file name, found '../a'"):
        DetectionCheckpointer(Detector(), tmp_path).save("../a")


def test_periodic_checkpointer_keeps_the_last(tmp_path: Path) -> None:
    periodic = PeriodicCheckpointer(
        DetectionCheckpointer(Detector(), tmp_path), 1, max_iter=3, max_to_keep=1
    )
    for iteration in range(3):
        periodic.step(iteration)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("last_checkpoint", "model_0000002.pth", "model_final.pth")
    ]


def test_files_are_found_by_the_path_manager_it_is_given(tmp_path: Path) -> None:
    class Shelf(PathHandler):
        def _get_supported_prefixes(self) -> list[str]:
            return ["shelf://"]

        def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
            return str(tmp_path / path.removeprefix("shelf://"))

    model, trained = Detector(), Detector()
    save(tmp_path / "weights.pth", {"model": trained.state_dict()})
    checkpointer = DetectionCheckpointer(model)
    checkpointer.path_manager = PathManagerBase()
    checkpointer.path_manager.register_handler(Shelf())
    checkpointer.load("shelf://weights.pth?matching_heuristics=True")
    assert equal(weights(model), weights(trained))
