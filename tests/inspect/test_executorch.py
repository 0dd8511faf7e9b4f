"""What is said of files of ExecuTorch, with and without it."""

import importlib.util
import json
import os
import struct
from pathlib import Path

import pytest
import torch

from d2seg import cli
from d2seg.export.description import describe
from d2seg.export.executorch import load_pte, quiet_start, save_pte
from d2seg.inspect import UnreadableFileError, inspect_artefact
from d2seg.inspect.executorch import PteContents, read_pte
from tests.export.models import thin_config
from tests.inspect.test_inspect import Small

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("executorch") is None, reason="executorch is not installed"
    ),
    pytest.mark.filterwarnings("ignore"),  # deprecations within executorch
]


class Ranked(Small):
    """A convolution, which XNNPACK runs, and a choice, which it does not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).flatten().topk(3).values


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "small.pte"
    description = describe(thin_config(), "pte", True, "RGB")
    save_pte(Ranked().eval(), (torch.rand(1, 2, 5, 7),), path, description)
    return path


def test_operators_and_backends_are_read(file: Path) -> None:
    contents = inspect_artefact(file).contents
    assert isinstance(contents, PteContents)
    assert contents.format == "pte"
    assert "aten::topk.values" in contents.operators
    assert "aten::convolution.out" not in contents.operators
    assert contents.backends == {"XnnpackBackend": 1}
    assert contents.planned_bytes >= 4 * 3 * 5 * 7
    assert contents.description is not None
    assert contents.description.input_order == "RGB"


def test_the_installed_executorch_loads_it(file: Path) -> None:
    (verdict,) = inspect_artefact(file).verdicts.values()
    assert verdict.loads
    assert verdict.runtime.startswith("ExecuTorch 1.")


def test_what_the_installed_executorch_lacks_is_named(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.pte"
    changed = file.read_bytes().replace(b"aten::topk", b"aten::tops")
    other.write_bytes(changed.replace(b"XnnpackBackend", b"XnnpackBracket"))
    assert cli.main(["inspect", str(other)]) == 1
    printed = capsys.readouterr().out
    assert "does not have XnnpackBracket, aten::tops.values." in printed


def test_it_is_read_without_executorch(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "executorch" else find(name)
    )
    inspection = inspect_artefact(file)
    verdict = inspection.verdicts["installed"]
    assert verdict.runtime == "ExecuTorch"
    assert "ExecuTorch is not installed: pip install" in verdict.obstacles[0]
    assert "aten::topk.values" in inspection.contents.operators


def test_a_file_that_ends_too_early_is_refused(file: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "short.pte", file.read_bytes()
    for length in (len(data) - 1, len(data) // 2, 60):
        path.write_bytes(data[:length])
        with pytest.raises(
            UnreadableFileError, match=rf"is truncated: .* and has {length:,}; copy"
        ):
            inspect_artefact(path)
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match="short.pte' cannot be loaded by this ExecuTorch"):
        load_pte(path)
    path.write_bytes(data[:8])
    with pytest.raises(UnreadableFileError, match="is damaged: its program points outside"):
        inspect_artefact(path)


def test_damaged_tables_are_refused(file: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "damaged.pte", file.read_bytes()
    for place in (0, *range(struct.unpack("<I", data[:4])[0], 400, 4)):
        for value in (0x7FFFFFF0, 0xFFFFFFFF):
            path.write_bytes(data[:place] + struct.pack("<I", value) + data[place + 4 :])
            try:
                read_pte(path)
            except UnreadableFileError as error:
                assert "is damaged: its program points outside the file" in str(error)
    with pytest.raises(UnreadableFileError, match="damaged.pte' is damaged"):
        path.write_bytes(struct.pack("<I", len(data)) + data[4:])
        read_pte(path)


def test_the_command_prints_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "XnnpackBackend runs 1" in printed
    assert "planned memory" in printed
    assert "loads it" in printed
    assert cli.main(["inspect", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["backends"] == {"XnnpackBackend": 1}


def test_the_start_of_the_runtime_is_quiet_whoever_writes(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with quiet_start():
        os.write(2, b"looking for a phone")
    os.write(2, b"later")
    assert capfd.readouterr().err == "later"
