"""Files of this torch in the lite interpreter of torch 2.1.0, the twin of the Android runtime."""

from pathlib import Path
from typing import Any

import pytest

from d2seg.assets import DEMO_CONFIG_FILE
from d2seg.config import load_config
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.eager import detect_eagerly
from d2seg.export.schema import output_schema
from d2seg.export.torchscript import has_xnnpack, save_torchscript
from d2seg.export.weights import reduce_weights
from d2seg.inspect import inspect_artefact
from tests.core.modeling.thin import thin_config, thin_model
from tests.export.models import pictures
from tests.export.twin import VERSION
from tests.export.twin_cases import (
    FAMILIES,
    THRESHOLD,
    Case,
    ask_twin,
    compare_all,
    demo_model,
    nuclei_images,
    outputs_of,
)

pytestmark = pytest.mark.slow

WEIGHTS = ["fp32", "half", "int8"]


def nuclei_cases(folder: Path) -> dict[str, Case]:
    """Write the demo model in every way of storing weights, prepacked too where that can be."""
    model = demo_model()
    names = [output.name for output in output_schema(load_config(DEMO_CONFIG_FILE))]
    images = nuclei_images()
    eager = [detect_eagerly(model, image) for image in images]
    deployable, cases = DeployableRCNN(model), {}
    for weights in WEIGHTS:
        stored = reduce_weights(deployable, weights)
        expected = eager if weights == "fp32" else outputs_of(stored, names, images)
        cases[weights] = Case(folder / f"{weights}.ptl", images, names, expected)
        save_torchscript(stored, cases[weights].path, {})
    if has_xnnpack():
        cases["prepacked"] = Case(folder / "prepacked.ptl", images, names, eager)
        save_torchscript(deployable, cases["prepacked"].path, {}, optimize=True)
    return cases


def family_case(name: str, folder: Path) -> Case:
    """Write a thin model of a family."""
    opts = THRESHOLD | FAMILIES[name]
    model = thin_model(opts)
    path = folder / f"{name}.ptl"
    save_torchscript(DeployableRCNN(model), path, {})
    names = [output.name for output in output_schema(thin_config(opts))]
    return Case(path, pictures(), names, [detect_eagerly(model, one) for one in pictures()])


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("files")
    families = {name: family_case(name, folder) for name in FAMILIES}
    torchvision = Case(folder / "torchvision.ptl", pictures()[:1], [], [])
    save_torchscript(DeployableRCNN(thin_model(), aten_only=False), torchvision.path, {})
    return {**nuclei_cases(folder), **families, "torchvision": torchvision}


@pytest.fixture(scope="module")
def twin(
    cases: dict[str, Case],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """Run all files in one process of the twin."""
    return ask_twin(cases, request.config, tmp_path_factory.mktemp("twin"))


def test_it_is_the_version_and_has_no_torchvision(twin: dict[str, Any]) -> None:
    assert twin["torch"].partition("+")[0] == VERSION
    assert twin["loaded"] == []


@pytest.mark.parametrize("name", [*WEIGHTS, "prepacked"])
def test_demo_model_finds_the_same(
    name: str, twin: dict[str, Any], cases: dict[str, Case], record_property: Any
) -> None:
    if name not in cases:
        pytest.skip("this torch has no XNNPACK")
    counts, worst = compare_all(cases[name], twin["results"][name])
    assert min(counts[:-1]) > 0
    assert sum(counts) > 80
    assert counts[-1] == 0  # the empty image
    record_property(
        f"{name} in torch {VERSION}", f"{counts} detections, boxes within {worst:.1e} px"
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_finds_the_same(
    name: str, twin: dict[str, Any], cases: dict[str, Case]
) -> None:
    counts, _ = compare_all(cases[name], twin["results"][name])
    assert sum(counts) > 40


def test_inspect_knows_what_the_twin_loads(twin: dict[str, Any], cases: dict[str, Case]) -> None:
    for name, case in cases.items():
        verdict = inspect_artefact(case.path, [VERSION]).verdicts[VERSION]
        assert verdict.loads == isinstance(twin["results"][name], list), (name, verdict)
    refused = twin["results"]["torchvision"]
    assert "torchvision::nms" in refused
    assert "torchvision::roi_align" in refused
