"""What is said of files of all kinds, and of those that do not load."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from d2seg import cli
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.description import DESCRIPTION_NAME, describe
from d2seg.export.torchscript import inspect_file, save_torchscript
from d2seg.export.weights import reduce_weights
from d2seg.inspect import UnreadableFileError, inspect_artefact, known_runtimes
from d2seg.inspect.archive import read_archive
from d2seg.inspect.runtimes import Runtime, load_runtime
from d2seg.inspect.verdicts import find_obstacles
from d2seg.predict import Predictor
from tests.export.models import thin_config, thin_model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a described file, one with torchvision's operators, and one with int8 weights."""
    folder = tmp_path_factory.mktemp("files")
    model = thin_model()
    text = describe(thin_config(), "ptl", True, "RGB", model=model).to_json()
    portable = DeployableRCNN(model, input_order="RGB")
    save_torchscript(portable, folder / "portable.ptl", {DESCRIPTION_NAME: text})
    save_torchscript(reduce_weights(portable, "int8"), folder / "int8.ptl", {})
    save_torchscript(DeployableRCNN(model, aten_only=False), folder / "vision.ptl", {})
    return folder


class Small(torch.nn.Module):
    """The smallest program worth a file."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu()


def rewrite(source: Path, target: Path, member: str, change: Callable[[bytes], bytes]) -> Path:
    """Copy an archive with one of its members changed, its checksum right."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change(data) if name.endswith(f"/{member}") else data)
    return target


@pytest.mark.parametrize("name", ["portable", "vision", "int8"])
def test_operators_are_those_that_torch_reads(name: str, files: Path) -> None:
    contents = inspect_artefact(files / f"{name}.ptl").contents
    facts = inspect_file(files / f"{name}.ptl")
    assert list(contents.operators) == facts.operators
    assert contents.bytecode_version == facts.bytecode_version == 8
    infos = torch.jit.mobile._get_model_ops_and_info(os.fspath(files / f"{name}.ptl"))
    called = load_runtime("installed").operators
    assert all(count <= called[operator] for operator, count in contents.operators.items())
    assert set(infos) == set(contents.operators)


def test_numbers_are_counted_by_type(files: Path) -> None:
    state = DeployableRCNN(thin_model()).state_dict()
    total = sum(value.numel() for value in state.values())
    portable = inspect_artefact(files / "portable.ptl").contents.stored
    assert total <= portable["float32"] < total + 500  # and the anchors
    stored = inspect_artefact(files / "int8.ptl").contents.stored
    weights = sum(
        value.numel() for name, value in state.items() if value.dim() > 1 and "weight" in name
    )
    assert stored["int8"] == weights
    assert stored["float32"] < 0.05 * total


def test_the_description_is_read(files: Path) -> None:
    description = inspect_artefact(files / "portable.ptl").contents.description
    assert description is not None
    assert description.num_parameters == sum(p.numel() for p in thin_model().parameters())
    assert description.checksum.startswith("sha256:")
    assert inspect_artefact(files / "vision.ptl").contents.description is None


def test_runtimes_judge_a_portable_file(files: Path) -> None:
    runtimes = ["installed", *known_runtimes()]
    inspection = inspect_artefact(files / "portable.ptl", runtimes)
    assert [verdict.loads for verdict in inspection.verdicts.values()] == [True] * len(runtimes)
    assert "2.1.0" in runtimes


def test_torchvision_operators_are_named_as_such(files: Path) -> None:
    inspection = inspect_artefact(files / "vision.ptl", ["installed", "2.1.0"])
    assert inspection.verdicts["installed"].loads  # torchvision is installed here
    (sentence,) = inspection.verdicts["2.1.0"].obstacles
    assert "torchvision's operators torchvision::nms, torchvision::roi_align" in sentence
    assert "export it with --ops aten" in sentence


def test_table_of_the_installed_torch_is_the_one_that_ships() -> None:
    version = torch.__version__.partition("+")[0]
    if version not in known_runtimes():
        pytest.skip(f"there is no table of torch {version}")
    shipped, installed = load_runtime(version), load_runtime("installed")
    assert shipped.has_xnnpack == installed.has_xnnpack
    assert shipped.bytecode == installed.bytecode
    assert shipped.operators.items() <= installed.operators.items()


def test_other_runtimes_are_refused(files: Path) -> None:
    with pytest.raises(
        ValueError, match="no table of the operators of torch 1.9; there are those of 2"
    ):
        inspect_artefact(files / "portable.ptl", ["1.9"])


def runtime(**changes: Any) -> Runtime:
    known = {"aten::relu": 1, "aten::conv2d": 7}
    return Runtime("torch 9.9", known, (4, 9), has_xnnpack=True)._replace(**changes)


@pytest.mark.parametrize(
    ("version", "operators", "classes", "changes", "expected"),
    [
        (8, {"aten::relu": 1}, [], {}, None),
        (None, {"aten::relu": 0}, [], {}, None),
        (10, {}, [], {}, "Its bytecode version 10 is too new: torch 9.9 reads 4 to 9"),
        (3, {}, [], {}, "Its bytecode version 3 is too old: torch 9.9 reads 4 to 9"),
        (8, {"aten::relu": 1, "aten::new.x": 2}, [], {}, "torch 9.9 does not have aten::new.x."),
        (
            8,
            {"aten::conv2d": 8},
            [],
            {},
            "aten::conv2d is called with 8 arguments, but torch 9.9 kn",
        ),
        (
            8,
            {"prepacked::conv2d_clamp_run": 2},
            ["xnnpack.Conv2dOpContext"],
            {"has_xnnpack": False},
            "prepacked for XNNPACK (xnnpack.Conv2dOpContext), which torch 9.9 was built without",
        ),
    ],
)
def test_obstacles(
    version: int | None,
    operators: dict[str, int],
    classes: list[str],
    changes: dict[str, Any],
    expected: str | None,
) -> None:
    found = find_obstacles(version, operators, classes, runtime(**changes))
    assert len(found) == (expected is not None)
    assert expected is None or expected in found[0]


def test_prepacked_file_where_xnnpack_is_missing(tmp_path: Path) -> None:
    if not torch._C._is_xnnpack_enabled():
        pytest.skip("this torch has no XNNPACK")
    save_torchscript(Small().eval(), tmp_path / "packed.ptl", {}, optimize=True)
    contents = inspect_artefact(tmp_path / "packed.ptl").contents
    assert contents.classes == ["xnnpack.Conv2dOpContext"]
    installed = load_runtime("installed")
    assert contents.find_obstacles(installed) == []
    without = {k: v for k, v in installed.operators.items() if not k.startswith("prepacked::")}
    found = contents.find_obstacles(installed._replace(operators=without, has_xnnpack=False))
    assert len(found) == 1
    assert "prepacked for XNNPACK" in found[0]


def test_bytecode_that_is_too_new(files: Path, tmp_path: Path) -> None:
    def raise_version(data: bytes) -> bytes:
        assert data[:4] == b"\x80\x02K\x08" or data[:5] == b"\x80\x02(K\x08"
        return data.replace(b"K\x08", b"K\x63", 1)

    path = rewrite(files / "portable.ptl", tmp_path / "new.ptl", "bytecode.pkl", raise_version)
    for verdict in inspect_artefact(path).verdicts.values():
        assert "Its bytecode version 99 is too new: torch" in verdict.obstacles[0]


def saved(write: Callable[[Path], None]) -> Callable[[Path, Path], Path]:
    def make(files: Path, folder: Path) -> Path:
        write(folder / "made.ptl")
        return folder / "made.ptl"

    return make


def checkpoint(path: Path) -> None:
    torch.save({"model": {"weight": torch.zeros(3)}}, path)


def plain_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def cut(files: Path, folder: Path) -> Path:
    data = (files / "portable.ptl").read_bytes()
    (folder / "cut.ptl").write_bytes(data[: len(data) * 2 // 3])
    return folder / "cut.ptl"


def flipped(files: Path, folder: Path) -> Path:
    data = bytearray((files / "portable.ptl").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (folder / "flipped.ptl").write_bytes(data)
    return folder / "flipped.ptl"


def short_instructions(files: Path, folder: Path) -> Path:
    target = folder / "short.ptl"
    return rewrite(files / "portable.ptl", target, "bytecode.pkl", lambda data: data[:50])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (saved(lambda path: path.write_bytes(b"")), "is empty."),
        (
            saved(lambda path: path.write_text("weights")),
            "is neither a .ptl nor a .pte: it is no zip archive",
        ),
        (saved(checkpoint), "is a checkpoint of torch.save, which has weights but no program"),
        (saved(plain_zip), "is a zip archive, but not one that torch wrote."),
        (saved(lambda path: path.mkdir()), "is a folder; name a file in it."),
        (cut, "is truncated: it begins like a .ptl and its end is missing"),
        (flipped, "fails its checksum"),
        (short_instructions, "is damaged: its instructions end too early"),
    ],
)
def test_other_files_are_refused_in_one_sentence(
    make: Callable[[Path, Path], Path],
    message: str,
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = make(files, tmp_path)
    with pytest.raises(UnreadableFileError) as caught:
        inspect_artefact(path)
    assert message in str(caught.value)
    assert cli.main(["inspect", str(path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("make", [cut, flipped, saved(lambda path: path.write_text("weights"))])
def test_a_predictor_says_the_same(
    make: Callable[[Path, Path], Path], files: Path, tmp_path: Path
) -> None:
    path = make(files, tmp_path)
    with pytest.raises(UnreadableFileError) as inspected:
        inspect_artefact(path)
    with pytest.raises(UnreadableFileError) as loaded:
        Predictor(path)
    assert str(loaded.value) == str(inspected.value)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "made"),))

    buffer = io.BytesIO()
    pickle.dump((8, Evil()), buffer, protocol=2)
    with zipfile.ZipFile(tmp_path / "evil.ptl", "w") as archive:
        for name, data in (("data.pkl", buffer.getvalue()), ("code/x.py", b""), ("version", b"3")):
            archive.writestr(f"evil/{name}", data)
    read_archive(tmp_path / "evil.ptl")
    assert not (tmp_path / "made").exists()


@pytest.mark.filterwarnings("ignore:.torch.jit.save. is deprecated")
def test_full_torchscript_is_read_too(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Small()), tmp_path / "small.ts")
    inspection = inspect_artefact(tmp_path / "small.ts")
    contents = inspection.contents
    assert (contents.format, contents.bytecode_version) == ("ts", None)
    assert contents.operators == {"aten::conv2d": 0, "aten::relu": 0}
    assert contents.stored == {"float32": 9}
    assert [verdict.loads for verdict in inspection.verdicts.values()] == [True, True]


def test_a_file_that_torch_refuses_says_why(files: Path, tmp_path: Path) -> None:
    def drop_tables(data: bytes) -> bytes:
        return data.replace(b"register_size", b"register_sice")

    path = rewrite(files / "portable.ptl", tmp_path / "odd.ptl", "bytecode.pkl", drop_tables)
    verdict = inspect_artefact(path).verdicts["installed"]
    assert not verdict.loads
    assert verdict.obstacles[0].startswith("It was refused: ")


def test_command_prints_everything(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(files / "portable.ptl")]) == 0
    out = capsys.readouterr().out
    lines = {line[:18].strip(): line for line in out.splitlines()}
    assert "bytecode version 8" in lines["format"]
    assert "5: class 0, class 1" in out
    assert "RGB, values 0 to 255" in out
    assert "shorter edge 96, longer at most 160, before it is given to the file" in out
    assert "above 0.3, at most 40 detections" in out
    assert "boxes (N, 4) float32: XYXY" in out
    assert out.count("  loads it") == 2


def test_command_judges_by_the_runtime(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(files / "vision.ptl")
    assert cli.main(["inspect", path]) == 0
    assert cli.main(["inspect", path, "--runtime", "2.1.0"]) == 1
    assert "torch 2.1.0 alone does not have torchvision's" in capsys.readouterr().out
    assert cli.main(["inspect", path, "--runtime", "0.4"]) == 1
    assert "no table of the operators of torch 0.4" in capsys.readouterr().err


def test_command_prints_json_and_config(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(files / "portable.ptl")
    assert cli.main(["inspect", path, "--json", "--runtime", "2.4.1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes"] == Path(path).stat().st_size
    assert found["format"] == "ptl"
    assert found["operators"]["aten::conv2d"] >= 3
    assert found["description"]["input_order"] == "RGB"
    assert {name: one["loads"] for name, one in found["runtimes"].items()} == {
        "installed": True,
        "2.1.0": True,
        "2.4.1": True,
    }
    assert cli.main(["inspect", path, "--config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["MODEL"]["RESNETS"]["DEPTH"] == 18
    assert cli.main(["inspect", str(files / "int8.ptl"), "--config"]) == 1
    assert "has no config: d2seg did not export it" in capsys.readouterr().err
