"""Checks between data sets that are used together."""

import os
from collections.abc import Collection, Iterator, Sequence

from d2seg.check_data.check import Report
from d2seg.check_data.findings import Finding
from d2seg.check_data.image_files import Progress, find_equal_files, no_progress
from d2seg.check_data.records import Dataset


def compare_datasets(
    reports: Sequence[Report],
    train_names: Collection[str],
    test_names: Collection[str],
    progress: Progress = no_progress,
) -> list[Finding]:
    """Compare the categories of data sets, and look for test images that are trained on.

    Args:
        reports: Of each data set.
        train_names: The names of those that are trained on.
        test_names: The names of those that are tested on.
        progress: Shows how far it is.
    """
    read = {report.name: report.data for report in reports if report.data is not None}
    findings = list(_compare_categories(read))
    train = {name: data for name, data in read.items() if name in train_names}
    test = {name: data for name, data in read.items() if name in test_names}
    if train and test:
        findings += _find_shared(train, test, progress)
    return findings


def _compare_categories(datasets: dict[str, Dataset]) -> Iterator[Finding]:
    """Compare with the first: classes are numbered by the order of the category ids."""
    names = {
        dataset: [data.categories_by_id[id_].name for id_ in sorted(data.categories_by_id)]
        for dataset, data in datasets.items()
    }
    first = next(iter(names), "")
    for dataset, others in names.items():
        if others != names[first]:
            differing = [name for name in others if name not in names[first]]
            told = f"has '{differing[0]}'" if differing else "has fewer of them or another order"
            yield Finding(
                "error",
                "categories differ between data sets",
                f"The categories of '{dataset}' are not those of '{first}': it {told}. "
                "Models number categories by the order of their ids.",
            )


def _find_shared(
    train: dict[str, Dataset], test: dict[str, Dataset], progress: Progress
) -> Iterator[Finding]:
    paths = {name: _readable_paths(data) for name, data in (train | test).items()}
    digests = find_equal_files("", sorted({p for group in paths.values() for p in group}), progress)
    for test_name in test:
        for train_name in train:
            known = {digests.get(path, path) for path in paths[train_name]}
            shared = [path for path in paths[test_name] if digests.get(path, path) in known]
            if shared and test_name == train_name:
                sentence = f"'{test_name}' is trained on and tested on: results on it say little."
                yield Finding("warning", "test images in training", sentence)
            elif shared:
                yield Finding(
                    "warning",
                    "test images in training",
                    f"{len(shared)} of {len(paths[test_name])} images of '{test_name}' are in "
                    f"'{train_name}' too, such as {shared[0]}: results on them say little.",
                )


def _readable_paths(data: Dataset) -> list[str]:
    names = (name for name, facts in data.files.items() if facts.mode)
    return [os.path.abspath(os.path.join(data.image_root, name)) for name in names]
