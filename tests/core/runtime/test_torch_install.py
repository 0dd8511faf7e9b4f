"""Devices that are not there, and a torchvision that does not fit."""

import importlib

import pytest
import torch

from d2seg.core.runtime import torch_install
from d2seg.core.runtime.torch_install import require_matching_torchvision, select_device


def test_a_torchvision_for_another_torch_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    require_matching_torchvision()  # the installed pair fits
    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ImportError, match=r"torchvision .* does not fit torch .*constraints.txt"):
        require_matching_torchvision()


def test_a_missing_torchvision_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match="torchvision is not installed; d2seg needs it"):
        require_matching_torchvision()


def test_a_gpu_that_is_not_there_gives_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert select_device("cuda:0") == torch.device("cuda:0")
    assert select_device("cuda:3") == torch.device("cpu")
    assert caplog.messages == ["MODEL.DEVICE is 'cuda:3' but torch sees 1 GPU(s); using the CPU."]


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(ValueError, match="MODEL.DEVICE is 'gpu', which torch does not know"):
        select_device("gpu")


def test_the_version_of_a_package_that_is_not_installed() -> None:
    assert torch_install._installed_version("no-such-package") == "(unknown version)"
