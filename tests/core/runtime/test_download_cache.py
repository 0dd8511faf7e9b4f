import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2seg.core.checkpoint.files import find_checkpoint
from d2seg.core.model_zoo import get_checkpoint_url
from d2seg.core.runtime import download_cache
from d2seg.core.runtime.checksum import Checksum
from d2seg.core.runtime.download_cache import cached_path, fetch, known_checksums
from d2seg.core.runtime.files import PathManager
from tests.web import Web, serving

CONTENT = b"weights" * 1000
TRAINED = get_checkpoint_url("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(download_cache, "_checked", set())
    monkeypatch.setattr(download_cache, "known_checksums", dict(known_checksums))
    return tmp_path


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        web.files["/models/a.pth"] = CONTENT
        yield web


def start_again() -> None:
    """Forget what this process has checked, as a new one does not know it."""
    download_cache._checked.clear()


def test_detectron2s_files_lie_where_it_keeps_them(cache: Path) -> None:
    rest = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl"
    assert cached_path(TRAINED) == cache / "detectron2" / rest


def test_files_of_other_hosts_have_places_of_their_own(cache: Path) -> None:
    one, other = (cached_path(f"https://{host}/m/a.pth") for host in ("a.org", "b.org:8000"))
    assert (one, other) == (cache / "a.org/m/a.pth", cache / "b.org_8000/m/a.pth")
    assert cached_path("https://me:secret@a.org/m/a.pth") == one
    assert cached_path("https://a.org/../../../m/./a.pth") == one
    with_query = cached_path("https://a.org/m/a.pth?id=7&to=/etc")
    assert with_query == cache / "a.org/m/id_7_to__etc/a.pth"


def test_a_file_is_downloaded_once_and_its_checksum_kept(web: Web) -> None:
    address = f"{web.address}/models/a.pth"
    path = Path(PathManager.get_local_path(address))
    assert path.read_bytes() == CONTENT
    assert PathManager.get_local_path(address) == str(path)
    start_again()
    assert fetch(address) == path
    assert len(web.ranges) == 1
    record = path.with_name("a.pth.sha256")
    assert record.read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}  a.pth\n"
    subprocess.run(["sha256sum", "-c", record.name], cwd=path.parent, check=True)
    web.files["/models/a.pth"] = b"newer"
    assert fetch(address, force=True).read_bytes() == b"newer"
    start_again()
    assert fetch(address).read_bytes() == b"newer"


def test_a_file_that_was_changed_since_is_refused(web: Web) -> None:
    address = f"{web.address}/models/a.pth"
    path = fetch(address)
    path.write_bytes(CONTENT[:-1] + b"!")
    start_again()
    message = rf"'{path}' has the sha256 .*is damaged\. Delete it, .* again from {address}\."
    with pytest.raises(ValueError, match=message):
        find_checkpoint(address)


def test_a_file_of_before_gets_a_record(cache: Path) -> None:
    path = cached_path("https://a.org/a.pth")
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch("https://a.org/a.pth") == path
    record = path.with_name("a.pth.sha256")
    assert hashlib.sha256(CONTENT).hexdigest() in record.read_text()
    record.write_text("")  # as a full disk may leave it
    start_again()
    assert fetch("https://a.org/a.pth") == path
    path.write_bytes(CONTENT[1:])
    start_again()
    with pytest.raises(ValueError, match="was changed, or is damaged"):
        fetch("https://a.org/a.pth")


def test_the_name_of_a_published_file_holds_its_md5(cache: Path) -> None:
    assert download_cache.known_checksums[TRAINED] == Checksum("md5", "f10217")
    path = cached_path(TRAINED)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    with pytest.raises(ValueError, match="has the md5 .*, expected f10217"):
        PathManager.get_local_path(TRAINED)


def test_a_known_checksum_is_compared(web: Web) -> None:
    address = f"{web.address}/models/a.pth"
    path = fetch(address)
    known = download_cache.known_checksums
    known[address] = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())
    assert fetch(address) == path
    known[address] = Checksum("sha256", 64 * "0")
    with pytest.raises(ValueError, match="expected 0000"):
        fetch(address)
    with pytest.raises(ValueError, match=r"What came from .*expected 0000"):
        fetch(address, force=True)
    assert path.read_bytes() == CONTENT


def test_a_checkpoint_that_cannot_be_fetched_is_named(web: Web) -> None:
    address = f"{web.address}/models/gone.pth"
    with pytest.raises(FileNotFoundError, match=rf"{address} cannot be downloaded: .* 404 .*MODEL"):
        find_checkpoint(address)
