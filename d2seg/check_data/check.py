"""Checking a data set: reading, looking at the files, running every check."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from d2seg.check_data.checks import CHECKS
from d2seg.check_data.findings import (
    Expectations,
    Finding,
    Severity,
    count_severities,
    counted,
)
from d2seg.check_data.image_files import Progress, examine_files, find_equal_files, no_progress
from d2seg.check_data.reading import read_content, read_dataset
from d2seg.check_data.records import Dataset

NOTHING_EXPECTED = Expectations()


@dataclass(frozen=True)
class Report:
    """What was found in a data set.

    Attributes:
        name: How it is called: its registered name, or its file.
        data: What was read; None if the file is no COCO file at all.
        findings: In the order of the checks.
        expected: What the model asks for.
    """

    name: str
    data: Dataset | None
    findings: Sequence[Finding]
    expected: Expectations = NOTHING_EXPECTED

    @property
    def counts(self) -> Mapping[Severity, int]:
        """How many findings there are of each severity."""
        return count_severities(self.findings)

    @property
    def passed(self) -> bool:
        """Whether there is no error."""
        return self.counts["error"] == 0

    def conclusion(self) -> str:
        """Say in one line what was read and how it is."""
        content = f"{self.name}: not read"
        if self.data is not None:
            content = (
                f"{self.name}: {counted(len(self.data.images), 'image')}, "
                f"{counted(len(self.data.annotations), 'annotation')}, "
                f"{counted(len(self.data.categories), 'category', 'categories')}"
            )
        told = [
            counted(self.counts["error"], "error"),
            counted(self.counts["warning"], "warning"),
            counted(self.counts["note"], "note"),
        ]
        return f"{content}; {', '.join(told)}. {_VERDICTS[self.passed]}"


_VERDICTS = {True: "It can be trained on.", False: "Correct the errors before training."}


def check_dataset(
    json_file: str,
    image_root: str,
    expected: Expectations = NOTHING_EXPECTED,
    decode: bool = True,
    name: str | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Check a COCO-format data set.

    Args:
        json_file: The annotations: a path or an address.
        image_root: The folder that the file names in it are relative to.
        expected: What the model asks for.
        decode: Read every pixel of the images, which finds files that end too early; else only
            their headers.
        name: How to call it; the file's name by default.
        progress: Shows how far it is.

    Returns:
        Everything that was found. What is wrong with the data is a finding, never an exception.

    Raises:
        FileNotFoundError: There is no such annotation file, or no such folder.
    """
    if image_root and "://" not in image_root and not os.path.isdir(image_root):
        raise FileNotFoundError(f"There is no image folder '{image_root}'.")
    name = name or json_file
    content, findings = read_content(json_file)
    if content is None:
        return Report(name, None, findings, expected)
    data, complaints = read_dataset(content, json_file, image_root)
    names = list(dict.fromkeys(image.file_name for image in data.images))
    data.files = examine_files(image_root, names, decode, progress)
    readable = [name for name, facts in data.files.items() if facts.mode]
    data.digests = find_equal_files(image_root, readable, progress)
    return Report(name, data, [*findings, *complaints, *run_checks(data, expected)], expected)


def run_checks(data: Dataset, expected: Expectations) -> list[Finding]:
    """Run every check on a data set whose files were looked at."""
    return [finding for check in CHECKS for finding in check(data, expected)]
