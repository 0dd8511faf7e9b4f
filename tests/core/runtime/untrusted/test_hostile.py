"""A folder of hostile files, and ten thousand damaged ones: all are data, or refused."""

import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.conftest import RunPython
from tests.core.runtime.untrusted.hostile import pickles_that_run, write_files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")

MOST_MEGABYTES = 200
NUM_MUTANTS = 10_000

Watch = Callable[..., dict[str, Any]]


@pytest.fixture
def watch(run_python: RunPython, tmp_path: Path) -> Watch:
    """Return a function that reads the files of ``tmp_path / "files"`` in another process."""
    for name in ("warm", "files"):
        (tmp_path / name).mkdir()
    write_good_files(tmp_path / "warm")

    def run(*arguments: object) -> dict[str, Any]:
        module = "tests.core.runtime.untrusted.watch"
        done = run_python("-m", module, str(tmp_path / "files"), *map(str, arguments))
        assert done.returncode == 0, done.stderr[-2000:]
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    return run


def write_good_files(folder: Path) -> None:
    model = nn.BatchNorm2d(3)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3, 4, 5)).sum().backward()
    optimizer.step()
    value = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iteration": 7}
    torch.save(value, folder / "new.pth")
    torch.save({**value, "best": np.float64(1)}, folder / "numpy.pth")
    torch.save(value, folder / "old.pth", _use_new_zipfile_serialization=False)
    for protocol in (0, 2, 5):
        zoo = {"model": state, "__author__": "me", "matching_heuristics": True}
        (folder / f"zoo{protocol}.pkl").write_bytes(pickle.dumps(zoo, protocol))
    blobs = {"conv1_w": state["weight"], "conv1_b": state["bias"]}
    (folder / "caffe2.pkl").write_bytes(pickle.dumps({"blobs": blobs, "cfg": "x"}, 2))
    save_file(model.state_dict(), folder / "a.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Linear(2, 3))._save_for_lite_interpreter(str(folder / "a.ptl"))
    (folder / "a.yaml").write_text(
        "MODEL: &m\n  META_ARCHITECTURE: GeneralizedRCNN\n  MASK_ON: true\n"
        "  PIXEL_MEAN: [103.53, 116.28, 123.675]\n  COPY: &c {A: 1e-3, B: 0x1f}\n"
        'SIZES: !!python/object/apply:eval ["[[x, x * 2**(1.0/3)] for x in [32, 64]]"]\n'
        "SOLVER: {STEPS: !!python/tuple [60000, 80000], <<: *c}\nOTHER: [*c, 'text', \"\\x41\"]\n"
    )


def test_the_files_are_hostile(tmp_path: Path) -> None:
    """Python's own unpickler runs what the pickles ask for."""
    made = tmp_path / "made"
    program = (
        "import copyreg, pickle, sys, subprocess, pathlib, os, argparse\n"
        "copyreg.add_extension('os', 'system', 0x77)\n"
        "try: found = pickle.loads(sys.stdin.buffer.read())\n"
        "except Exception: found = None\n"
        "if isinstance(found, subprocess.Popen): found.wait()\n"
    )
    for name, data in pickles_that_run(f"touch {made}").items():
        subprocess.run(
            [sys.executable, "-c", program], input=data, check=True, stderr=subprocess.DEVNULL
        )
        assert made.exists(), name
        made.unlink()


def test_a_folder_of_hostile_files(
    watch: Watch, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    made = tmp_path / "made"
    count = write_files(tmp_path / "files", f"touch {made}")
    report = watch()
    assert not made.exists()
    assert report["events"] == []
    assert 0 < report["megabytes"] < MOST_MEGABYTES
    reasons = report["reasons"]
    assert len(reasons) == count
    assert {name for name, reason in reasons.items() if not reason} == LOADED
    for name, asked in ASKED.items():
        for suffix in (".pkl", ".zip.pth", ".old.pth"):
            assert f"it refers to {asked!r}, and only" in reasons[name + suffix]
    record_property("files", count)
    record_property("more memory at the peak, MB", round(report["megabytes"]))


LOADED = {"set_attributes.pkl"}
"""It sets attributes, which are not read, of an empty dict."""

ASKED = {
    "reduce": "os.system",
    "stack_global": "os.system",
    "inst": "os.system",
    "obj": "subprocess.Popen",
    "newobj": "__builtin__.list",
    "newobj_ex": "builtins.list",
    "extension": "extension 119",
    "eval": "__builtin__.eval",
    "exec": "builtins.exec",
    "pickle": "pickle.loads",
    "getattr": "__builtin__.getattr",
    "dotted": "pathlib.os.system",
    "object_array": "posix.system",
    "torch.jit.load": "torch.jit.load",
    "dotted_attribute": "collections.OrderedDict.__init__.__globals__",
}


@pytest.mark.slow
def test_ten_thousand_mutants(
    watch: Watch, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    write_good_files(tmp_path / "files")
    report = watch(0, NUM_MUTANTS)
    assert not list(tmp_path.rglob("made"))
    assert report["events"] == []
    assert 0 < report["megabytes"] < MOST_MEGABYTES
    outcomes = report["outcomes"]
    assert sum(outcomes.values()) == NUM_MUTANTS
    for suffix in (".pth", ".pkl", ".safetensors", ".yaml", ".ptl"):
        assert min(outcomes[f"{suffix} loaded"], outcomes[f"{suffix} refused"]) > 20
    record_property("mutants", ", ".join(f"{n} {kind}" for kind, n in sorted(outcomes.items())))
    record_property("more memory at the peak, MB", round(report["megabytes"]))
