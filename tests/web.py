"""A web server of this machine that answers ranges, and breaks connections where it is told to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Web:
    """What the server has and was asked for.

    Attributes:
        address: Of the server, without a slash at the end.
        files: Path, with the slash, to content.
        tag: The ETag of all files; empty: none is sent.
        breaks_after: Where to break the connections to come: so many bytes of each answer.
        takes_ranges: Whether it does as ``Range`` says.
        ranges: ``Range`` of each request, empty where there was none.
        length: What to announce in place of ``Content-Length``; None for the truth.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tag: str = '"one"'
    breaks_after: list[int] = field(default_factory=list)
    takes_ranges: bool = True
    ranges: list[str] = field(default_factory=list)
    length: str | None = None


@contextmanager
def serving() -> Iterator[Web]:
    """Serve until the block ends."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.ranges.append(self.headers.get("Range", ""))
            content = web.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = self.start_of(content)
            if start > len(content) - 1:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                sent = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self.send_header("Content-Range", sent)
            if web.tag:
                self.send_header("ETag", web.tag)
            self.send_header("Content-Length", web.length or str(len(content) - start))
            self.end_headers()
            end = start + web.breaks_after.pop(0) if web.breaks_after else len(content)
            self.wfile.write(content[start:end])

        def start_of(self, content: bytes) -> int:
            is_same = self.headers.get("If-Range", web.tag) == web.tag
            asked = self.headers.get("Range", "bytes=0-")
            takes = web.takes_ranges and is_same
            return int(asked.removeprefix("bytes=").split("-")[0]) if takes else 0

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        web.address = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()
