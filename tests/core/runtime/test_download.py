import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d2seg.core.runtime import download as module
from d2seg.core.runtime.checksum import Checksum, hash_of
from d2seg.core.runtime.download import download
from tests.web import Web, serving

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        web.files["/a.pth"] = CONTENT
        yield web


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "a.pth"


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_appears_when_it_is_complete(web: Web, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []

    def look(done: int, total: int | None) -> None:
        seen.append((done, total))
        assert not target.exists()

    download(f"{web.address}/a.pth", target, Checksum("sha256", SHA256), look)
    assert target.read_bytes() == CONTENT
    assert names(target) == ["a.pth"]
    assert (seen[0], seen[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))


def test_a_broken_connection_goes_on_where_it_ended(web: Web, target: Path) -> None:
    web.breaks_after = [1000, 500, 0, 0, 2000]
    download(f"{web.address}/a.pth", target)
    assert target.read_bytes() == CONTENT
    starts = ["", *(f"bytes={start}-" for start in (1000, 1500, 1500, 1500, 3500))]
    assert web.ranges == starts


@pytest.mark.parametrize("length", ["many", "-5", "1e3", "٣"])
def test_a_length_that_is_no_number_is_told(web: Web, target: Path, length: str) -> None:
    web.length = length.encode().decode("latin-1")
    with pytest.raises(ConnectionError, match=r"a.pth cannot be downloaded: .* is no number of by"):
        download(f"{web.address}/a.pth", target)
    assert not target.exists()


def test_a_connection_that_breaks_too_often_leaves_a_part_for_the_next_time(
    web: Web, target: Path
) -> None:
    web.breaks_after = [1000, 0, 0, 0]
    with pytest.raises(ConnectionError, match="to its end .*the next attempt goes on from there"):
        download(f"{web.address}/a.pth", target)
    assert names(target) == ["a.pth.part", "a.pth.part.json"]
    progress: list[int] = []
    download(f"{web.address}/a.pth", target, None, lambda done, total: progress.append(done))
    assert target.read_bytes() == CONTENT
    assert names(target) == ["a.pth"]
    assert web.ranges[-1] == "bytes=1000-"
    assert progress[0] == 1000


@pytest.mark.parametrize("takes_ranges", [True, False])
def test_a_part_of_another_version_is_not_gone_on_with(
    web: Web, target: Path, takes_ranges: bool
) -> None:
    web.breaks_after = [1000, 0, 0, 0]
    with pytest.raises(ConnectionError):
        download(f"{web.address}/a.pth", target)
    web.files["/a.pth"], web.tag = CONTENT[::-1], '"two"'
    web.takes_ranges = takes_ranges
    download(f"{web.address}/a.pth", target)
    assert target.read_bytes() == CONTENT[::-1]


def test_a_part_of_another_address_or_without_a_version_is_not_gone_on_with(
    web: Web, target: Path
) -> None:
    web.files["/b.pth"] = CONTENT[::-1]
    for tag, name in (('"one"', "b.pth"), ("", "a.pth"), ('W/"weak"', "a.pth")):
        web.tag = tag
        web.breaks_after = [1000, 0, 0, 0]
        with pytest.raises(ConnectionError):
            download(f"{web.address}/{name}", target)
        download(f"{web.address}/a.pth", target)
        assert web.ranges[-1] == ""
        assert target.read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_begun_again(web: Web, target: Path) -> None:
    web.breaks_after = [1000, 0, 0, 0]
    with pytest.raises(ConnectionError):
        download(f"{web.address}/a.pth", target)
    with (target.parent / "a.pth.part").open("ab") as part:
        part.write(bytes(len(CONTENT)))
    download(f"{web.address}/a.pth", target)
    assert target.read_bytes() == CONTENT


def test_a_file_with_another_checksum_is_not_kept(web: Web, target: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.pth has the sha256 .*, expected 0000: it was chang"):
        download(f"{web.address}/a.pth", target, Checksum("sha256", "0000"))
    assert names(target) == []


def test_a_file_that_is_not_there_is_named(web: Web, target: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.pth cannot be downloaded: .* answers 404"):
        download(f"{web.address}/gone.pth", target)
    assert names(target) == []


def test_without_a_network_it_says_where_to_put_the_file(target: Path) -> None:
    with pytest.raises(ConnectionError, match=r"cannot be reached .*put the file at '.*a\.pth'"):
        download("http://127.0.0.1:9/a.pth", target)
    assert names(target) == []


def test_a_full_disk_is_no_broken_connection(
    web: Web, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        download(f"{web.address}/a.pth", target)
    assert len(web.ranges) == 1


@pytest.mark.parametrize(("algorithm", "length"), [("md5", 32), ("sha256", 64)])
def test_hashes_are_those_of_hashlib(target: Path, algorithm: str, length: int) -> None:
    target.write_bytes(CONTENT)
    found = hash_of(target, algorithm)
    assert found == hashlib.new(algorithm, CONTENT).hexdigest()
    assert len(found) == length
    Checksum(algorithm, found[:6]).check(target, "It")
