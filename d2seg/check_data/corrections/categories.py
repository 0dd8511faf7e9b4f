"""Categories corrected."""

from d2seg.check_data.corrections.changes import WHOLE, Changes, Entry, has_fractions
from d2seg.check_data.records import Dataset


def correct_categories(data: Dataset, entries: list[Entry], changes: Changes) -> list[Entry]:
    """Drop categories that are listed twice, and name those without a name.

    Args:
        data: The data set as it was read.
        entries: ``categories`` of the file; not modified.
        changes: Gets what was done.

    Raises:
        ValueError: One id stands for categories of different names.
    """
    kept = []
    for category in data.categories:
        first = data.categories_by_id[category.id]
        entry = {**entries[category.position], "id": category.id}
        if category is not first:
            _require_same_name(category.id, category.name, first.name)
            changes.add("categories dropped: listed twice", f"category {category.id}")
            continue
        if has_fractions(entries[category.position]):
            changes.add(WHOLE, f"category {category.id}")
        if not category.name:
            entry["name"] = f"category {category.id}"
            changes.add("categories named after their id", f"category {category.id}")
        if not isinstance(entry.get("keypoints", []), list):
            del entry["keypoints"]
            changes.add("keypoints of categories dropped: no list", f"category {category.id}")
        kept.append(entry)
    return kept


def _require_same_name(category_id: int, name: str, first_name: str) -> None:
    if name != first_name:
        raise ValueError(
            f"Category id {category_id} stands for '{first_name}' and for '{name}'. Which of them "
            "its annotations mean cannot be known; correct this by hand first."
        )
