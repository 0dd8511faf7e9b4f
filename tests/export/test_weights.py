"""Weights stored with fewer bits, alone and in files."""

import re
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2seg import cli
from d2seg.export import ParityError, export_model, inspect_file, read_description
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.parity import compare_file
from d2seg.export.torchscript import load_lite, save_torchscript
from d2seg.export.verify import verify_file
from d2seg.export.weights import reduce_weights
from tests.conftest import ROOT
from tests.core.modeling.thin import thin_architecture
from tests.export.models import pictures, thin_config, thin_model

NUCLEI = "d2seg/assets/nuclei.yaml"

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "convolution": (nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(1, 2)), (2, 6, 9, 11)),
    "dilated groups without bias": (
        nn.Conv2d(6, 4, 3, padding=2, dilation=2, groups=2, bias=False),
        (1, 6, 9, 11),
    ),
    "transposed": (nn.ConvTranspose2d(5, 7, 2, stride=2), (1, 5, 4, 6)),
    "transposed, everything": (
        nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2, dilation=2),
        (1, 4, 5, 6),
    ),
    "linear": (nn.Linear(12, 5), (3, 12)),
}


def rounded_by_hand(weight: Tensor, weights: str, axis: int) -> Tensor:
    """Round one channel after the other, in float64."""
    if weights == "half":
        return weight.half().float()
    channels = []
    for channel in weight.double().unbind(axis):
        scale = float(channel.abs().max()) / 127
        channels.append((channel / scale).round() * scale)
    return torch.stack(channels, axis).float()


@pytest.mark.parametrize("weights", ["half", "int8"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_computes_with_rounded_weights(name: str, weights: str) -> None:
    layer, shape = LAYERS[name]
    x = torch.randn(shape)
    reduced = reduce_weights(nn.Sequential(layer), weights)
    rounded: Any = reduce_weights(nn.Sequential(layer), "fp32")[0]  # type: ignore[index]
    before = rounded.weight.detach().clone()
    found = torch.jit.script(reduced)(x)
    assert not torch.equal(found, layer(x))
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    try:
        with torch.no_grad():
            rounded.weight.copy_(rounded_by_hand(before, weights, axis))
            torch.testing.assert_close(found, rounded(x), atol=1e-5, rtol=1e-5)
    finally:
        rounded.weight.data.copy_(before)


def test_int8_keeps_every_channel_within_half_a_step() -> None:
    linear = nn.Linear(64, 3, bias=False)
    with torch.no_grad():
        linear.weight[1] *= 1000  # one scale for all would leave nothing of the others
        linear.weight[2] = 0
    reduced: Any = reduce_weights(nn.Sequential(linear), "int8")
    restored = reduced[0].weight(torch.zeros(1))
    step = linear.weight.abs().amax(dim=1) / 127
    assert ((restored - linear.weight).abs().amax(dim=1) <= 0.501 * step).all()
    assert reduced[0].weight.stored.abs().amax(dim=1).tolist() == [127, 127, 0]


def test_a_shared_layer_stays_one_and_others_stay_as_they_are() -> None:
    conv = nn.Conv2d(3, 3, 1)
    special = type("Special", (nn.Conv2d,), {})(3, 3, 1)
    reflecting = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
    module = nn.Sequential(conv, conv, special, reflecting, nn.GroupNorm(1, 3))
    reduced: Any = reduce_weights(module, "half")
    assert reduced[0] is reduced[1]
    assert [type(layer) for layer in reduced[2:]] == [type(special), nn.Conv2d, nn.GroupNorm]
    assert module[0] is conv
    assert conv.weight.dtype == torch.float32
    assert reduce_weights(module, "fp32") is module


def test_bad_ways_of_storing_are_refused() -> None:
    with pytest.raises(ValueError, match="weights is 'int4'; use one of fp32, half, int8"):
        reduce_weights(nn.Linear(2, 2), "int4")
    linear = nn.Linear(2, 2)
    linear.weight.data[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"A weight of 1e\+06 does not fit float16, which ends at"):
        reduce_weights(nn.Sequential(linear), "half")


@pytest.mark.parametrize(("weights", "share"), [("half", 0.5), ("int8", 0.25)])
@pytest.mark.parametrize("family", ["c4", "cascade", "deformable", "keypoints", "retinanet_bn"])
def test_nearly_all_of_every_family_is_reduced(family: str, weights: str, share: float) -> None:
    full = DeployableRCNN(thin_architecture(family))
    sizes = []
    for module in (full, reduce_weights(full, weights)):
        # Layers that two heads share are there twice, and stored once.
        values = {value.data_ptr(): value for value in module.state_dict().values()}.values()
        sizes.append(sum(value.numel() * value.element_size() for value in values))
    assert share * sizes[0] < sizes[1] < (share + 0.02) * sizes[0]


def stored_bytes(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(
            entry.file_size
            for entry in archive.infolist()
            if "/constants/" in entry.filename and not entry.filename.endswith(".pkl")
        )


@pytest.mark.parametrize(("weights", "share"), [("half", 0.5), ("int8", 0.25)])
def test_freezing_does_not_restore_them(weights: str, share: float, tmp_path: Path) -> None:
    deployable = DeployableRCNN(thin_model())
    for name, module in (("full", deployable), ("less", reduce_weights(deployable, weights))):
        save_torchscript(module, tmp_path / f"{name}.ptl", {})
    full, less = stored_bytes(tmp_path / "full.ptl"), stored_bytes(tmp_path / "less.ptl")
    assert share * full < less < (share + 0.02) * full
    known = (ROOT / "tests/data/torch_2.1.0_operators.txt").read_text().splitlines()
    assert set(inspect_file(tmp_path / "less.ptl").operators) <= set(known)
    module, run = reduce_weights(deployable, weights), load_lite(tmp_path / "less.ptl")
    for image in pictures():
        for expected, found in zip(module(image), run(image), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare on pictures where the thin model is sure of what it finds."""
    monkeypatch.setattr("d2seg.export.verification_images", lambda *_, **__: pictures())


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize("weights", ["half", "int8"])
def test_export_is_verified_and_described(weights: str, tmp_path: Path) -> None:
    report = export_model(thin_model(), thin_config(), tmp_path, weights=weights)
    assert report.passed
    assert sum(image.num_matched for image in report.images) > 100
    assert max(image.box_difference for image in report.images) > 0.01
    description = read_description(tmp_path / "mobile_optimized.ptl")
    assert (description.weights, description.optimized_for) == (weights, "")


def shift(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Move boxes by 0.3 px: less than int8 weights may cost, more than a conversion may."""
    return (outputs[0] + 0.3, *outputs[1:])


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize("weights", ["half", "int8"])
@pytest.mark.parametrize("part", ["module", "file"])
def test_rounding_hides_no_other_difference(part: str, weights: str) -> None:
    model = thin_model()
    module = DeployableRCNN(model)
    stored = reduce_weights(module, weights)

    def shifted(run: Any) -> Any:
        return lambda image: shift(run(image))

    compare = partial(compare_file, model, images=pictures(), flip=False)
    rest = (pictures(), weights)
    assert verify_file(compare, module, stored, stored, *rest).passed
    if part == "module":
        with pytest.raises(ParityError, match="finds other objects than the model in 3 of 3"):
            verify_file(compare, shifted(module), shifted(stored), shifted(stored), *rest)
    else:
        with pytest.raises(ValueError, match="does not compute what the module it was written"):
            verify_file(compare, module, stored, shifted(stored), *rest)


@pytest.mark.usefixtures("few_images")
def test_rounding_that_harms_is_refused(tmp_path: Path) -> None:
    model = thin_model()
    head = model.roi_heads.box_head
    with torch.no_grad():
        # An input that is always zero, with a weight that leaves nothing of the others in int8.
        head.fc1.weight[0], head.fc1.bias[0] = 0.0, -1.0
        head.fc2.weight[:, 0] = 1000.0
    (tmp_path / "mobile_optimized.ptl").write_text("an earlier file")
    with pytest.raises(ParityError, match="finds other objects than the model in 3 of 3 images"):
        export_model(model, thin_config(), tmp_path, weights="int8")
    assert (tmp_path / "mobile_optimized.ptl").read_text() == "an earlier file"
    assert export_model(model, thin_config(), tmp_path, weights="half").passed
    report = export_model(model, thin_config(), tmp_path, weights="int8", keep_different=True)
    assert not report.passed
    assert read_description(tmp_path / "mobile_optimized.ptl").weights == "int8"


@pytest.mark.usefixtures("few_images")
def test_optimised_file_is_verified_and_described(tmp_path: Path) -> None:
    if not torch._C._is_xnnpack_enabled():
        pytest.skip("this torch has no XNNPACK")
    report = export_model(thin_model(), thin_config(), tmp_path, optimize=True)
    assert report.passed
    path = tmp_path / "mobile_optimized.ptl"
    kinds = Counter(name.partition("::")[0] for name in inspect_file(path).operators)
    assert kinds["prepacked"] >= 2
    assert read_description(path).optimized_for == "xnnpack"


def test_without_xnnpack_the_file_is_portable_and_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("d2seg.export.has_xnnpack", lambda: False)
    arguments = ["export", "--config-file", NUCLEI, "--output", str(tmp_path), "--optimize"]
    image = str(ROOT / "tests/data/nuclei/images/0280fa8f60f6bcae.png")
    assert cli.main([*arguments, "--images", image, "INPUT.MIN_SIZE_TEST", "96"]) == 0
    assert "not optimised for a processor, because this torch has no" in capsys.readouterr().out
    path = tmp_path / "mobile_optimized.ptl"
    assert read_description(path).optimized_for == ""
    assert not any("prepacked" in name for name in inspect_file(path).operators)


def test_command_takes_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", "--config-file", NUCLEI, "--output", str(tmp_path), "--weights", "int8"]
    image = str(ROOT / "tests/data/nuclei/images/0280fa8f60f6bcae.png")
    assert cli.main([*arguments, "--images", image, "INPUT.MIN_SIZE_TEST", "160"]) == 0
    out = capsys.readouterr().out
    assert "weights: int8, not optimised" in out
    assert re.search(r"mobile_optimized.ptl: 3.\d MB", out)


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mobile_optimized.ptl").write_text("an earlier file")
    with pytest.raises(
        ValueError, match=r"\(--optimize\) prepacks float32 weights, but weights is 'half"
    ):
        export_model(thin_model(), thin_config(), tmp_path, weights="half", optimize=True)
    with pytest.raises(ValueError, match="weights is 'fp16'; use one of fp32, half, int8"):
        export_model(thin_model(), thin_config(), tmp_path, weights="fp16")
    assert (tmp_path / "mobile_optimized.ptl").read_text() == "an earlier file"


def test_places_that_cannot_be_written_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "mobile_optimized.ptl").mkdir(parents=True)
    for output, message in (
        ("file", "is a file, but a folder"),
        ("folder", "is a folder, but the"),
    ):
        arguments = ["export", "--config-file", NUCLEI, "--output", str(tmp_path / output)]
        assert cli.main(arguments) == 1
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.count("\n") == 1
