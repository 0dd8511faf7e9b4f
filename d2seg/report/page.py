"""The demo's page, and the rendering of pages as self-contained HTML files."""

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from d2seg.core.runtime.files import replace_when_complete

LONGEST_SIDE = 1280
"""Pictures are embedded at most this large; the files on disk keep their full size."""


class Table(NamedTuple):
    """A table: column titles and rows of texts."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


EMPTY_TABLE = Table((), ())


class InstanceFigure(NamedTuple):
    """One image and the instances found in it; the pictures are data URIs."""

    name: str
    caption: str
    input_uri: str
    overlay_uri: str


class FeatureFigure(NamedTuple):
    """A picture of features with a caption."""

    caption: str
    uri: str


class ListedFile(NamedTuple):
    """A file that was written: its path below the output folder, its size in words, what it is."""

    path: str
    size: str
    what: str


@dataclass
class Page:
    """Everything the page shows.

    Attributes:
        title: Heading of the page.
        introduction: One or two sentences below it.
        figures: Key figures: a number and what it counts.
        model: What the model is: label and value.
        instances: One figure per image shown.
        instances_note: How the pictures were made, and what is left out.
        maps: Pictures of the backbone, the input first.
        objects: Crops and pooled features of single objects, in turn.
        tensors: What a feature file holds.
        mobile_note: What the mobile file is and how it was verified.
        parity: The mobile file against the model.
        mobile_passed: Whether it agrees.
        files: What was written.
        commands: What to type next: what it does, and the command.
    """

    title: str
    introduction: str
    figures: list[tuple[str, str]] = field(default_factory=list)
    model: list[tuple[str, str]] = field(default_factory=list)
    instances: list[InstanceFigure] = field(default_factory=list)
    instances_note: str = ""
    maps: list[FeatureFigure] = field(default_factory=list)
    objects: list[FeatureFigure] = field(default_factory=list)
    tensors: Table = EMPTY_TABLE
    mobile_note: str = ""
    parity: Table = EMPTY_TABLE
    mobile_passed: bool = True
    files: list[ListedFile] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)


def picture_uri(picture: np.ndarray, exact: bool = False) -> str:
    """Turn a picture into a data URI for an ``img`` element.

    Args:
        picture: (H, W, 3) uint8 RGB.
        exact: Keep every pixel (PNG); else JPEG, which is far smaller for photographs.
    """
    image = Image.fromarray(picture)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    if exact:
        image.save(buffer, format="PNG")
    else:
        image.save(buffer, format="JPEG", quality=88, subsampling=0)
    kind = "png" if exact else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def write_page(path: str | Path, page: Page) -> None:
    """Render the page and write it; it asks nothing of the network.

    Args:
        path: The HTML file.
        page: What it shows; texts are escaped.
    """
    # asdict copies; NamedTuples inside keep their attribute names.
    write_html(path, "page.html", asdict(page))


def write_html(path: str | Path, template: str, values: dict[str, Any]) -> None:
    """Render a template of this package and write the page.

    Args:
        path: The HTML file.
        template: The name of the template.
        values: What it shows; texts are escaped.
    """
    # The page is the only user of jinja2, and most of d2seg should start without it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("d2seg.report", package_path="."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(values)
    with replace_when_complete(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
