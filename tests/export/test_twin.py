"""Files of this torch in the lite interpreter of torch 2.1.0, the twin of the Android runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.config import load_config
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.eager import Detections, detect_eagerly
from d2seg.export.parity import compare_detections
from d2seg.export.schema import output_schema
from d2seg.export.torchscript import RunFile, has_xnnpack, save_torchscript
from d2seg.export.weights import reduce_weights
from d2seg.framework import DetectionCheckpointer, build_model
from d2seg.images import find_images, load_image
from d2seg.inspect import inspect_artefact
from d2seg.postprocess import resize_shortest_edge
from tests.core.modeling.thin import _HEADS as HEADS
from tests.core.modeling.thin import ARCHITECTURES, thin_config, thin_model
from tests.export.models import pictures
from tests.export.twin import VERSION, find_twin, run_in_twin

pytestmark = pytest.mark.slow

CUTS_HW = ((160, 224), (97, 131), (33, 45))
WEIGHTS = ["fp32", "half", "int8"]
FAMILIES: dict[str, dict[str, Any]] = {
    "Faster R-CNN": {"MODEL.MASK_ON": False},
    "Mask R-CNN C4": ARCHITECTURES["c4"],
    "Mask R-CNN DC5": ARCHITECTURES["dc5"],
    "Keypoint R-CNN": {**ARCHITECTURES["keypoints"], "MODEL.MASK_ON": False},
    "Cascade Mask R-CNN": ARCHITECTURES["cascade"],
    "RetinaNet": {**ARCHITECTURES["retinanet_bn"], "MODEL.RETINANET.SCORE_THRESH_TEST": 0.01},
}


@dataclass(frozen=True)
class Case:
    """A file, the images to run it on, and what must come out.

    Attributes:
        path: The file.
        images: Each (3, H, W).
        names: Of the outputs.
        expected: What runs here, for each image.
    """

    path: Path
    images: list[Tensor]
    names: list[str]
    expected: list[Detections]


def nuclei_images() -> list[Tensor]:
    """Return real images of four sizes, and one that shows nothing but the grain of a camera."""
    whole = torch.from_numpy(load_image(find_images([DEMO_IMAGES])[0])).permute(2, 0, 1).float()
    enlarged = resize_shortest_edge(whole, 320, 320)
    images = [enlarged, *(whole[:, -height:, -width:] for height, width in CUTS_HW)]
    grain = torch.randn(3, 200, 176, generator=torch.Generator().manual_seed(0))
    return [*images, (whole.median() + 2 * grain).round().clamp(0, 255)]


def outputs_of(run: RunFile, names: Sequence[str], images: Sequence[Tensor]) -> list[Detections]:
    with torch.inference_mode():
        return [Detections.from_outputs(names, run(image)) for image in images]


def nuclei_cases(folder: Path) -> dict[str, Case]:
    """Write the demo model in every way of storing weights, prepacked too where that can be."""
    cfg = load_config(DEMO_CONFIG_FILE)
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    names, images = [output.name for output in output_schema(cfg)], nuclei_images()
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
    opts = {**HEADS, "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.25, **FAMILIES[name]}
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
    python = find_twin(Path(request.config.cache.mkdir(f"torch-{VERSION}")))
    jobs = [(case.path, case.images) for case in cases.values()]
    answer = run_in_twin(python, jobs, tmp_path_factory.mktemp("twin"))
    return {**answer, "results": dict(zip(cases, answer["results"], strict=True))}


def test_it_is_the_version_and_has_no_torchvision(twin: dict[str, Any]) -> None:
    assert twin["torch"].partition("+")[0] == VERSION
    assert twin["loaded"] == []


def compare_all(case: Case, results: Any) -> tuple[list[int], float]:
    """Compare detections image by image; return how many there were and the worst box."""
    assert isinstance(results, list), results
    counts, worst = [], 0.0
    for image, expected, outputs in zip(case.images, case.expected, results, strict=True):
        size_hw = (image.shape[1], image.shape[2])
        found = Detections.from_outputs(case.names, outputs)
        parity = compare_detections(size_hw, expected, found)
        assert parity.passed, parity
        assert outputs[-1].tolist() == list(size_hw)
        counts.append(parity.num_eager)
        worst = max(worst, parity.box_difference if parity.num_matched else 0.0)
    return counts, worst


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
