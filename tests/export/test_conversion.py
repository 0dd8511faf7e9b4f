"""What a converter's failure comes to."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2seg.export import ConversionError, export_model
from d2seg.export.conversion import converting
from d2seg.export.torchscript import save_torchscript
from tests.export.models import thin_config, thin_model


class Branching(nn.Module):
    """Goes a way that depends on numbers, which no exported graph can."""

    def __init__(self, wrapped: nn.Module) -> None:
        super().__init__()
        self.wrapped = wrapped

    def forward(self, x: Tensor) -> Tensor:
        return self.wrapped(x) if bool(x.sum() > 0) else self.wrapped(-x)


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return eval("x + 1")


def test_the_part_and_the_first_cause_are_told_in_a_sentence() -> None:
    model = nn.Sequential(nn.Flatten(), Branching(nn.Linear(6, 5)))
    with pytest.raises(ConversionError) as caught, converting("torch.export", model):
        torch.export.export(model, (torch.ones(1, 2, 3),))
    message = str(caught.value)
    assert message.startswith(
        "torch.export cannot convert the model at '1' (Branching): Could not guard on data-depend"
    )
    assert message.endswith("D2SEG_DEBUG=1 shows the whole error.")
    assert len(message) < 500
    assert "\n" not in message
    assert caught.value.__cause__ is not None


def test_converters_are_quiet_and_loud_again_after(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with converting("Nothing"):
        print("graph", file=sys.stderr)
        logging.getLogger("onnxscript").warning("node")
    assert not capsys.readouterr().err
    assert not caplog.messages
    logging.getLogger("onnxscript").warning("later")
    assert caplog.messages == ["later"]


@pytest.mark.parametrize("error", [ImportError("no package"), OSError(28, "full")])
def test_missing_packages_and_full_disks_are_no_conversions(error: Exception) -> None:
    with pytest.raises(type(error)), converting("Nothing"):
        raise error


def test_what_torchscript_cannot_compile(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"^TorchScript cannot convert the model.*eval"):
        save_torchscript(Unknown().eval(), tmp_path / "a.ptl", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_no_folder_is_left(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("\n\nThe first line.\n" + 3000 * "a line of the graph\n")

    export: Callable[..., Any] = refuse
    monkeypatch.setattr("torch.onnx.export", export)
    cfg = thin_config()
    with pytest.raises(
        ConversionError, match=r"^torch.onnx cannot convert .*: The first line\. Ch"
    ):
        export_model(thin_model(cfg), cfg, tmp_path / "new" / "out", format)
    assert not list(tmp_path.iterdir())
