from pathlib import Path

import numpy as np
import pytest

from d2seg.pages import picture_uri
from d2seg.report.facts import size_text
from d2seg.report.page import InstanceFigure, ListedFile, Page, Table, write_page
from tests.pages.tags import Tags


def a_page() -> Page:
    uri = picture_uri(np.zeros((4, 6, 3), np.uint8))
    return Page(
        title="a <b>title</b>",
        introduction="first & second",
        figures=[("6", "images")],
        model=[("Config", "x.yaml")],
        instances=[InstanceFigure("<cell>.png", "4 x 6", uri, uri)],
        tensors=Table(("Tensor",), [("backbone.p2",)]),
        parity=Table(("Image",), [("4 x 6",)]),
        files=[ListedFile("index.html", "", "this page")],
        commands=[("Do it:", "d2seg demo"), ("Or:", "line 1\nline 2")],
    )


def test_the_page_is_whole_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    write_page(tmp_path / "index.html", a_page())
    html = (tmp_path / "index.html").read_text()
    tags = Tags(html)
    assert tags.open == []
    assert "url(" not in html
    assert "<script" not in html
    outside = [item for item in tags.addresses if not item.startswith(("data:", "#"))]
    assert outside == []
    anchors = {item[1:] for item in tags.addresses if item.startswith("#")}
    assert anchors == set(tags.ids)
    for text in ("backbone.p2", "d2seg demo", "line 1\nline 2", "x.yaml", "this page"):
        assert text in tags.text


def test_texts_are_escaped(tmp_path: Path) -> None:
    write_page(tmp_path / "index.html", a_page())
    html = (tmp_path / "index.html").read_text()
    assert "a &lt;b&gt;title&lt;/b&gt;" in html
    assert "<cell>" not in html
    assert "first &amp; second" in html


@pytest.mark.parametrize(("passed", "shown"), [(True, "the same instances"), (False, "Differs")])
def test_the_verdict_is_shown(tmp_path: Path, passed: bool, shown: str) -> None:
    page = a_page()
    page.mobile_passed = passed
    write_page(tmp_path / "index.html", page)
    assert shown in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (86_400, "86 kB"), (11_300_000, "11.3 MB")],
)
def test_size_text(size: int, text: str) -> None:
    assert size_text(size) == text
