import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import d2seg
from d2seg.features import open_store
from d2seg.features.store import FORMATS, load_folder

pytest.importorskip("zarr")
parquet = pytest.importorskip("pyarrow.parquet")
if os.name != "posix":
    pytest.skip("SIGKILL is of POSIX", allow_module_level=True)

SCRIPT = Path(__file__).with_name("killed_writer.py")
WRITER: dict[str, Any] = runpy.run_path(str(SCRIPT))
NAMES, ENDS = WRITER["NAMES"], WRITER["ENDS"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders FORMAT/END in which a writer was killed."""
    folder = tmp_path_factory.mktemp("killed")
    environment = {**os.environ, "PYTHONPATH": str(Path(d2seg.__file__).parents[1])}
    subprocess.run([sys.executable, SCRIPT, folder], check=True, env=environment, timeout=120)
    return folder


def check_whole(folder: Path) -> set[str]:
    """Check that what is listed is of one write each, and return the names."""
    loaded = load_folder(folder)
    for name, (tensors, description) in loaded.items():
        index = NAMES.index(name)
        assert tensors["instances.boxes"].shape == (index, 4)
        assert tensors["box_head"].shape == (index, 500)
        assert all(bool((tensor == description["value"]).all()) for tensor in tensors.values())
    return set(loaded)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("end", ENDS)
def test_a_killed_run_leaves_whole_images_and_is_completed(
    outputs: Path, format: str, end: str
) -> None:
    folder = outputs / format / end
    left = list(folder.glob(".*"))
    assert left or not end.startswith("fsync")  # else nothing was interrupted
    for part in folder.glob("*.parquet"):  # what DuckDB reads, hidden files too
        assert parquet.read_table(part).num_columns == 12
    listed = check_whole(folder)
    in_flight = {"safetensors": 1, "zarr": 1, "parquet": 3}[format]
    assert len(listed & set(NAMES[: WRITER["SETTLED"]])) >= WRITER["SETTLED"] - in_flight
    with open_store(folder, format) as store:
        assert store.complete() == listed
        assert not list(folder.glob(".*"))
        for index, name in enumerate(NAMES):
            if name not in listed:
                WRITER["write"](store, index, 0)
    assert check_whole(folder) == set(NAMES)
    assert not list(folder.glob(".*"))
