import re
from importlib import import_module

import pytest

import d2seg
from tests.conftest import ROOT, RunPython


def test_importing_the_package_loads_no_torch(run_python: RunPython) -> None:
    done = run_python("-c", "import sys, d2seg; print(d2seg.__version__, 'torch' in sys.modules)")
    assert (done.returncode, done.stdout.split()) == (0, [d2seg.__version__, "False"]), done.stderr


def test_importing_the_package_is_quick(run_python: RunPython) -> None:
    """The quickest of three: whatever else the machine does only adds to the time."""
    program = "; ".join(
        [
            "import torch, time",
            "start = time.perf_counter()",
            "import d2seg",
            "print(time.perf_counter() - start)",
        ]
    )
    seconds = [float(run_python("-c", program).stdout) for _ in range(3)]
    assert min(seconds) < 0.3


@pytest.mark.parametrize("name", sorted(set(d2seg.__all__) - {"__version__"}))
def test_public_names_come_from_their_home(name: str) -> None:
    value = getattr(d2seg, name)
    assert value is getattr(import_module(d2seg._HOMES[name]), name)
    assert callable(value)


def test_public_names_are_listed() -> None:
    assert set(d2seg.__all__) == {*d2seg._HOMES, "__version__"}
    assert set(d2seg.__all__) <= set(dir(d2seg))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'd2seg' has no attribute 'build_modle'"):
        d2seg.build_modle  # noqa: B018  (the access is the test)


def module_names() -> list[str]:
    """Name every module of the package from its file, without importing any."""
    files = (path.relative_to(ROOT) for path in (ROOT / "d2seg").rglob("*.py"))
    return sorted(".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files)


@pytest.mark.parametrize("name", module_names())
def test_every_module_can_be_imported(name: str) -> None:
    assert import_module(name).__doc__, f"{name} has no docstring"


def test_the_changelog_knows_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert d2seg.__version__ in changelog


def test_constraints_pin_every_dependency_of_setup() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    wanted = setup[setup.index("install_requires=") : setup.index("entry_points=")]
    lists = re.findall(r"\[(.*?)\]", wanted, re.DOTALL)
    needed = {name for block in lists for name in re.findall(r'"([\w-]+)', block)}
    pinned = set(re.findall(r"^([\w-]+)==", pins, re.MULTILINE))
    assert needed == pinned
