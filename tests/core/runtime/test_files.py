"""Writing whole files or none, and the project's own path prefixes."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from d2seg.core.runtime.files import PathManager, remove_unfinished, replace_when_complete


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.txt"
    with replace_when_complete(target) as path:
        assert path.suffix == ".txt"
        path.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("earlier")
    with pytest.raises(RuntimeError), replace_when_complete(target) as path:
        path.write_text("half")
        raise RuntimeError
    assert target.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_no_folders_but_those_that_are_used(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replace_when_complete(tmp_path / "a" / "b" / "out") as path:
        (tmp_path / "a" / "of another").touch()
        path.write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "of another"]


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with pytest.raises(OSError, match=r"No space left.*out\.txt"), replace_when_complete(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


def test_errors_that_are_not_of_the_disk_stay_as_they_are(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with pytest.raises(ConnectionResetError) as caught, replace_when_complete(target):
        raise ConnectionResetError(errno.ECONNRESET, "reset")
    assert caught.value.filename is None


def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with replace_when_complete(tmp_path / "out") as path:
        path.write_text("x")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_shipped_files_have_a_prefix() -> None:
    assert PathManager.isfile("d2seg://nuclei.yaml")
    assert not PathManager.exists("d2seg://no_such_file")
    with PathManager.open("d2seg://nuclei.yaml") as file:
        assert "nuclei.safetensors" in file.read()


def test_the_content_is_on_the_disk_before_the_name(tmp_path: Path) -> None:
    target, flushed = tmp_path / "out.txt", []

    def flush(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_ino, target.exists()))

    with mock.patch("os.fsync", flush), replace_when_complete(target) as path:
        path.write_text("whole")
    assert flushed == [(target.stat().st_ino, False)]


KILLED = """
import os, sys
from d2seg.core.runtime.files import replace_when_complete
files = [replace_when_complete(name) for name in sys.argv[1:]]
for file in files:
    file.__enter__().write_text("half")
os._exit(1)
"""


def test_only_what_killed_programs_left_is_removed(tmp_path: Path) -> None:
    names = ["model_1.pth", "last_checkpoint", "metrics.json"]
    command = [sys.executable, "-c", KILLED, *names]
    subprocess.run(command, cwd=tmp_path, env=_environment(), check=False)
    assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / ".model_2.pth").touch()
    (tmp_path / "model_1-abcdefgh.pth").touch()
    with replace_when_complete(tmp_path / "model_3.pth") as running:
        running.write_text("half")
        removed = remove_unfinished(tmp_path, r"model_.*\.pth|last_checkpoint")
    assert [path.name.rpartition("-")[0] for path in removed] == [".last_checkpoint", ".model_1"]
    left = sorted(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert left == [".metrics", ".model_2.pth", "model_1", "model_3.pth"]
    assert remove_unfinished(tmp_path / "no_such_folder", ".*") == []


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
