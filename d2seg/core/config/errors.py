"""Finding what is wrong with values that are to be merged, and saying it helpfully."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

PLUGIN_KEYS = (
    *("DATALOADER.RANDOM_SUBSET_RATIO", "DATASETS.REGISTER", "EXPORT", "FEATURES"),
    *("INPUT.COPY_PASTE", "INPUT.LSJ", "INPUT.RESIZE_TEST", "MODEL.INFERENCE"),
    *("MODEL.ANCHOR_GENERATOR.MEASURED_STRIDES", "MODEL.ANCHOR_GENERATOR.WHOLE_PIXELS"),
    *("MODEL.PROPOSAL_GENERATOR.MIN_SIDE", "MODEL.RESNETS.NORM_EPS", "MODEL.RPN.RANK_BY"),
    *("MODEL.ROI_HEADS.LEVEL_MARGIN", "MODEL.ROI_HEADS.MIN_SIDE_TEST"),
    *("MODEL.ROI_KEYPOINT_HEAD.SCORE", "MODEL.ROI_MASK_HEAD.WHOLE_PIXELS", "TRAIN"),
)
"""Keys and sections that `d2seg.add_d2seg_config` adds to detectron2's."""


def leaf_keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the full dotted name of every value in nested sections."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaf_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def nearest_key(wrong: str, known: Iterable[str]) -> str:
    """Return the known key that ``wrong`` most likely means.

    A key that is given without its sections (``NUM_CLASSES``) is compared with the ends of the
    known ones; among equals the one whose whole name is nearer wins.
    """
    parts = wrong.count(".") + 1

    def likeness(key: str) -> tuple[float, float]:
        end = ".".join(key.split(".")[-parts:])
        return _ratio(wrong, end), _ratio(wrong, key)

    return max(known, key=likeness)


def unknown_key_error(wrong: str, cfg: Mapping[str, Any], source: str) -> KeyError:
    """Return the error for a key that ``cfg`` does not have."""
    known = list(leaf_keys(cfg))
    if _is_plugin_key(wrong) and not any(map(_is_plugin_key, known)):
        return KeyError(
            f"Config key '{wrong}'{source} is one of d2seg's own, which this config does not have "
            "yet: call d2seg.add_d2seg_config(cfg) first, or use d2seg.load_config."
        )
    hint = f"; did you mean '{nearest_key(wrong, known)}'?" if known else "."
    return KeyError(f"Config key '{wrong}'{source} does not exist{hint}")


def wrong_type_error(key: str, expected: Any, found: Any, source: str) -> ValueError:
    """Return the error for a value whose type is not that of the present one."""
    if isinstance(expected, Mapping):
        wanted = f"a section with keys such as '{key}.{next(iter(expected), '')}'"
    else:
        wanted = f"of type {type(expected).__name__} (it is {expected!r} now)"
    advice = f" Write {float(found)}." if type(expected) is float and type(found) is int else ""
    return ValueError(
        f"Config key '{key}'{source} must be {wanted}, found {type(found).__name__} "
        f"{_short(found)}.{advice}"
    )


def same_kind(expected: Any, found: Any) -> bool:
    """Say whether yacs lets ``found`` replace ``expected``: same type, list for tuple, or None."""
    if isinstance(expected, Mapping) or isinstance(found, Mapping):
        return isinstance(expected, Mapping) and isinstance(found, Mapping)
    kinds = {type(expected), type(found)}
    plain = kinds <= {tuple, list, str, int, float, bool, type(None)}
    return plain and (len(kinds) == 1 or type(None) in kinds or kinds == {tuple, list})


def _is_plugin_key(name: str) -> bool:
    return any(name == key or name.startswith(f"{key}.") for key in PLUGIN_KEYS)


def _ratio(first: str, second: str) -> float:
    return difflib.SequenceMatcher(None, first.upper(), second.upper(), autojunk=False).ratio()


def _short(value: Any) -> str:
    text = repr(value if not isinstance(value, Mapping) else dict(value))
    return text if len(text) <= 60 else text[:57] + "..."
