"""What a check says about a data set."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "note"]
"""``error``: training or evaluation stops, or learns something wrong; ``warning``: they run, but
something is probably not meant so; ``note``: worth knowing."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first."""

Id: TypeAlias = int | str


class Finding(NamedTuple):
    """One thing that was found.

    Attributes:
        severity: How bad it is.
        kind: What it is in a few words; findings of one kind are counted together.
        sentence: What was found where, what was expected, and what follows from it.
        image: The file name of the image it is about, empty if it is about none.
        image_id: That image's id.
        annotation_ids: The ids of the annotations it is about.
    """

    severity: Severity
    kind: str
    sentence: str
    image: str = ""
    image_id: Id | None = None
    annotation_ids: tuple[Id, ...] = ()


class Expectations(NamedTuple):
    """What a model asks of its data; None is for what is not known.

    Attributes:
        num_classes: How many categories there should be.
        mask_format: ``polygon`` or ``bitmask`` if masks are trained, ``none`` if they are not.
        num_keypoints: How many keypoints each object should have, if keypoints are trained.
        is_tested: Whether the model is evaluated on it, which fewer categories stop as well.
    """

    num_classes: int | None = None
    mask_format: str | None = None
    num_keypoints: int | None = None
    is_tested: bool = False


class Kind(NamedTuple):
    """All findings of one kind and severity: how many, in how many images, and the first."""

    severity: Severity
    kind: str
    number: int
    image_count: int
    example: str


def group_by_kind(findings: Iterable[Finding]) -> list[Kind]:
    """Count findings of one kind and severity; the worst come first, then the most frequent."""
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.kind), []).append(finding)
    kinds = [
        Kind(severity, kind, len(group), len({f.image for f in group} - {""}), group[0].sentence)
        for (severity, kind), group in groups.items()
    ]
    return sorted(kinds, key=lambda kind: (SEVERITIES.index(kind.severity), -kind.number))


def count_severities(findings: Iterable[Finding]) -> Mapping[Severity, int]:
    """Return how many findings there are of each severity."""
    counts: dict[Severity, int] = dict.fromkeys(SEVERITIES, 0)
    for finding in findings:
        counts[finding.severity] += 1
    return counts


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, ``1 image`` or ``2 images``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
