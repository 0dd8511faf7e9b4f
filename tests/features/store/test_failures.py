"""What cannot be written, what cannot be read, and packages that are not there."""

import errno
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from d2seg.features import load, open_store
from d2seg.features.store import FORMATS

zarr = pytest.importorskip("zarr")
pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

Example = Callable[..., tuple[dict[str, torch.Tensor], dict[str, Any]]]


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def filled(tmp_path: Path, format: str, example: Example) -> Path:
    with open_store(tmp_path / "out", format) as store:
        store.write("a", *example(40))
        store.write("b", *example(3))
    return tmp_path / "out"


@contextmanager
def files_up_to(number_bytes: int) -> Iterator[None]:
    """Let the system refuse to write larger files, in the middle of the write."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (number_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_failing_write_leaves_what_was_there(filled: Path, format: str, example: Example) -> None:
    before = contents(filled)
    store = open_store(filled, format)
    with files_up_to(2000), pytest.raises(OSError, match="File too large") as raised:
        for name in ("a", "new"):
            store.write(name, *example(40, seed=1))
        store.flush()
    assert raised.value.errno in (errno.EFBIG, None)
    assert contents(filled) == before
    assert store.complete() == {"a", "b"}
    store.write("new", *example(40, seed=1))  # there is room again
    store.close()
    assert store.complete() == {"a", "b", "new"}


def test_a_failing_rename_leaves_what_was_there(
    filled: Path, format: str, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def refuse(path: Path, target: Path) -> None:
        if target.parent in (filled, filled / "features.zarr"):
            raise PermissionError("not today")
        replace(path, target)  # Zarr's own, inside

    before = contents(filled)
    store = open_store(filled, format)
    with monkeypatch.context() as patched, pytest.raises(PermissionError, match="not today"):
        patched.setattr(Path, "replace", refuse)
        store.write("a", *example(40, seed=1))
        store.flush()
    assert contents(filled) == before


def test_what_was_written_before_an_error_is_kept(
    tmp_path: Path, format: str, example: Example
) -> None:
    with pytest.raises(RuntimeError, match="stop"), open_store(tmp_path, format) as store:
        store.write("a", *example(2))
        raise RuntimeError("stop")
    assert open_store(tmp_path, format).complete() == {"a"}


def test_a_missing_package_is_named(
    tmp_path: Path, format: str, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if format == "safetensors":
        pytest.skip("It is always installed.")
    package = {"zarr": "zarr", "parquet": "pyarrow"}[format]
    monkeypatch.setitem(sys.modules, package, None)
    message = rf'need the package {package}: pip install "d2seg\[features\]"'
    with pytest.raises(ModuleNotFoundError, match=message):
        open_store(tmp_path / "new", format)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ModuleNotFoundError, match=message):
        load(filled)


def test_an_old_zarr_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr, "__version__", "2.18.3")
    with pytest.raises(ModuleNotFoundError, match=r"from version 3 on, found 2\.18\.3"):
        open_store(tmp_path, "zarr")


def test_places_without_features_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No features at '.*gone'"):
        load(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ValueError, match="holds no features; expected a .safetensors or"):
            load(path)


def test_a_folder_with_two_formats_is_named(tmp_path: Path, example: Example) -> None:
    for format in ("parquet", "zarr"):
        with open_store(tmp_path / format, format) as store:
            store.write("a", *example(1))
    with pytest.raises(ValueError, match="holds features as zarr; write parquet to a folder of"):
        open_store(tmp_path / "zarr", "parquet")
    for path in (*(tmp_path / "parquet").iterdir(), *(tmp_path / "zarr").iterdir()):
        path.rename(tmp_path / path.name)
    with pytest.raises(ValueError, match="holds features as zarr and parquet; keep each format"):
        load(tmp_path)
    assert list(load(tmp_path / "features.zarr")) == ["a"]
    assert list(load(tmp_path / "objects-00000.parquet")) == ["a"]


def test_safetensors_of_somebody_else_are_no_features(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="None of the .safetensors files in '.*' is whole and"):
        load(tmp_path)


@pytest.mark.parametrize("format", ["safetensors"], indirect=True)
def test_only_files_that_are_whole_are_complete(filled: Path, format: str) -> None:
    shutil.copy(filled / "a.safetensors", filled / "alone.safetensors")
    shutil.copy(filled / "a.safetensors", filled / "mixed.safetensors")
    (filled / "mixed.json").write_text("{}")
    tensor_file = filled / "b.safetensors"
    tensor_file.write_bytes(tensor_file.read_bytes()[:-1])
    assert open_store(filled, format).complete() == {"a"}
    assert list(load(filled)) == ["a"]


@pytest.mark.parametrize("format", ["zarr"], indirect=True)
def test_damaged_groups_are_named(filled: Path, format: str) -> None:
    store = filled / "features.zarr"
    loaded = load(filled)
    chunk = store / "a" / "box_head" / "c" / "0" / "0"
    whole = chunk.read_bytes()
    for damage in (chunk.unlink, lambda: chunk.write_bytes(whole[:-9])):
        damage()
        with pytest.raises(ValueError, match="Image 'a' of '.*features.zarr' is damaged"):
            loaded["a"]
    (store / "b" / "box_head" / "zarr.json").unlink()
    assert open_store(filled, format).complete() == {"a"}
    assert list(load(filled)) == ["a"]


def test_a_zarr_store_of_somebody_else_is_named(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "features.zarr")
    message = "features.zarr' is not a Zarr store of features, or is damaged"
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
    with pytest.raises(ValueError, match=message):
        open_store(tmp_path, "zarr")


@pytest.mark.parametrize("format", ["parquet"], indirect=True)
def test_damaged_parts_are_named(filled: Path, format: str) -> None:
    part = filled / "objects-00000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    message = "objects-00000.parquet' is not a Parquet file, or is damaged"
    with pytest.raises(ValueError, match=message):
        load(filled)
    with pytest.raises(ValueError, match=message):
        open_store(filled, format)


def test_a_table_of_somebody_else_is_named(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "objects-1.parquet")
    for path in (tmp_path, tmp_path / "objects-1.parquet"):
        with pytest.raises(ValueError, match="Parquet file without a list of images"):
            load(path)
