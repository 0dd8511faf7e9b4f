"""Programs of TorchScript that reach out of themselves, and archives that unpack to too much."""

import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from d2seg.core.runtime.untrusted.parts import OversizedError
from d2seg.core.runtime.untrusted.programs import open_archive, require_pure_program
from d2seg.core.runtime.untrusted.unsafe import unsafe_files
from d2seg.export.description import read_description
from d2seg.inspect import UnreadableFileError, inspect_artefact

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


class Writes(nn.Module):
    """Writes a file when it is run."""

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "made")
        return x


class Reads(nn.Module):
    """Reads a file when it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.x = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.x

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.x, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.x = torch.from_file("/etc/hostname", False, 1, dtype=torch.uint8)
        self.training = state[1]


class Adds(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


def write(folder: Path, module: nn.Module, suffix: str) -> Path:
    script = torch.jit.script(module)
    path = folder / f"a{suffix}"
    if suffix == ".ptl":
        script._save_for_lite_interpreter(str(path))
    else:
        torch.jit.save(script, path)
    return path


@pytest.mark.parametrize("suffix", [".ts", ".ptl"])
@pytest.mark.parametrize(("module", "name"), [(Writes(), "save"), (Reads(), "from_file")])
def test_programs_that_reach_out(
    module: nn.Module, name: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, module, suffix)
    with pytest.raises(ValueError, match=rf"a{suffix}' cannot be loaded: it calls '[a-z:]*{name}'"):
        require_pure_program(path)
    with unsafe_files():
        require_pure_program(path)
    (obstacle,) = inspect_artefact(path).verdicts["installed"].obstacles
    assert f"{name}', and a program that reads or writes files is not run" in obstacle
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("part", ["code/a.py", "CODE/A.PY"])
@pytest.mark.parametrize("gap", [b"", b" \n\t", b" # a comment (\n", b" \\\n ", b"#a\n#b\n"])
def test_what_may_stand_before_a_parenthesis(tmp_path: Path, gap: bytes, part: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.ts", "w") as archive:
        archive.writestr(f"a/{part}", b"x = (torch.save" + gap + b"(y, 'made'))")
    with pytest.raises(ValueError, match="it calls 'save', and a program that reads or writes"):
        require_pure_program(tmp_path / "a.ts")


def test_archives_that_two_readers_read_differently(tmp_path: Path) -> None:
    path = write(tmp_path, Adds(), ".ts")
    content = path.read_bytes()
    path.write_bytes(content + b"more")
    with pytest.raises(ValueError, match=r"a.ts"):
        require_pure_program(path)
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0].upper(), b"")
    with pytest.raises(zipfile.BadZipFile, match="have one name"), open_archive(path):
        pass


@pytest.mark.parametrize("suffix", [".ts", ".ptl"])
def test_others_are_let_through(tmp_path: Path, suffix: str) -> None:
    require_pure_program(write(tmp_path, Adds(), suffix))


def test_archives_that_unpack_to_too_much(tmp_path: Path) -> None:
    path = tmp_path / "a.ptl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("data.pkl", "code/a.py", "extra/description.json"):
            archive.writestr(f"a/{name}", bytes(40 * 2**20))
    with (
        pytest.raises(OversizedError, match=r"unpacks 1\d\d,\d+ bytes to 125,829,120"),
        open_archive(path),
    ):
        pass
    with pytest.raises(ValueError, match=r"a.ptl' cannot be loaded: it unpacks"):
        require_pure_program(path)
    with pytest.raises(UnreadableFileError, match=r"cannot be looked into: it unpacks"):
        inspect_artefact(path)
    with pytest.raises(ValueError, match="d2seg did not export it"):
        read_description(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"text", "is neither a .ptl nor a .pte"),
        (b"PK\x03\x04", "is truncated"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.ptl").write_bytes(content)
    for read in (require_pure_program, read_description):
        with pytest.raises(UnreadableFileError, match=rf"a.ptl' {message}"):
            read(tmp_path / "a.ptl")


@pytest.mark.parametrize("suffix", [".ts", ".ptl"])
def test_damage_within_a_weight(tmp_path: Path, suffix: str) -> None:
    model = nn.Linear(100, 50)
    path = write(tmp_path, model, suffix)
    content = bytearray(path.read_bytes())
    weights = model.weight.detach().numpy().tobytes()
    content[content.index(weights) + len(weights) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=rf"a{suffix}' is damaged: '.*' in it fails its"):
        require_pure_program(path)
