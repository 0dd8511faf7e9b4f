"""Stores whose description promises more than they hold, or asks for code."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from d2seg.features import load, open_store
from d2seg.features.store import parquet_part

pytest.importorskip("zarr")
pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

Example = Callable[..., tuple[dict[str, torch.Tensor], dict[str, Any]]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with open_store(tmp_path, "zarr") as opened:
        opened.write("a", {"x": torch.ones(3, 4)}, {})
    return tmp_path


def change(path: Path, **entries: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_zarr_arrays_that_promise_terabytes(store: Path) -> None:
    grid = {"name": "regular", "configuration": {"chunk_shape": [2**20, 2**20]}}
    about = store / "features.zarr" / "a" / "x" / "zarr.json"
    change(about, shape=[2**20, 2**20], chunk_grid=grid)
    with pytest.raises(ValueError, match=r"Image 'a' of .* unpacks \d+ bytes to 4,398,046,511,104"):
        load(store)["a"]


def test_zarr_arrays_of_other_codecs(store: Path) -> None:
    about = store / "features.zarr" / "a" / "x" / "zarr.json"
    plain = {"name": "bytes", "configuration": {"endian": "little"}}
    change(about, codecs=[plain, {"name": "gzip"}])
    with pytest.raises(ValueError, match="Image 'a' of .* is damaged .*gzip"):
        load(store)["a"]


class Touch:
    """Unpickling an instance makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_zarr_format_2_is_not_read(store: Path) -> None:
    """Its codecs include Python's pickle."""
    root, made = store / "features.zarr", store / "made"
    for folder in (root, root / "a"):
        attributes = json.loads((folder / "zarr.json").read_text())["attributes"]
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(attributes))
    (root / "zarr.json").unlink()
    array = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "<i8", "fill_value": None}
    array |= {"order": "C", "compressor": None, "filters": [{"id": "pickle", "protocol": 5}]}
    (root / "a" / "x" / ".zarray").write_text(json.dumps(array))
    (root / "a" / "x" / "0").write_bytes(pickle.dumps(Touch(made)))
    with pytest.raises(ValueError, match="is not a Zarr store of features"):
        load(store)["a"]
    assert not made.exists()


def test_parquet_rows_that_are_one_repeated(
    tmp_path: Path, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path, "parquet") as opened:
        opened.write("a", *example(1))
    (path,) = tmp_path.glob("*.parquet")
    table = parquet.read_table(path)
    many = table.take(pa.array(np.zeros(10**6, np.int64)))
    parquet.write_table(many.replace_schema_metadata(table.schema.metadata), path)
    monkeypatch.setattr(parquet_part, "MOST_TIMES_ITS_SIZE", 1)
    with pytest.raises(ValueError, match=r"parquet' unpacks [\d,]+ bytes to 1\d\d,\d+,\d+"):
        load(tmp_path)["a"]


def test_descriptions_that_are_no_json(tmp_path: Path, example: Example) -> None:
    with open_store(tmp_path, "parquet") as opened:
        opened.write("a", *example(1))
    (path,) = tmp_path.glob("*.parquet")
    table = parquet.read_table(path)
    parquet.write_table(table.replace_schema_metadata({b"d2seg.features": b"[" * 99999}), path)
    with pytest.raises(ValueError, match="The list of images in .* is damaged"):
        load(tmp_path)
    save_file(
        {"x": torch.ones(2)}, tmp_path / "a.safetensors", metadata={"description": "[" * 99999}
    )
    with pytest.raises(ValueError, match=r"The description in '.*a.safetensors' is not JSON"):
        load(tmp_path / "a.safetensors")
