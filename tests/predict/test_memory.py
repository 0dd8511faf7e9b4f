"""What 100 objects in an image of 4000 x 3000 pixels take; as pixels they are 1200 MB."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunPython

pytest.importorskip("supervision")
pytest.importorskip("pandas")

PROGRAM = """
import numpy as np, torch
from d2seg.framework import GenericMask
from d2seg.predict.conversion import require
from d2seg.predict.masks import BoxMasks, ImageMasks
from d2seg.predict.prediction import Prediction
from d2seg.predict.show import Drawer

SIZE_HW = (3000, 4000)

def megabytes(name):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) / 1e3

def measure(name, function):
    open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
    before = megabytes("VmRSS")
    result = function()
    print(name, round(megabytes("VmHWM") - before))
    return result

for package in ("supervision", "pandas"):
    require(package, "this")
corners = torch.rand(100, 2) * torch.tensor([3600.0, 2600.0])
boxes = torch.cat([corners, corners + 400], 1)
masks = BoxMasks(torch.rand(100, 28, 28).sqrt(), boxes, SIZE_HW)
scores, classes = torch.rand(100), torch.zeros(100, dtype=torch.int64)
small = Prediction(boxes, scores, classes, ("thing",), SIZE_HW, mask_source=masks)
runs = measure("rle", small.rle)
finished = ImageMasks(runs, SIZE_HW)
large = Prediction(boxes, scores, classes, ("thing",), SIZE_HW, mask_source=finished)
image = np.zeros((*SIZE_HW, 3), np.uint8)
for kind, found in (("box", small), ("image", large)):
    measure(f"{kind} coco", lambda: found.to_coco(1))
    measure(f"{kind} table", found.to_dataframe)
    measure(f"{kind} supervision", found.to_supervision)
    measure(f"{kind} drawing", lambda: Drawer().draw(image, found))
few = small[:3]
measure("polygons", few.to_polygons)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_area_times_the_objects(
    run_python: RunPython, record_property: Any
) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell how much memory a process had at most")
    done = run_python("-W", "ignore", "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    peaks = {line.rpartition(" ")[0]: int(line.split()[-1]) for line in done.stdout.splitlines()}
    assert len(peaks) == 10
    for what, megabytes in peaks.items():
        # The picture alone is 36 MB; a drawing takes a few copies of it, an image mask 12 MB.
        assert megabytes < (200 if "drawing" in what else 60), peaks
    record_property("100 objects, 4000 x 3000, MB at most", peaks)
