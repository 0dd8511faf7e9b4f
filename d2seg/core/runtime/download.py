"""Downloads over http(s) that go on where they broke off and appear when they are complete."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from d2seg.core.runtime.checksum import Checksum

Progress = Callable[[int, int | None], None]
"""Takes how many bytes are there and how many there will be; None where the server does not say."""

CHUNK_BYTES = 2**20
TIMEOUT_SECONDS = 30.0
PART_SUFFIX = ".part"
ATTEMPTS = 3
"""In a row without a single new byte."""
PAUSE_SECONDS = 0.5


def download(
    address: str,
    target: Path,
    checksum: Checksum | None = None,
    progress: Progress = lambda done, total: None,
) -> None:
    """Download a file; what an earlier attempt left in ``<target>.part`` is not fetched again.

    The server is asked for the rest only of the file that the part is of (``If-Range``). Where the
    connection breaks it is tried again as long as something comes.

    Args:
        address: http or https.
        target: Appears when it is complete; its folder exists.
        checksum: Compared before it appears.
        progress: Called as the bytes come in.

    Raises:
        FileNotFoundError: The server has no such file.
        ConnectionError: It cannot be reached, or the connection broke too often; the part stays.
        ValueError: The file has another checksum. The part is removed.
        OSError: The disk is full or cannot be written to; the part stays.
    """
    part = _Part(address, target)
    failures = 0
    while True:
        before, reason = part.size, "the connection broke"
        try:
            if _fetch_rest(part, progress):
                break
        except _BrokenError as error:
            reason = str(error)
        failures = 0 if part.size > before else failures + 1
        if failures == ATTEMPTS:
            raise ConnectionError(_unreachable(part, reason))
        time.sleep(PAUSE_SECONDS * failures)
    part.complete(checksum)


class _BrokenError(Exception):
    """A connection that could not be made, or broke; an error of the disk is no such thing."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(getattr(cause, "reason", cause)) or type(cause).__name__)


class _Part:
    """A file that is not complete, and beside it what it is a part of."""

    def __init__(self, address: str, target: Path) -> None:
        self.address = address
        self.target = target
        self.path = target.with_name(f"{target.name}{PART_SUFFIX}")
        self.about = target.with_name(f"{target.name}{PART_SUFFIX}.json")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def version(self) -> str:
        """The server's name for the version that the bytes are of; empty: they are no use."""
        try:
            about = json.loads(self.about.read_text(encoding="utf-8"))
            return str(about["version"]) if about["address"] == self.address else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def begin(self, version: str) -> None:
        """Forget the bytes that are there; those to come are of this version."""
        self.path.unlink(missing_ok=True)
        text = json.dumps({"address": self.address, "version": version})
        self.about.write_text(text, encoding="utf-8")

    def remove(self) -> None:
        """Remove what there is."""
        self.path.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def complete(self, checksum: Checksum | None) -> None:
        """Check the file, and give it its name."""
        if checksum is not None:
            try:
                checksum.check(self.path, f"What came from {self.address}")
            except ValueError:
                self.remove()
                raise
        self.path.replace(self.target)
        self.about.unlink(missing_ok=True)


def _fetch_rest(part: _Part, progress: Progress) -> bool:
    """Fetch what is missing; return whether the file is complete now."""
    version = part.version
    start = part.size if version else 0
    with _request(part.address, start, version) as response:
        if response.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.remove()  # it is not of the file that is there now
            return False
        if not (start and _continues(response, start)):
            start = 0
            part.begin(_version_of(response))
        length = _length_of(response, part.address)
        total = None if length is None else start + length
        progress(start, total)
        with part.path.open("ab") as opened:
            for chunk in _chunks(response):
                opened.write(chunk)
                progress(opened.tell(), total)
            opened.flush()
            os.fsync(opened.fileno())
    return total is None or part.size == total


def _request(address: str, start: int, version: str) -> Any:
    # Some servers compress what they send, and ranges would then be of what is compressed.
    headers = {"Accept-Encoding": "identity", "User-Agent": "d2seg"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    try:
        request = urllib.request.Request(address, headers=headers)
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return error  # it is a response too
        raise _refused(address, error) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(error) from error


def _chunks(response: Any) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(error) from error
        if not chunk:
            return
        yield chunk


def _continues(response: Any, start: int) -> bool:
    where = response.headers.get("Content-Range", "")
    return response.status == http.client.PARTIAL_CONTENT and where.startswith(f"bytes {start}-")


def _length_of(response: Any, address: str) -> int | None:
    length = response.headers.get("Content-Length")
    if length is None:
        return None
    if not (length.isascii() and length.isdigit()):
        raise ConnectionError(
            f"{address} cannot be downloaded: the server answers with a Content-Length of "
            f"'{length:.60}', which is no number of bytes."
        )
    return int(length)


def _version_of(response: Any) -> str:
    """Return what ``If-Range`` takes: an ETag that is not weak, else the date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _refused(address: str, error: urllib.error.HTTPError) -> OSError:
    what = f"{address} cannot be downloaded: the server answers {error.code} ({error.reason})."
    gone = error.code in (http.client.NOT_FOUND, http.client.GONE)
    return FileNotFoundError(what) if gone else ConnectionError(what)


def _unreachable(part: _Part, reason: str) -> str:
    if part.size and part.version:
        return (
            f"{part.address} could not be downloaded to its end ({reason}); what came is kept, and "
            "the next attempt goes on from there."
        )
    return (
        f"{part.address} cannot be reached ({reason}). Without a network, put the file at "
        f"'{part.target}', or name a local one."
    )
