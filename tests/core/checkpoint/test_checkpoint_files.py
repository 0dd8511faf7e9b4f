"""Reading checkpoint files of each kind, and the refusal of everything that is none."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from d2seg.core.checkpoint.files import find_checkpoint, read_checkpoint


class Touch:
    """Unpickling an instance makes a file, unless the reader refuses."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def dump(path: Path, data: Any, protocol: int = 2) -> str:
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    return str(path)


def test_pth_raw_and_with_more_entries(tmp_path: Path) -> None:
    state = nn.Linear(2, 3).state_dict()
    torch.save(state, tmp_path / "raw.pth")
    assert list(read_checkpoint(str(tmp_path / "raw.pth"))["model"]) == ["weight", "bias"]
    torch.save({"model": state, "iteration": 7}, tmp_path / "full.pth")
    checkpoint = read_checkpoint(str(tmp_path / "full.pth"))
    assert checkpoint.pop("iteration") == 7
    assert torch.equal(checkpoint["model"]["weight"], state["weight"])


@pytest.mark.parametrize("protocol", range(6))
def test_pkl_of_the_model_zoo(tmp_path: Path, protocol: int) -> None:
    data = {"model": {"a": np.arange(3.0)}, "__author__": "someone", "matching_heuristics": True}
    checkpoint = read_checkpoint(dump(tmp_path / "a.pkl", data, protocol))
    assert checkpoint["model"]["a"].tolist() == [0, 1, 2]
    assert (checkpoint["__author__"], checkpoint["matching_heuristics"]) == ("someone", True)


@pytest.mark.parametrize(
    "wrap", [lambda blobs: {"blobs": blobs, "cfg": "text"}, lambda blobs: blobs]
)
def test_pkl_of_caffe2(tmp_path: Path, wrap: Any) -> None:
    blobs = {"conv1_w": np.zeros(2, np.float32), "conv1_w_momentum": np.ones(2, np.float32)}
    checkpoint = read_checkpoint(dump(tmp_path / "a.pkl", wrap(blobs)))
    assert list(checkpoint["model"]) == ["conv1_w"]
    assert (checkpoint["__author__"], checkpoint["matching_heuristics"]) == ("Caffe2", True)


def test_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert read_checkpoint(str(tmp_path / "a.safetensors"))["model"]["a"].tolist() == [1, 1]


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_code_is_refused_by_name_and_not_run(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / "made"
    path = tmp_path / f"evil{suffix}"
    data = {"model": {"a": Touch(target)}, "__author__": "evil"}
    if suffix == ".pth":
        torch.save(data, path)
    else:
        dump(path, data)
    with pytest.raises(
        ValueError, match=rf"evil{suffix}' cannot be read: it refers to '\w+\.mkdir'"
    ):
        read_checkpoint(str(path))
    assert not target.exists()


def test_a_whole_model_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"refers to 'torch.nn.modules.linear.Linear'"):
        read_checkpoint(str(tmp_path / "a.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
@pytest.mark.parametrize("content", ["half", "empty", "text", "page"])
def test_truncated_and_other_files(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"a{suffix}"
    state = {"weight": torch.ones(1000)}
    if suffix == ".pth":
        torch.save({"model": state}, path)
    elif suffix == ".pkl":
        dump(path, {"model": {"weight": np.ones(1000)}, "__author__": "x"})
    else:
        save_file(state, path)
    whole = path.read_bytes()
    contents = {
        "half": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"hello",
        "page": b"<html>" * 99,
    }
    path.write_bytes(contents[content])
    with pytest.raises(
        ValueError, match=rf"a{suffix}' cannot be read: it is truncated, or of another"
    ):
        read_checkpoint(str(path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.ones(2), "must hold a state dict, found Tensor"),
        ({"model": torch.ones(2)}, "holds no dict of names to tensors under 'model'"),
        ({"epoch": 3, "a": torch.ones(1)}, "1 of its 2 entries are not tensors, such as 'epoch'"),
    ],
)
def test_pth_of_something_else(tmp_path: Path, data: Any, message: str) -> None:
    torch.save(data, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        read_checkpoint(str(tmp_path / "a.pth"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "must hold a dict, found list"),
        ({"blobs": 3}, "must hold a dict"),
        ({"a": np.array(["x"])}, "1 of its 1 entries are not tensors"),
        ({3: np.ones(2)}, "1 of its 1 entries are not tensors, such as 3"),
    ],
)
def test_pkl_of_something_else(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_checkpoint(dump(tmp_path / "a.pkl", data))


def test_one_storage_under_many_names(tmp_path: Path) -> None:
    """Copies of the views would take two gigabytes."""
    shared = torch.ones(10**6)
    torch.save({f"a{number}": shared.view(-1) for number in range(500)}, tmp_path / "a.pth")
    with pytest.raises(
        ValueError, match=r"a.pth' cannot be read: it unpacks 4,\d+,\d+ bytes to 2,"
    ):
        read_checkpoint(str(tmp_path / "a.pth"))
    torch.save({f"a{number}": shared.view(-1) for number in range(12)}, tmp_path / "a.pth")
    assert len(read_checkpoint(str(tmp_path / "a.pth"))["model"]) == 12


def test_missing_files_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"nope.pth' does not exist"):
        find_checkpoint(str(tmp_path / "nope.pth"))
    with pytest.raises(FileNotFoundError, match="is a folder; name the file in it"):
        find_checkpoint(str(tmp_path))
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    for address in ("detectron2://a/b.pkl", "https://dl.fbaipublicfiles.com/detectron2/a/b.pkl"):
        with pytest.raises(
            FileNotFoundError, match=rf"'{address}' cannot be fetched: .*the network"
        ):
            find_checkpoint(address)
