import importlib
import importlib.util
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import d2seg.core
from d2seg import compat
from tests.conftest import RunPython


@pytest.fixture
def alias() -> Iterator[None]:
    if "detectron2" in sys.modules and not compat.installed():
        pytest.skip("the real detectron2 has been imported into this process")
    compat.install()
    yield
    compat.uninstall()


@pytest.mark.usefixtures("alias")
def test_modules_and_classes_are_the_same_objects() -> None:
    alias_module = importlib.import_module("detectron2.structures.instances")
    core_module = importlib.import_module("d2seg.core.structures.instances")
    assert alias_module is core_module
    assert sys.modules["detectron2"] is d2seg.core
    assert alias_module.Instances is importlib.import_module("detectron2.structures").Instances


@pytest.mark.usefixtures("alias")
def test_the_alias_leaves_the_modules_own_identity() -> None:
    module = importlib.import_module("detectron2.structures.boxes")
    assert module.__name__ == "d2seg.core.structures.boxes"
    assert module.__spec__ is not None
    assert module.__spec__.name == "d2seg.core.structures.boxes"


@pytest.mark.usefixtures("alias")
def test_find_spec_and_version_work() -> None:
    before_import = importlib.util.find_spec("detectron2")
    assert before_import is not None
    assert before_import.origin == d2seg.core.__file__
    assert before_import.submodule_search_locations is not None
    assert importlib.import_module("detectron2").__version__ == d2seg.core.__version__
    assert importlib.util.find_spec("detectron2") is not None


@pytest.mark.usefixtures("alias")
def test_a_pickle_of_detectron2_loads() -> None:
    named_by_detectron2 = b"cdetectron2.structures.instances\nInstances\n."
    core_module = importlib.import_module("d2seg.core.structures.instances")
    assert pickle.loads(named_by_detectron2) is core_module.Instances
    assert pickle.loads(pickle.dumps(core_module.Instances)) is core_module.Instances


@pytest.mark.usefixtures("alias")
@pytest.mark.parametrize("name", ["point_rend", "deeplab"])
def test_projects_are_served(name: str) -> None:
    project = importlib.import_module(f"detectron2.projects.{name}")
    assert project is importlib.import_module(f"d2seg.core.projects.{name}")
    assert getattr(importlib.import_module("detectron2.projects"), name) is project


@pytest.mark.usefixtures("alias")
@pytest.mark.parametrize(
    "name", ["detectron2.projects.panoptic_deeplab", "detectron2.structures.nothing"]
)
def test_a_missing_module_is_named_as_detectron2s(name: str) -> None:
    message = f"No module named '{name}': d2seg's embedded framework, .* does not have it"
    with pytest.raises(ModuleNotFoundError, match=message) as caught:
        importlib.import_module(name)
    assert caught.value.name == name


@pytest.mark.usefixtures("alias")
def test_install_twice_and_uninstall_twice() -> None:
    importlib.import_module("detectron2.structures")
    finders = len(sys.meta_path)
    compat.install()
    assert len(sys.meta_path) == finders
    compat.uninstall()
    compat.uninstall()
    assert not compat.installed()
    assert len(sys.meta_path) == finders - 1
    assert not [name for name in sys.modules if name.split(".")[0] == "detectron2"]


@pytest.mark.parametrize("first", ["detectron2", "d2seg.core"])
def test_either_name_may_be_imported_first(run_python: RunPython, first: str) -> None:
    second = {"detectron2": "d2seg.core", "d2seg.core": "detectron2"}[first]
    done = run_python(
        "-c",
        "from d2seg import compat; compat.install()\n"
        f"import {first}.structures.masks, {second}.structures.masks, {second}.layers\n"
        f"from {first} import layers\n"
        f"assert {first}.structures.masks is {second}.structures.masks\n"
        f"assert {first}.structures is {second}.structures and layers is {second}.layers\n",
    )
    assert done.returncode == 0, done.stderr


def test_an_imported_detectron2_is_not_replaced(run_python: RunPython, tmp_path: Path) -> None:
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").touch()
    code = "import detectron2; from d2seg import compat; compat.install()"
    done = run_python("-c", code, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "RuntimeError: The real detectron2 has already been imported from" in done.stderr


def test_an_importable_detectron2_is_hidden(run_python: RunPython, tmp_path: Path) -> None:
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("__version__ = 'real'\n")
    code = (
        "from d2seg import compat; compat.install(); import detectron2\n"
        "print(detectron2.__name__); compat.uninstall(); import detectron2\n"
        "print(detectron2.__version__)"
    )
    done = run_python("-c", code, PYTHONPATH=str(tmp_path))
    assert done.stdout.split() == ["d2seg.core", "real"], done.stderr


def test_a_clone_in_the_working_directory_is_no_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "detectron2").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert compat.find_real_detectron2() is None
    (tmp_path / "detectron2" / "__init__.py").touch()
    importlib.invalidate_caches()
    assert compat.find_real_detectron2() is not None


def test_heads_of_a_project_are_registered_and_trained(run_python: RunPython) -> None:
    project = Path(__file__).parent / "data" / "project_heads.py"
    code = (
        "import runpy; from d2seg import compat; compat.install()\n"
        f"runpy.run_path({str(project)!r}, run_name='__main__')"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "d2seg.core loss_box_reg loss_cls loss_project loss_rpn_cls loss_rpn_loc",
        "3.0",
        "True",
        "True",
        "(64, 96)",
    ]
