import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from d2seg.features import load, save_features


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "cell.safetensors"
    maps = torch.randn(2, 3, 4, 5, requires_grad=True)
    tensors = {"backbone.p2": maps[1].transpose(1, 2), "instances.boxes": torch.zeros(0, 4)}
    more = {"backbone.p2": {"meaning": "a map", "stride": 4}}
    written = save_features(path, tensors, {"image": {"name": "cell.png"}, "tensors": more})
    loaded, description = load(path)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert description == written
    assert description == json.loads(path.with_suffix(".json").read_text())
    assert description["image"] == {"name": "cell.png"}
    assert description["tensors"] == {
        "backbone.p2": {"shape": [3, 5, 4], "dtype": "float32", "meaning": "a map", "stride": 4},
        "instances.boxes": {"shape": [0, 4], "dtype": "float32"},
    }


def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "cell.safetensors"
    save_features(path, {"a": torch.ones(1)}, {})
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_features(path, {"a": torch.zeros(1)}, {"image": object()})
    assert load(path)[0]["a"].item() == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cell.json", "cell.safetensors"]


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.safetensors, got '.*cell\.pt'"):
        save_features(tmp_path / "cell.pt", {}, {})
    with pytest.raises(ValueError, match="tensors that are not there: b"):
        save_features(tmp_path / "cell.safetensors", {}, {"tensors": {"b": {}}})
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_feature_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No feature file at '.*gone"):
        load(tmp_path / "gone.safetensors")
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    with pytest.raises(ValueError, match="text.safetensors' is not a safetensors file"):
        load(text)
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.ones(1)}, plain)
    with pytest.raises(ValueError, match="without a description"):
        load(plain)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cell.safetensors"
    save_features(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="cell.safetensors' is not a safetensors file, or is"):
        load(path)
