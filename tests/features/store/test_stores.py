"""What holds for every format that gives back the tensors it was given."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from d2seg.features import FeatureStore, load, open_store
from d2seg.features.store import FORMATS

pytest.importorskip("zarr")

EXACT = ["safetensors", "zarr"]


@pytest.fixture(params=EXACT)
def format(request: pytest.FixtureRequest) -> str:
    return request.param


def rich() -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return {
        "backbone.p3": torch.randn(5, 6, 4, generator=made).transpose(1, 2),
        "res4": torch.randn(300, 80, 64, generator=made),  # more than one chunk of Zarr
        "roi_heads.box_head.fc1:input": torch.randn(0, 7, generator=made),
        "instances.boxes": torch.zeros(0, 4),
        "instances.classes": torch.zeros(0, dtype=torch.int64),
        "instances.masks": torch.tensor([[True, False]]),
        "temperature": torch.tensor(2.5),
        "zeros": torch.zeros(3, 3),
    }


def test_what_is_written_is_loaded(tmp_path: Path, format: str) -> None:
    tensors = rich()
    about = {"image": {"name": "cell.png"}, "tensors": {"res4": {"stride": 16, "shape": ["C"]}}}
    with open_store(tmp_path / "out", format) as store:
        store.write("cell", tensors, about)
        store.write("wide.2", {"a": torch.ones(1)}, {})
        assert store.complete() == {"cell", "wide.2"}
    loaded = load(tmp_path / "out")
    assert isinstance(loaded, Mapping)
    assert list(loaded) == ["cell", "wide.2"]
    assert len(loaded) == 2
    found, description = loaded["cell"]
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert description["image"] == {"name": "cell.png"}
    assert description["tensors"]["res4"] == {
        "stride": 16,
        "shape": [300, 80, 64],
        "dtype": "float32",
    }
    with pytest.raises(KeyError, match="gone"):
        loaded["gone"]


def test_an_image_is_replaced_by_a_later_one(tmp_path: Path, format: str) -> None:
    for value in (1, 2):
        with open_store(tmp_path, format) as store:
            store.write("a", {f"only.{value}": torch.full((2,), value)}, {})
    tensors, _ = load(tmp_path)["a"]
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"only.2": [2, 2]}
    assert not list(tmp_path.glob(".*"))


def test_tensors_may_share_memory(tmp_path: Path, format: str) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    with open_store(tmp_path, format) as store:
        store.write("a", {"x": shared, "same": shared, "row": shared[1]}, {})
    tensors, _ = load(tmp_path)["a"]
    assert torch.equal(tensors["same"], shared)
    assert torch.equal(tensors["row"], shared[1])


def test_half_precision_spares_pixels_and_scores(tmp_path: Path, format: str) -> None:
    tensors = {
        "res4": torch.tensor([0.1, 70000.0 / 2, float("inf"), float("nan")]),
        "class_probs": torch.tensor([[0.1]], dtype=torch.float64),
        "instances.boxes": torch.tensor([[4001.25, 0, 1, 1]]),
        "instances.scores": torch.tensor([0.99]),
        "instances.classes": torch.tensor([3]),
        "proposals.boxes": torch.tensor([[4001.25, 0, 1, 1]]),
        "keypoint_head": torch.tensor([[[4001.25, 0, 1]]]),
    }
    with open_store(tmp_path, format, half=True) as store:
        store.write("a", tensors, {})
    loaded, description = load(tmp_path)["a"]
    halved = {name for name, tensor in loaded.items() if tensor.dtype == torch.float16}
    assert halved == {"res4", "class_probs"}
    assert description["tensors"]["res4"]["dtype"] == "float16"
    assert description["tensors"]["instances.boxes"]["dtype"] == "float32"
    for name in halved:
        torch.testing.assert_close(loaded[name], tensors[name].half(), equal_nan=True)
    for name in tensors.keys() - halved:
        assert torch.equal(loaded[name], tensors[name])


def test_a_value_beyond_half_precision_is_named(tmp_path: Path, format: str) -> None:
    store = open_store(tmp_path, format, half=True)
    message = "Tensor 'res4' of image 'cell' reaches 70000, and float16 ends at 65504"
    with pytest.raises(ValueError, match=message):
        store.write("cell", {"res4": torch.tensor([1, -70000.0, float("inf")])}, {})
    assert store.complete() == set()


@pytest.mark.parametrize("name", ["", "a/b", "a\\b", ".hidden", "__a"])
def test_names_that_cannot_be_files_are_refused(tmp_path: Path, format: str, name: str) -> None:
    with pytest.raises(ValueError, match="name without slashes"):
        open_store(tmp_path, format).write(name, {}, {})


def test_a_description_of_strangers_is_refused(tmp_path: Path, format: str) -> None:
    with pytest.raises(ValueError, match="tensors that are not there: b"):
        open_store(tmp_path, format).write("a", {}, {"tensors": {"b": {}}})


def test_bfloat16_keeps_its_values(tmp_path: Path, format: str) -> None:
    values = torch.tensor([1.5, -3e38], dtype=torch.bfloat16)
    with open_store(tmp_path, format) as store:
        store.write("a", {"x": values}, {})
    tensors, description = load(tmp_path)["a"]
    assert torch.equal(tensors["x"].float(), values.float())
    assert f"torch.{description['tensors']['x']['dtype']}" == str(tensors["x"].dtype)


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Unknown format of features 'hdf5'; expected one of: saf"):
        open_store(tmp_path, "hdf5")


@pytest.mark.parametrize("format", FORMATS)
def test_the_summary_is_one_line_with_the_place(tmp_path: Path, format: str) -> None:
    store = open_store(tmp_path, format)
    assert isinstance(store, FeatureStore)
    assert str(tmp_path) in store.summary
    assert "\n" not in store.summary
