"""YAML that is plain, and YAML that stands for more than it holds."""

import datetime
import itertools
from pathlib import Path

import pytest

from d2seg.core.config import CfgNode, LazyConfig
from d2seg.core.runtime.untrusted.yaml_texts import RefusedTextError, load_plain_yaml


def doubled(first: str, line: str) -> str:
    """Return lines each of which has nine aliases to the one before."""
    names = "abcdefghijklmnop"
    lines = [f"a: &a {first}"]
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} {line.replace('ALIASES', ', '.join([f'*{before}'] * 9))}")
    return "\n".join(lines)


def test_plain_values() -> None:
    text = "a: [1, 0x1f, 1:30, 2.5, yes, null, 2001-02-03, b]\nc: &c {d: 1}\ne: {<<: *c, f: *c}\n"
    assert load_plain_yaml(text) == {
        "a": [1, 31, 90, 2.5, True, None, datetime.date(2001, 2, 3), "b"],
        "c": {"d": 1},
        "e": {"d": 1, "f": {"d": 1}},
    }
    assert load_plain_yaml("") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (doubled("[x]", "[ALIASES]"), "stands for more than 100,000 values"),
        (doubled("{x: 1}", "{<<: [ALIASES]}"), "stands for more than 100,000 values"),
        ("a: &a [1, *a]", "has an alias inside of what it stands for"),
        ("a: &a {<<: *a}", "has an alias inside of what it stands for"),
        ("a: 1" + ":59" * 9999, "has a number of 29,998 digits"),
        ("a: " + "x" * 500_000, "is longer than 500,000 characters"),
    ],
)
def test_texts_that_stand_for_too_much(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedTextError, match=message):
        load_plain_yaml(text)
    (tmp_path / "a.yaml").write_text(text)
    for load in (CfgNode.load_yaml_with_base, LazyConfig.load):
        with pytest.raises(ValueError, match=rf"Config file '.*a.yaml' {message}\.$"):
            load(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 5000,
        "a: " + "{b: " * 5000,
        "- " * 5000,
        "a: !!bool perhaps",
        "a: !!int ''",
        "a: !!timestamp now",
        "a: 2001-99-99",
        "a: !!binary x",
        "a: \0",
        "a: !!python/object/apply:os.system [true]",
        "a: !!python/name:os.system",
        "a: !<tag:yaml.org,2002:python/module:os> ''",
        "!!python/object/new:os.system [true]",
    ],
)
def test_damage_and_tags(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not valid YAML[^\n]*$"):
        load_plain_yaml(text)


def test_bases_that_lead_to_billions_of_files(tmp_path: Path) -> None:
    for number in range(12):
        bases = ", ".join([f"{number + 1}.yaml"] * 9)
        (tmp_path / f"{number}.yaml").write_text(f"_BASE_: [{bases}]\n")
    (tmp_path / "12.yaml").write_text("A: 1\n")
    with pytest.raises(ValueError, match=r"The _BASE_ of '.*\.yaml' leads to more than 100 files"):
        CfgNode.load_yaml_with_base(str(tmp_path / "0.yaml"))
