"""YAML files: bases, the refusal of code, and files that are not configs."""

from pathlib import Path

import pytest

from d2seg.core.config import CfgNode, get_cfg
from d2seg.core.config.size_table import read_size_table
from d2seg.core.runtime.files import PathManager, PrefixHandler

RETINANET_SIZES = "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def load(path: str) -> dict[str, object]:
    return CfgNode.load_yaml_with_base(path)


def test_bases_are_relative_to_the_file_and_its_values_win(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "A: {X: 1, Y: 1, Z: 1}\n")
    write(tmp_path / "sub" / "middle.yaml", "_BASE_: ../base.yaml\nA: {Y: 2, Z: 2}\n")
    top = write(tmp_path / "sub" / "deep" / "top.yaml", "_BASE_: ../middle.yaml\nA: {Z: 3}\nB: 4\n")
    assert load(top) == {"A": {"X": 1, "Y": 2, "Z": 3}, "B": 4}


def test_several_bases_the_later_wins(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "X: 1\nY: 1\n")
    write(tmp_path / "b.yaml", "Y: 2\n")
    assert load(write(tmp_path / "c.yaml", "_BASE_: [a.yaml, b.yaml]\n")) == {"X": 1, "Y": 2}


def test_base_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(tmp_path / "home" / "base.yaml", "X: 1\n")
    assert load(write(tmp_path / "a.yaml", "_BASE_: ~/base.yaml\n")) == {"X": 1}
    assert load("~/base.yaml") == {"X": 1}


def test_base_behind_a_prefix_of_the_path_manager(tmp_path: Path) -> None:
    PathManager.register_handler(PrefixHandler("configtest://", f"{tmp_path}/"))
    write(tmp_path / "sub" / "base.yaml", "X: 1\n")
    write(tmp_path / "sub" / "next.yaml", "_BASE_: ./base.yaml\nY: 2\n")
    top = write(tmp_path / "top.yaml", "_BASE_: configtest://sub/next.yaml\n")
    assert load(top) == {"X": 1, "Y": 2}


def test_retinanet_anchor_sizes_are_read_without_evaluation(tmp_path: Path) -> None:
    tag = f'!!python/object/apply:eval ["{RETINANET_SIZES}"]'
    cfg = get_cfg()
    cfg.merge_from_file(
        write(tmp_path / "a.yaml", f"MODEL:\n  ANCHOR_GENERATOR:\n    SIZES:\n      {tag}\n")
    )
    sizes = cfg.MODEL.ANCHOR_GENERATOR.SIZES
    assert sizes[1] == [64, 80.63494719327188, 101.59366732596476]
    assert sizes == [[x, x * 2 ** (1.0 / 3), x * 2 ** (2.0 / 3)] for x in [32, 64, 128, 256, 512]]
    assert type(sizes[0][0]) is int


@pytest.mark.parametrize(
    ("written", "rows", "exponents"),
    [
        (f'["{RETINANET_SIZES}"]', [32, 64, 128, 256, 512], [1 / 3, 2 / 3]),
        (f'[ "{RETINANET_SIZES}" ]', [32, 64, 128, 256, 512], [1 / 3, 2 / 3]),
        (f"\n  ['{RETINANET_SIZES}']", [32, 64, 128, 256, 512], [1 / 3, 2 / 3]),
        (f'[\n  "{RETINANET_SIZES}",\n ]', [32, 64, 128, 256, 512], [1 / 3, 2 / 3]),
        (f'\n  - "{RETINANET_SIZES}"', [32, 64, 128, 256, 512], [1 / 3, 2 / 3]),
        ('["[[x, x * 2**(1.0/2)] for x in [16, 32.5]]"]', [16, 32.5], [1 / 2]),
        ("['[[s, s*2**(1/4), s*2**(2/4), s*2**(3/4)] for s in [8]]']", [8], [1 / 4, 2 / 4, 3 / 4]),
        ("[ '[[x] for x in [4, 8, 16]]' ]", [4, 8, 16], []),
    ],
)
def test_size_tables_in_the_spellings_of_public_configs(
    tmp_path: Path, written: str, rows: list[float], exponents: list[float]
) -> None:
    path = write(tmp_path / "a.yaml", f"SIZES: !!python/object/apply:eval {written}\n")
    assert load(path) == {"SIZES": [[x, *(x * 2**e for e in exponents)] for x in rows]}


@pytest.mark.parametrize(
    "written",
    [
        '["[int(x * 0.1 * 640) for x in range(5, 21)]"]',
        f"{{args: ['{RETINANET_SIZES}']}}",
        f'"{RETINANET_SIZES}"',
        f'["{RETINANET_SIZES}", "{{}}"]',
        "\n  args: ['print(1)']",
        "[[print]]",
        "[]",
        "3",
    ],
)
def test_other_uses_of_the_tag_are_refused(tmp_path: Path, written: str) -> None:
    path = write(tmp_path / "a.yaml", f"A: !!python/object/apply:eval {written}\n")
    with pytest.raises(ValueError, match="apply:eval' at line 1, .*write the plain value instead"):
        load(path)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').getpid()",
        "[[y] for x in [1]]",
        "[[x] for x in [1] if x]",
        "[[x] for x in [1] for y in [2]]",
        "[[x] for x in range(3)]",
        "[[x] for x in [y]]",
        "[[x * 2**(1/0)] for x in [1]]",
        "[[x * 2**(99999/1)] for x in [1]]",
        "[[x * 3**(1/2)] for x in [1]]",
        "[[x + 2**(1/2)] for x in [1]]",
        "[[x * 2**3] for x in [1]]",
        "[[x] for x in [True]]",
        "[[x] for x in []]",
        "[[] for x in [1]]",
        "[x for x in [1]]",
        "[[x] for x in [1",
        "(" * 200,
        "[[x] for x in [" + "1, " * 200 + "]]",
    ],
)
def test_other_expressions_are_refused(tmp_path: Path, expression: str) -> None:
    assert read_size_table(expression) is None
    path = write(tmp_path / "a.yaml", f'SEED: !!python/object/apply:eval ["{expression}"]\n')
    with pytest.raises(ValueError, match="has the tag '!!python/object/apply:eval' at line 1"):
        get_cfg().merge_from_file(path)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {target}']",
        "!!python/object/apply:eval [\"open('{target}', 'w')\"]",
        "!!python/object/new:subprocess.Popen [[touch, '{target}']]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!unknown 3",
    ],
)
@pytest.mark.parametrize("allow_unsafe", [False, True])
def test_code_is_refused_and_not_run(tmp_path: Path, value: str, allow_unsafe: bool) -> None:
    target = tmp_path / "touched"
    base = write(tmp_path / "base.yaml", f"OUTPUT_DIR: {value.format(target=target)}\n")
    top = write(tmp_path / "top.yaml", "_BASE_: base.yaml\n")
    for path in (base, top):
        with pytest.raises(ValueError, match=rf"'{base}' has the tag '!"):
            get_cfg().merge_from_file(path, allow_unsafe=allow_unsafe)
    assert not target.exists()


def test_python_tuples_are_harmless(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "A: !!python/tuple [1, [2, 3]]\n")
    assert load(path) == {"A": (1, [2, 3])}
    with pytest.raises(ValueError, match="has the tag '!!python/tuple'"):
        load(write(tmp_path / "b.yaml", "A: !!python/tuple 3\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A: [1, 2\nB: 3\n", "is not valid YAML at line 2"),
        ("{a: b}: c\n", "is not valid YAML"),
        ("A: \x07\n", "is not valid YAML"),
        ("- 1\n- 2\n", "must hold a mapping of config keys, found a list"),
        ("# only a comment\n", "must hold a mapping of config keys, found nothing"),
        ("_BASE_: 3\n", "_BASE_ of config file .* must name a file, found 3"),
    ],
)
def test_files_that_are_no_configs(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path / "a.yaml", text))


def test_binary_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\x89PNG\r\n\xff\xfe")
    with pytest.raises(ValueError, match="is not a text file"):
        load(str(tmp_path / "a.yaml"))


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nope.yaml' does not exist"):
        load(str(tmp_path / "nope.yaml"))
    top = write(tmp_path / "a.yaml", "_BASE_: gone.yaml\n")
    with pytest.raises(
        FileNotFoundError, match=rf"gone.yaml', the _BASE_ of '{top}', does not exist"
    ):
        load(top)
    with pytest.raises(FileNotFoundError, match=r"cannot be read: .*directory"):
        load(str(tmp_path))


def test_bases_in_a_circle(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "_BASE_: b.yaml\n")
    write(tmp_path / "b.yaml", "_BASE_: ../" + tmp_path.name + "/a.yaml\n")
    with pytest.raises(ValueError, match=rf"goes in a circle: {first} -> .*b.yaml -> {first}"):
        load(first)


def test_base_that_has_a_value_where_the_file_has_keys(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "A: 1\n")
    with pytest.raises(ValueError, match="keys below 'A', which in its _BASE_ is a single value"):
        load(write(tmp_path / "b.yaml", "_BASE_: a.yaml\nA: {X: 1}\n"))
