"""The demo's page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from d2seg.pages import write_html


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


def write_page(path: str | Path, page: Page) -> None:
    """Render the page and write it; it asks nothing of the network.

    Args:
        path: The HTML file.
        page: What it shows; texts are escaped.
    """
    # asdict copies; NamedTuples inside keep their attribute names.
    write_html(path, "d2seg.report", "page.html", asdict(page))
