"""Writing whole files or none, and the project's own path prefixes."""

from pathlib import Path

import pytest

from d2seg.core.runtime.files import PathManager, replace_when_complete


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
