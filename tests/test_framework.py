import ast
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from d2seg import compat, framework
from tests.conftest import RunPython

STAND_IN_MODULES = (
    "checkpoint",
    "config",
    "data",
    "data.datasets",
    "data.detection_utils",
    "data.samplers",
    "data.transforms",
    "engine",
    "evaluation",
    "evaluation.testing",
    "model_zoo",
    "modeling",
    "modeling.poolers",
    "modeling.postprocessing",
    "modeling.roi_heads.fast_rcnn",
    "solver",
    "structures",
    "utils",
    "utils.analysis",
    "utils.events",
    "utils.visualizer",
)


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A folder with a package ``detectron2`` whose modules have any public name one asks for."""
    any_name = (
        "def __getattr__(name):\n"
        "    if name.startswith('_'): raise AttributeError(name)\n"
        "    return type(name, (), {'__module__': __name__})\n"
    )
    checkpointer = (
        "import pickle\n"
        "class DetectionCheckpointer:\n"
        "    def _load_file(self, filename): return pickle.load(open(filename, 'rb'))\n"
    )
    for name in STAND_IN_MODULES:
        folder = tmp_path / "detectron2" / name.replace(".", "/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text(any_name)
    with (tmp_path / "detectron2" / "checkpoint" / "__init__.py").open("a") as file:
        file.write(checkpointer)
    (tmp_path / "detectron2" / "__init__.py").write_text("__version__ = '0.6'\n")
    (tmp_path / "detectron2" / "utils" / "file_io.py").write_text(
        "from iopath.common.file_io import PathManager as Manager\nPathManager = Manager()\n"
    )
    return tmp_path


def without_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "find_real_detectron2", lambda: None)
    monkeypatch.setattr(compat, "installed", lambda: False)


def test_all_names_are_there() -> None:
    assert framework.FRAMEWORK in {"core", "detectron2"}
    assert framework.REASON
    assert all(hasattr(framework, name) for name in framework.__all__)


def test_type_checkers_see_the_names_that_are_there() -> None:
    tree = ast.parse(Path(framework.__file__).read_text(encoding="utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    )
    declared = {
        alias.name: str(node.module).removeprefix("d2seg.core").removeprefix(".")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == framework._HOMES
    assert {*declared, "FRAMEWORK", "REASON"} == set(framework.__all__)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="'d2seg.framework' has no attribute 'build_modle'"):
        framework.build_modle  # noqa: B018  (the access is the test)


def test_the_shipped_files_have_an_address() -> None:
    with framework.PathManager.open("d2seg://nuclei.yaml") as file:
        assert "d2seg://nuclei.safetensors" in file.read()


def test_core_is_taken_when_asked_for() -> None:
    assert framework.choose_framework("core") == ("core", "D2SEG_FRAMEWORK=core asks for it")


def test_auto_takes_core_without_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    without_detectron2(monkeypatch)
    assert framework.choose_framework("auto") == ("core", "detectron2 is not installed")


def test_auto_does_not_take_the_alias_for_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "installed", lambda: True)
    name, reason = framework.choose_framework("auto")
    assert name == "core"
    assert "d2seg.compat serves the name detectron2" in reason


def test_auto_falls_back_when_detectron2_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise AttributeError("module 'PIL.Image' has no attribute 'LINEAR'")

    without_detectron2(monkeypatch)
    monkeypatch.setattr(compat, "find_real_detectron2", SimpleNamespace)
    monkeypatch.setattr(framework, "import_module", fail)
    name, reason = framework.choose_framework("auto")
    assert name == "core"
    assert "cannot be imported (AttributeError: module 'PIL.Image' has no" in reason


def test_a_wrong_choice_names_the_right_ones() -> None:
    message = r"D2SEG_FRAMEWORK is 'Core'; use one of auto, core, detectron2\."
    with pytest.raises(ValueError, match=message):
        framework.choose_framework("Core")


def test_asking_for_a_missing_detectron2_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    without_detectron2(monkeypatch)
    message = "but detectron2 is not installed; install detectron2, or set D2SEG_FRAMEWORK=core"
    with pytest.raises(ImportError, match=message):
        framework.choose_framework("detectron2")


@pytest.mark.parametrize("wanted", ["auto", "detectron2"])
def test_an_installed_detectron2_serves(run_python: RunPython, stand_in: Path, wanted: str) -> None:
    code = (
        "from d2seg import framework as f\n"
        "print(f.FRAMEWORK, f.Boxes.__module__, f.DefaultPredictor.__module__, f.REASON)\n"
        "print(f.PathManager.isfile('d2seg://nuclei.yaml'))"
    )
    done = run_python("-c", code, PYTHONPATH=str(stand_in), D2SEG_FRAMEWORK=wanted)
    who, shipped = done.stdout.splitlines() or [done.stderr, ""]
    reason = {"auto": "it is installed", "detectron2": "D2SEG_FRAMEWORK=detectron2 asks for it"}
    assert who == f"detectron2 detectron2.structures detectron2.engine {reason[wanted]}"
    assert shipped == "True"


def test_the_environment_can_overrule_an_installed_detectron2(
    run_python: RunPython, stand_in: Path
) -> None:
    code = "from d2seg import framework as f; print(f.FRAMEWORK, f.Boxes.__module__)"
    done = run_python("-c", code, PYTHONPATH=str(stand_in), D2SEG_FRAMEWORK="core")
    assert done.stdout.split() == ["core", "d2seg.core.structures.boxes"], done.stderr


def test_an_installed_detectron2_gets_checked_files_only(
    run_python: RunPython, stand_in: Path, tmp_path: Path
) -> None:
    good, evil = tmp_path / "good.pkl", tmp_path / "evil"
    good.write_bytes(pickle.dumps({"model": {}}))
    tensors = tmp_path / "good.safetensors"
    save_file({"a": torch.ones(2)}, tensors)
    code = (
        "import sys, detectron2.checkpoint as c\n"
        "from d2seg import framework as f\n"
        "assert f.DetectionCheckpointer is c.DetectionCheckpointer\n"
        "for path in sys.argv[1:]: print(f.DetectionCheckpointer()._load_file(path))"
    )
    done = run_python("-c", code, str(good), str(tensors), PYTHONPATH=str(stand_in))
    assert done.stdout == "{'model': {}}\n{'model': {'a': tensor([1., 1.])}}\n", done.stderr
    for suffix in (".pkl", ".pth", ".safetensors", ".pyth"):
        path = evil.with_suffix(suffix)
        path.write_bytes(b"cos\nmkdir\n(S'" + str(tmp_path / "made").encode() + b"'\ntR.")
        done = run_python("-c", code, str(path), PYTHONPATH=str(stand_in))
        assert f"evil{suffix}' cannot be read: it " in done.stderr
        assert not (tmp_path / "made").exists()
