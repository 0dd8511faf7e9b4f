"""The page of a checked data set, and its findings as JSON."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from d2seg.check_data import Finding, Report, group_by_kind
from d2seg.check_data.findings import Kind
from d2seg.check_data.records import Dataset, ImageRecord
from d2seg.core.runtime.files import replace_when_complete
from d2seg.pages import picture_uri, write_html
from d2seg.report.data_figures import choose_images, draw_image

LISTED = 30
"""So many findings of a kind, and so many categories, are on the page; the JSON file has all."""

NAMED = 8
"""So many annotations are named below a picture for each kind of finding."""

BETWEEN = "Between the data sets"


class KindRow(NamedTuple):
    """Findings of one kind: their counts, the first of them, and how many are left out."""

    kind: Kind
    sentences: list[str]
    left_out: int


class Picture(NamedTuple):
    """An image with its annotations, and the severity and name of what was found in it."""

    name: str
    caption: str
    found: list[tuple[str, str]]
    uri: str


class Section(NamedTuple):
    """What the page shows of one data set."""

    title: str
    anchor: str
    conclusion: str
    passed: bool
    facts: list[tuple[str, str]]
    kinds: list[KindRow]
    categories: list[tuple[str, str, str]]
    pictures: list[Picture]


def write_data_page(
    folder: Path,
    reports: Sequence[Report],
    between: Sequence[Finding] = (),
    max_pictures: int = 12,
) -> Path:
    """Write ``index.html`` and ``findings.json``.

    Args:
        folder: Made if it does not exist.
        reports: Of each data set.
        between: What was found between them.
        max_pictures: How many images of each data set are shown.

    Returns:
        The page's path.
    """
    findings = [*(f for report in reports for f in report.findings), *between]
    sections = [_section(number, r, max_pictures) for number, r in enumerate(reports, start=1)]
    if between:
        sections.append(_section_between(between))
    write_findings(folder / "findings.json", reports, between)
    page = folder / "index.html"
    values = {
        "title": "Data check" if len(reports) != 1 else f"Check of {Path(reports[0].name).name}",
        "passed": all(section.passed for section in sections),
        "figures": _key_figures(reports, findings),
        "sections": sections,
    }
    write_html(page, "d2seg.report", "data_page.html", values)
    return page


def write_findings(path: Path, reports: Sequence[Report], between: Sequence[Finding]) -> None:
    """Write every finding as JSON."""
    content = {
        "data_sets": [
            {"name": r.name, "passed": r.passed, "findings": [f._asdict() for f in r.findings]}
            for r in reports
        ],
        "between": [finding._asdict() for finding in between],
    }
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _key_figures(reports: Sequence[Report], findings: Iterable[Finding]) -> list[tuple[str, str]]:
    read = [report.data for report in reports if report.data is not None]
    counts = Counter(finding.severity for finding in findings)
    return [
        (f"{sum(len(data.images) for data in read):,}", "images"),
        (f"{sum(len(data.annotations) for data in read):,}", "annotations"),
        (f"{counts['error']:,}", "errors"),
        (f"{counts['warning']:,}", "warnings"),
        (f"{counts['note']:,}", "notes"),
    ]


def _section(number: int, report: Report, max_pictures: int) -> Section:
    return Section(
        title=report.name,
        anchor=f"data-{number}",
        conclusion=report.conclusion(),
        passed=report.passed,
        facts=_facts(report.data) if report.data else [],
        kinds=_kind_rows(report.findings),
        categories=_category_rows(report.data) if report.data else [],
        pictures=list(_pictures(report, max_pictures)),
    )


def _section_between(findings: Sequence[Finding]) -> Section:
    passed = all(finding.severity != "error" for finding in findings)
    return Section(BETWEEN, "between", "", passed, [], _kind_rows(findings), [], [])


def _kind_rows(findings: Sequence[Finding]) -> list[KindRow]:
    rows = []
    for kind in group_by_kind(findings):
        sentences = [
            finding.sentence
            for finding in findings
            if (finding.severity, finding.kind) == (kind.severity, kind.kind)
        ]
        rows.append(KindRow(kind, sentences[1:LISTED], max(0, len(sentences) - LISTED)))
    return rows


def _facts(data: Dataset) -> list[tuple[str, str]]:
    facts = [("Annotations", data.json_file), ("Images", data.image_root)]
    sizes = [f.upright_hw for f in data.files.values() if f.mode]
    if sizes:
        (least_h, least_w), (most_h, most_w) = np.min(sizes, axis=0), np.max(sizes, axis=0)
        facts.append(("Sizes", f"width {least_w} to {most_w}, height {least_h} to {most_h} pixels"))
    per_image = [len(data.annotations_by_image.get(image.id, ())) for image in data.images]
    if per_image:
        median, most = np.median(per_image), max(per_image)
        facts.append(("Objects in an image", f"median {median:g}, at most {most}"))
    sides = [np.sqrt(outline.area) for outline in data.outlines.values()]
    if sides:
        low, middle, high = np.percentile(sides, (5, 50, 95))
        told = f"median {middle:.0f} pixels, nine of ten between {low:.0f} and {high:.0f}"
        facts.append(("Size of masks (root of the area)", told))
    return facts


def _category_rows(data: Dataset) -> list[tuple[str, str, str]]:
    numbers = Counter(annotation.category_id for annotation in data.annotations)
    pairs = {(annotation.category_id, annotation.image_id) for annotation in data.annotations}
    images = Counter(category_id for category_id, _ in pairs)
    ordered = sorted(data.categories_by_id.values(), key=lambda c: -numbers[c.id])
    rows = [(c.name, f"{numbers[c.id]:,}", f"{images[c.id]:,}") for c in ordered[:LISTED]]
    rest = ordered[LISTED:]
    if rest:
        rows.append((f"{len(rest)} more", f"{sum(numbers[c.id] for c in rest):,}", ""))
    return rows


def _pictures(report: Report, limit: int) -> Iterable[Picture]:
    for image in choose_images(report, limit):
        picture = draw_image(report, image)
        if picture is not None:
            found = [finding for finding in report.findings if finding.image == image.file_name]
            caption = _caption(report, image)
            yield Picture(image.file_name, caption, _found_in(found), picture_uri(picture))


def _found_in(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Say what was found in one image: each kind with the annotations it is about."""
    rows: list[tuple[str, str]] = []
    for kind in group_by_kind(findings):
        of_kind = [f for f in findings if (f.severity, f.kind) == (kind.severity, kind.kind)]
        ids = [str(annotation_id) for f in of_kind for annotation_id in f.annotation_ids]
        listed = ", ".join(ids[:NAMED]) + (", ..." if ids[NAMED:] else "")
        rows.append((kind.severity, f"{kind.kind}: {listed}" if listed else kind.kind))
    return rows


def _caption(report: Report, image: ImageRecord) -> str:
    if report.data is None:
        return ""
    number = len(report.data.annotations_by_image.get(image.id, ()))
    return f"id {image.id}, {number} annotation{'' if number == 1 else 's'}"
