from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from d2seg.features import load, open_store
from d2seg.features.store import parquet_store

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

Example = Callable[..., tuple[dict[str, torch.Tensor], dict[str, Any]]]


def write(folder: Path, example: Example, **objects: int) -> None:
    with open_store(folder, "parquet") as store:
        for seed, (name, number) in enumerate(objects.items()):
            store.write(name, *example(number, seed))


def test_a_row_per_object_in_pixels_of_the_original_image(tmp_path: Path, example: Example) -> None:
    tensors, description = example(3)
    tensors["instances.boxes"][1] = torch.tensor([1.0, 2, 30, 40])
    with open_store(tmp_path, "parquet") as store:
        store.write("cell", tensors, description)
    table = parquet.read_table(tmp_path)
    assert table.column_names == [
        *("image", "object", "x1", "y1", "x2", "y2", "class", "class_name", "score"),
        *("annotation_id", "annotation_class", "box_pooler", "box_head"),
    ]
    row = table.to_pylist()[1]
    assert [row[name] for name in ("x1", "y1", "x2", "y2")] == [2, 4, 60, 80]
    assert (row["image"], row["object"], row["class"], row["class_name"]) == (
        "cell",
        1,
        1,
        "nucleus",
    )
    assert row["score"] == pytest.approx(float(tensors["instances.scores"][1]))
    assert row["box_head"] == tensors["box_head"][1].tolist()
    assert row["box_pooler"] == pytest.approx(tensors["box_pooler"][1].mean(dim=(1, 2)).tolist())
    field = table.schema.field("box_pooler")
    assert field.type == pa.list_(pa.float32(), 8)
    assert field.metadata == {b"meaning": b"the box_pooler; averaged over its 7 x 7 cells"}


def test_width_and_height_have_their_own_scale(tmp_path: Path, example: Example) -> None:
    tensors, description = example(1)
    description["image"] = {"original_size_hw": [300, 100], "network_size_hw": [100, 200]}
    tensors["instances.boxes"] = torch.tensor([[10.0, 10, 20, 30]])
    with open_store(tmp_path, "parquet") as store:
        store.write("cell", tensors, description)
    row = parquet.read_table(tmp_path).to_pylist()[0]
    assert [row[name] for name in ("x1", "y1", "x2", "y2")] == [5, 30, 10, 90]
    assert load(tmp_path)["cell"][0]["instances.boxes"].tolist() == [[10, 10, 20, 30]]


def test_images_are_loaded_one_by_one(
    tmp_path: Path, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_store, "IMAGES_PER_PART", 2)
    write(tmp_path, example, b=3, a=0, c=2, d=1, e=4)
    assert len(list(tmp_path.glob("objects-*.parquet"))) == 3
    loaded = load(tmp_path)
    assert isinstance(loaded, Mapping)
    assert list(loaded) == ["b", "a", "c", "d", "e"]
    for seed, (name, number) in enumerate({"b": 3, "a": 0, "c": 2, "d": 1, "e": 4}.items()):
        tensors, description = loaded[name]
        expected, about = example(number, seed)
        expected["box_pooler"] = expected["box_pooler"].mean(dim=(2, 3))
        assert tensors.keys() == expected.keys()
        for key, tensor in expected.items():
            torch.testing.assert_close(tensors[key], tensor)
        assert description["image"] == about["image"]
        assert description["class_names"] == about["class_names"]
        assert description["tensors"]["box_pooler"] == {
            "rows": "objects",
            "meaning": "the box_pooler; averaged over its 7 x 7 cells",
            "shape": [number, 8],
            "dtype": "float32",
        }
    assert list(load(tmp_path / "objects-00001.parquet")) == ["c", "d"]
    with pytest.raises(KeyError, match="gone"):
        loaded["gone"]


def test_a_later_run_adds_and_replaces_images(tmp_path: Path, example: Example) -> None:
    write(tmp_path, example, a=3, b=0, c=2)
    write(tmp_path, example, b=5, d=1)
    rows = parquet.read_table(tmp_path).column("image").to_pylist()
    assert {name: rows.count(name) for name in rows} == {"a": 3, "b": 5, "c": 2, "d": 1}
    torch.testing.assert_close(load(tmp_path)["c"][0]["box_head"], example(2, 2)[0]["box_head"])
    write(tmp_path, example, a=1, c=1)  # nothing is left of the first part
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "objects-00001.parquet",
        "objects-00002.parquet",
    ]
    assert open_store(tmp_path, "parquet").complete() == {"a", "b", "c", "d"}


def test_images_count_as_complete_when_their_part_is_written(
    tmp_path: Path, example: Example
) -> None:
    store = open_store(tmp_path, "parquet")
    store.write("a", *example(0))
    assert store.complete() == set()
    store.flush()
    assert store.complete() == {"a"}
    store.write("a", *example(1))
    store.write("a", *example(2))
    store.close()
    assert parquet.read_table(tmp_path).column("object").to_pylist() == [0, 1]


def test_user_boxes_without_scores_and_classes(tmp_path: Path, example: Example) -> None:
    tensors, description = example(2)
    for name in ("instances.scores", "instances.classes"):
        del tensors[name], description["tensors"][name]
    with open_store(tmp_path, "parquet") as store:
        store.write("a", tensors, description)
    row = parquet.read_table(tmp_path).to_pylist()[0]
    assert (row["class"], row["class_name"], row["score"]) == (None, None, None)
    assert load(tmp_path)["a"][0].keys() == {"instances.boxes", "box_pooler", "box_head"}


def test_half_precision_is_of_vectors_alone(tmp_path: Path, example: Example) -> None:
    tensors, description = example(2)
    with open_store(tmp_path, "parquet", half=True) as store:
        store.write("a", tensors, description)
        tensors["box_head"][0, 0] = 1e5
        with pytest.raises(ValueError, match="Tensor 'box_head' of image 'b' reaches 100000"):
            store.write("b", tensors, description)
    schema = parquet.read_schema(tmp_path / "objects-00000.parquet")
    assert schema.field("box_head").type == pa.list_(pa.float16(), 16)
    assert schema.field("x1").type == schema.field("score").type == pa.float32()
    loaded = load(tmp_path)["a"][0]["box_pooler"]
    assert torch.equal(loaded, tensors["box_pooler"].mean(dim=(2, 3)).half())


@pytest.mark.parametrize(
    ("name", "about", "problem"),
    [
        ("backbone.p3", {"stride": 8}, "'backbone.p3' has no such rows"),
        ("proposals.boxes", {"rows": "proposals"}, "'proposals.boxes' has no such rows"),
        ("kept", {"rows": "objects", "dtype": "int64"}, "'kept' is not of floating point"),
    ],
)
def test_tensors_without_rows_of_objects_are_refused(
    tmp_path: Path, example: Example, name: str, about: dict[str, str], problem: str
) -> None:
    tensors, description = example(2)
    tensors[name] = torch.zeros(2, 3, dtype=getattr(torch, about.get("dtype", "float32")))
    description["tensors"][name] = about
    store = open_store(tmp_path, "parquet")
    message = f"{problem}; leave it out, or use the format safetensors or zarr"
    with pytest.raises(ValueError, match=message):
        store.check(description["tensors"])
    with pytest.raises(ValueError, match=message):
        store.write("a", tensors, description)


def test_what_the_rows_need_is_named(tmp_path: Path, example: Example) -> None:
    store = open_store(tmp_path, "parquet")
    tensors, description = example(2)
    with pytest.raises(ValueError, match=r"'box_head' of image 'a' has the shape \(1, 16\), expec"):
        store.write("a", {**tensors, "box_head": torch.zeros(1, 16)}, description)
    with pytest.raises(ValueError, match="network_size_hw; got: name"):
        store.write("a", tensors, {**description, "image": {"name": "a.png"}})
    with pytest.raises(ValueError, match="needs 'instances.boxes' .* got: box_head"):
        store.check({"box_head": {"rows": "objects"}})


def test_other_stages_need_another_folder(tmp_path: Path, example: Example) -> None:
    write(tmp_path, example, a=1)
    tensors, description = example(1)
    del tensors["box_pooler"], description["tensors"]["box_pooler"]
    message = r"have the stages box_pooler \(8 float\), box_head \(16 float\), these features box_h"
    with pytest.raises(ValueError, match=message):
        open_store(tmp_path, "parquet").write("b", tensors, description)


def test_further_tensors_of_instances_are_left_out(tmp_path: Path, example: Example) -> None:
    tensors, description = example(2)
    tensors["instances.masks"] = torch.zeros(2, 9, 9, dtype=torch.bool)
    with open_store(tmp_path, "parquet") as store:
        store.write("a", tensors, description)
    assert "instances.masks" not in load(tmp_path)["a"][1]["tensors"]


def test_stages_with_several_axes_are_flattened(tmp_path: Path, example: Example) -> None:
    tensors, description = example(2)
    for name, shape in {"keypoint_head": (2, 5, 3), "objectness": (2,)}.items():
        tensors[name] = torch.randn(shape)
        description["tensors"][name] = {"rows": "objects"}
    with open_store(tmp_path, "parquet") as store:
        store.write("a", tensors, description)
    loaded = load(tmp_path)["a"][0]
    assert torch.equal(loaded["keypoint_head"], tensors["keypoint_head"].reshape(2, 15))
    assert torch.equal(loaded["objectness"], tensors["objectness"][:, None])
