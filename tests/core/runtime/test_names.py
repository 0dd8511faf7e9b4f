"""Objects by name."""

import sys

import pytest
import torch

import d2seg.core
from d2seg.core.data.transforms import RandomCrop
from d2seg.core.runtime.names import locate, target_name
from d2seg.core.structures import Boxes


class Outer:
    class Inner:
        pass


@pytest.mark.parametrize("target", [Boxes, len, dict, torch.optim.SGD, RandomCrop, Outer.Inner])
def test_names_lead_back(target: object) -> None:
    assert locate(target_name(target)) is target


def test_names_are_short_and_follow_the_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    assert target_name(RandomCrop) == "d2seg.core.data.transforms.RandomCrop"
    monkeypatch.setitem(sys.modules, "detectron2", d2seg.core)
    assert target_name(RandomCrop) == "detectron2.data.transforms.RandomCrop"


def test_names_of_detectron2_lead_here_without_it() -> None:
    assert locate("detectron2.data.transforms.RandomCrop") is RandomCrop
    with pytest.raises(ImportError, match="no object 'nothing.here'"):
        locate("nothing.here")
