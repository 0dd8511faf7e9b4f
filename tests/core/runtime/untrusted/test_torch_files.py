"""Files of torch.save, old and new, and what is refused before torch sees it."""

import argparse
import copy
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from d2seg.core.runtime.untrusted.parts import OversizedError, RefusedError
from d2seg.core.runtime.untrusted.torch_files import load_torch

BOTH = pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])


def save(path: Path, value: Any, new: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return path


def rewrite(
    path: Path, change: Callable[[str, bytes], bytes], kind: int = zipfile.ZIP_STORED
) -> Path:
    """Change the parts of an archive; the checksums are right afterwards."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in parts.items():
            archive.writestr(name, change(name, data))
    return path


def pickle_of(change: Callable[[bytes], bytes]) -> Callable[[str, bytes], bytes]:
    return lambda name, data: change(data) if name.endswith("/data.pkl") else data


@BOTH
def test_what_a_training_keeps(tmp_path: Path, new: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(2, 3, 8, 9)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])  # has a Counter
    value = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
        "iteration": 3,
        "best": np.float64(0.5),
        "rows": np.arange(6.0).reshape(2, 3),
        "args": argparse.Namespace(lr=0.1, sizes=[1, 2]),
        "others": (torch.Size([1, 2]), torch.float16, torch.device("cpu"), {1}, b"\xff"),
        "weight": nn.Parameter(torch.ones(2)),
    }
    loaded = load_torch(save(tmp_path / "a.pth", value, new))
    assert loaded["best"] == 0.5
    assert loaded["rows"].tolist() == value["rows"].tolist()
    for key in ("iteration", "scheduler", "args", "others"):
        assert loaded[key] == value[key]
    assert list(loaded["model"]._metadata) == ["", "0", "1"]
    torch.testing.assert_close(loaded["optimizer"], value["optimizer"], rtol=0, atol=0)
    assert isinstance(loaded["weight"], nn.Parameter)


@BOTH
def test_tensors_of_every_type_and_layout(tmp_path: Path, new: bool) -> None:
    whole = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "view": whole[:, 1:, ::2],
        "turned": whole.transpose(0, 2),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "bool": torch.tensor([True]),
        **{str(t): torch.ones(3, dtype=t) for t in (torch.bfloat16, torch.complex64, torch.int16)},
    }
    loaded = load_torch(save(tmp_path / "a.pth", tensors, new), mapped=True)
    torch.testing.assert_close(loaded, tensors, rtol=0, atol=0)


def test_a_tensor_larger_than_its_storage(tmp_path: Path) -> None:
    """torch.load would enlarge the storage to four terabytes."""
    path = save(tmp_path / "a.pth", {"a": torch.ones(2, 3)})
    large = b"\x8a\x06" + b"\0" * 5 + b"\x01K\x03\x86"
    path = rewrite(path, pickle_of(lambda data: data.replace(b"K\x02K\x03\x86", large, 1)))
    with pytest.raises(
        OversizedError, match="tensor of 3,298,534,883,328 numbers in a storage of 6"
    ):
        load_torch(path)


def test_a_storage_larger_than_its_record(tmp_path: Path) -> None:
    """torch.load would read behind the end of the record."""
    path = save(tmp_path / "a.pth", {"a": torch.ones(2, 3)})
    path = rewrite(path, pickle_of(lambda data: data.replace(b"K\x06t", b"M\x00\x10t")))
    with pytest.raises(
        OversizedError, match="promises 16,384 bytes of the storage '0' and holds 24"
    ):
        load_torch(path)


def test_a_zip_bomb(tmp_path: Path) -> None:
    path = rewrite(
        save(tmp_path / "a.pth", torch.zeros(10**6)), lambda _, data: data, zipfile.ZIP_DEFLATED
    )
    assert path.stat().st_size < 10**5
    with pytest.raises(
        OversizedError, match="has a compressed part, 'data.pkl', which torch never"
    ):
        load_torch(path)


def test_parts_that_lie_in_one_another(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", torch.zeros(10**5))
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(1, 10):
            again = copy.copy(archive.getinfo("a/data/0"))
            again.filename = f"a/data/{number}"
            archive.filelist.append(again)
        archive.writestr("a/end", b"")
    with pytest.raises(OversizedError, match=r"promises 4,00\d,\d+ bytes in 40\d,\d+"):
        load_torch(path)


def test_two_parts_of_one_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", torch.zeros(3))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a/data.pkl", b"N.")
    with pytest.raises(pickle.UnpicklingError, match="two parts of the archive have one name"):
        load_torch(path)


def archive_of(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_part_that_differs_in_case(tmp_path: Path) -> None:
    """torch's reader takes 'DATA.PKL' for 'data.pkl'; it is the other one that was checked."""
    parts = parts_of(save(tmp_path / "a.pth", torch.zeros(3)))
    path = tmp_path / "b.pth"
    path.write_bytes(archive_of({"a/DATA.PKL": b"N.", **parts}))
    with pytest.raises(pickle.UnpicklingError, match="two parts of the archive have one name"):
        load_torch(path)


def directory_of(content: bytes) -> tuple[int, int, int]:
    count, size, start = struct.unpack("<HII", content[-12:-2])
    return count, size, start


def test_an_archive_with_two_directories(tmp_path: Path) -> None:
    """Python's reader takes the one before the end, torch's the one that the end points to."""
    checked = parts_of(save(tmp_path / "a.pth", torch.zeros(3)))
    read = {**checked, "a/data.pkl": pickle.dumps({"never": "checked"}, 2)}
    first, last = archive_of({"a/x": bytes(4000), **read}), archive_of({"a/y": b"", **checked})
    count, size, start = directory_of(first)
    _, _, last_start = directory_of(last)
    directory, place = b"", last_start
    for _ in range(count):  # Python's reader adds the distance of the two to every offset
        length = 46 + sum(struct.unpack_from("<HHH", last, place + 28))
        (offset,) = struct.unpack_from("<I", last, place + 42)
        entry = bytearray(last[place : place + length])
        struct.pack_into("<I", entry, 42, start - last_start + offset)
        directory, place = directory + entry, place + length
    content = first[: start + size] + last[:last_start] + directory
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, start, 0)
    path = tmp_path / "b.pth"
    path.write_bytes(content + end)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("a/data.pkl") == checked["a/data.pkl"]
    assert torch.load(path, weights_only=True) == {"never": "checked"}
    with pytest.raises(pickle.UnpicklingError, match="the archive has two directories"):
        load_torch(path)


def test_ends_of_archives_with_short_and_long_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(save(tmp_path / "a.pth", torch.arange(3)))
    short, long = tmp_path / "short.pth", tmp_path / "long.pth"
    short.write_bytes(archive_of(parts))
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    content = archive_of(parts)
    long.write_bytes(content)
    assert len(content) == short.stat().st_size + 76
    for path in (short, long):
        assert load_torch(path).tolist() == [0, 1, 2]
    elsewhere = struct.pack("<Q", 0)
    long.write_bytes(content[:-34] + elsewhere + content[-26:])
    with pytest.raises(pickle.UnpicklingError, match="the archive has two ends"):
        load_torch(long)


def test_an_archive_with_something_behind_its_end(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", torch.zeros(3))
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(pickle.UnpicklingError, match="the archive has no end"):
        load_torch(path)


def test_programs_are_no_checkpoints(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 3)), tmp_path / "a.pth")
    with pytest.raises(RefusedError, match="a TorchScript program"):
        load_torch(tmp_path / "a.pth")


def old_file(pickled: bytes, keys: list[str], numbers: bytes) -> bytes:
    head = [pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {})]
    return b"".join(head) + pickled + pickle.dumps(keys, 2) + numbers


def old_storage(count: int, view: bytes = b"N") -> bytes:
    return b"(Vstorage\nctorch\nFloatStorage\nVa\nVcpu\nI%d\n" % count + view + b"tQ0N."


@pytest.mark.parametrize(
    ("pickled", "keys", "numbers", "message"),
    [
        (old_storage(10**12), ["a"], struct.pack("<q", 10**12), "promises 4,000,000,000,000 bytes"),
        (old_storage(1), ["a"], struct.pack("<qf", 2, 1), "promises 4 bytes of the storage 'a'"),
        (old_storage(10**12), [], b"", "promises storages that it does not hold"),
        (
            old_storage(1, b"(Vv\nI0\nI9\nt"),
            ["a"],
            struct.pack("<qf", 1, 1),
            "a view beyond the end",
        ),
        (
            old_storage(1)[:-2] + old_storage(2),
            ["a"],
            struct.pack("<qf", 1, 1),
            "gives the storage 'a' two sizes",
        ),
    ],
)
def test_old_files_that_promise_more_than_they_hold(
    tmp_path: Path, pickled: bytes, keys: list[str], numbers: bytes, message: str
) -> None:
    (tmp_path / "a.pth").write_bytes(old_file(pickled, keys, numbers))
    with pytest.raises(OversizedError, match=message):
        load_torch(tmp_path / "a.pth")


def test_a_tar_archive_that_begins_like_an_old_file(tmp_path: Path) -> None:
    """Python's reader of tar archives, which torch.load tries first, believes what it says."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 10**12
    content = header.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(RefusedError, match="a tar archive"):
        load_torch(tmp_path / "a.pth")


@BOTH
def test_code_is_named(tmp_path: Path, new: bool) -> None:
    with pytest.raises(RefusedError, match="refers to 'torch.nn.modules.linear.Linear'"):
        load_torch(save(tmp_path / "a.pth", nn.Linear(2, 3), new))


@BOTH
def test_every_truncation_is_told(tmp_path: Path, new: bool) -> None:
    content = save(tmp_path / "a.pth", {"a": torch.ones(3)}, new).read_bytes()
    for length in range(0, len(content), 1 if not new else 37):
        (tmp_path / "b.pth").write_bytes(content[:length])
        with pytest.raises(pickle.UnpicklingError):
            load_torch(tmp_path / "b.pth")
