"""Which keypoints are the left and the right one of a pair, by their names."""

import re
from collections.abc import Sequence

_OPPOSITE = {"left": "right", "l": "r"}

_LEFT = re.compile(
    r"left|Left|LEFT"
    r"|(?<![A-Za-z])[lL](?![a-z])"  # l_eye, eye_l, L, lEye
    r"|(?<=[a-z])L(?![a-z])"  # eyeL
)


def find_mirror_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of names that differ in left and right, or l and r, alone.

    Args:
        names: Of keypoints, such as ``left_eye``, ``LeftEye``, ``LEFT_EYE``, ``L_eye``, ``eye_l``.

    Returns:
        The left and the right name of each pair, in the order of the left ones.
    """
    known = set(names)
    pairs = []
    for name in names:
        rights = (_replace(name, match) for match in _LEFT.finditer(name))
        pairs += [(name, right) for right in rights if right in known][:1]
    return pairs


def _replace(name: str, match: re.Match[str]) -> str:
    left = match[0]
    right = _OPPOSITE[left.lower()]
    right = right.upper() if left.isupper() else right.capitalize() if left.istitle() else right
    return name[: match.start()] + right + name[match.end() :]
