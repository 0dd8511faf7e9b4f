import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import ROOT

BUILD_INPUTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "d2seg", "configs")
MINIMUM_SETUPTOOLS = (70, 1)


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build a wheel from a copy of the checkout, offline, and list what is in it."""
    if tuple(int(part) for part in version("setuptools").split(".")[:2]) < MINIMUM_SETUPTOOLS:
        pytest.skip("the environment's setuptools cannot build wheels; install d2seg[dev]")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name in BUILD_INPUTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = target.glob("d2seg-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def packaged(folder: Path, inside: str) -> set[str]:
    """Return where the data files of a folder of the checkout belong in the wheel."""
    return {
        f"{inside}/{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }


def test_the_wheel_has_the_configs(wheel_names: set[str]) -> None:
    configs = packaged(ROOT / "configs", "d2seg/configs")
    assert "d2seg/configs/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml" in configs
    assert configs <= wheel_names


def test_the_wheel_has_every_data_file_of_the_package(wheel_names: set[str]) -> None:
    data = packaged(ROOT / "d2seg", "d2seg")
    assert {"d2seg/py.typed", "d2seg/assets/nuclei.safetensors"} <= data
    assert data <= wheel_names


def test_the_wheel_has_every_module_and_no_test(wheel_names: set[str]) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "d2seg").rglob("*.py")}
    assert modules <= wheel_names
    assert not [name for name in wheel_names if name.startswith(("tests/", "tools/"))]
