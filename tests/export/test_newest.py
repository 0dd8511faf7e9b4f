"""Files that the newest torch writes, in the lite interpreter of torch 2.1.0."""

from pathlib import Path
from typing import Any

import pytest
import torch

from d2seg.assets import DEMO_CONFIG_FILE
from d2seg.export import read_description
from d2seg.export.eager import detect_eagerly
from tests.core.modeling.thin import thin_config, thin_model
from tests.export.models import pictures
from tests.export.test_export_model import write_pictures
from tests.export.twin import VERSION, newest_torch, write_elsewhere
from tests.export.twin_cases import (
    FAMILIES,
    THRESHOLD,
    Case,
    ask_twin,
    compare_all,
    demo_model,
    nuclei_images,
)


@pytest.mark.slow
def test_torch_2_1_finds_in_them_what_the_model_finds(
    tmp_path: Path, request: pytest.FixtureRequest, record_property: Any
) -> None:
    expected = write_files(newest_torch().find(request.config), tmp_path)
    cases, figures = {}, []
    for folder, (model, images) in expected.items():
        path = folder / "mobile_optimized.ptl"
        description = read_description(path)
        assert torch_version(description.torch_version) > (2, 13)
        names = [output.name for output in description.outputs]
        cases[folder.name] = Case(path, images, names, [detect_eagerly(model, i) for i in images])
    answer = ask_twin(cases, request.config, tmp_path)
    assert torch_version(answer["torch"]) == torch_version(VERSION)
    assert answer["loaded"] == []  # neither torchvision nor d2seg
    for name, case in cases.items():
        counts, worst = compare_all(case, answer["results"][name])
        assert sum(counts) > 40
        figures.append(f"{name} {counts} detections, boxes within {worst:.1e} px")
    assert len(cases["demo"].images) == 5
    assert len(cases["demo"].expected[-1].boxes) == 0  # the empty image
    record_property(f"torch {description.torch_version} to {VERSION}", "; ".join(figures))


def write_files(python: Path, folder: Path) -> dict[Path, tuple[Any, list[torch.Tensor]]]:
    """Let another Python export the demo model, and thin ones of other families.

    It does so by the command line, which verifies each file in its own torch first.

    Returns:
        The folder of each file, and the model and the images to judge it by.
    """
    images = write_pictures(folder / "pictures")
    small = ["INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "160"]
    demo = folder / "demo"
    expected = {demo: (demo_model(), nuclei_images())}
    jobs = [["export", "--config-file", str(DEMO_CONFIG_FILE), "--output", str(demo)]]
    for name in ("Mask R-CNN C4", "Keypoint R-CNN", "RetinaNet"):
        opts = THRESHOLD | FAMILIES[name]
        model = thin_model(opts)
        config, weights = folder / f"{name}.yaml", folder / f"{name}.pth"
        config.write_text(thin_config(opts).dump())
        torch.save({"model": model.state_dict()}, weights)
        job = ["export", "--config-file", str(config), "--output", str(folder / name)]
        jobs.append([*job, "--images", str(images), "--", "MODEL.WEIGHTS", str(weights), *small])
        expected[folder / name] = (model, pictures())
    write_elsewhere(python, jobs)
    return expected


def torch_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.partition("+")[0].split(".")[:2])
