"""Models of MMDetection, for which stand-ins are used: what they get, what is made of theirs.

The stand-ins have the signatures of MMDetection 3.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling import MMDetBackbone, MMDetDetector
from d2seg.core.runtime.events import EventStorage
from d2seg.core.structures import PolygonMasks
from tests.reference.cases import ground_truth, picture

SHAPES = [ShapeSpec(channels=3, stride=1), ShapeSpec(channels=3, stride=2)]


class Halves(nn.Module):
    """A backbone of two maps, whose weights are drawn by a method, as MMDetection's are."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def init_weights(self) -> None:
        nn.init.ones_(self.scale)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self.scale, x[..., ::2, ::2]


class Doubled(nn.Module):
    def forward(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        return [2 * one for one in maps]


class OneBox(nn.Module):
    """A detector that finds one object, and remembers what it was given."""

    seen: tuple[Tensor, list[Any]]

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[Any]) -> dict[str, Any]:
        self.seen = batch_inputs, batch_data_samples
        level = torch.tensor([1.0, 3.0], requires_grad=True)
        return {"loss_cls": [level, level + 1], "loss_bbox": level.sum(), "acc": level[:1] * 50}

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[Any], rescale: bool = True
    ) -> list[Any]:
        self.seen = batch_inputs, batch_data_samples
        assert rescale
        found = []
        for sample in batch_data_samples:
            masks = torch.zeros(1, *sample.metainfo["ori_shape"], dtype=torch.bool)
            masks[:, 2:4, 1:5] = True
            instances = SimpleNamespace(
                bboxes=torch.tensor([[1.0, 2, 5, 4]]), scores=torch.tensor([0.9]),
                labels=torch.tensor([3]), masks=masks,
            )  # fmt: skip
            found.append(SimpleNamespace(pred_instances=instances))
        return found


@pytest.fixture
def mmdet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the modules of MMDetection that are asked for."""
    contents: dict[str, dict[str, Any]] = {
        "mmdet": {},
        "mmdet.models": {},
        "mmdet.registry": {"MODELS": SimpleNamespace(build=build)},
        "mmdet.structures": {"DetDataSample": SimpleNamespace},
        "mmdet.structures.mask": {
            "BitmapMasks": lambda masks, height, width: (masks, height, width),
            "PolygonMasks": lambda masks, height, width: (masks, height, width),
        },
        "mmengine": {},
        "mmengine.config": {"ConfigDict": dict},
        "mmengine.structures": {"InstanceData": SimpleNamespace},
    }
    for name, values in contents.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)


def build(config: dict[str, Any]) -> nn.Module:
    return {"Halves": Halves, "OneBox": OneBox}[config["type"]]()


def test_maps_get_names_and_weights_are_drawn() -> None:
    net = MMDetBackbone(Halves(), Doubled(), output_shapes=SHAPES, output_names=["a", "b"])
    outputs = net(torch.ones(1, 3, 4, 6))
    assert {k: tuple(v.shape) for k, v in outputs.items()} == {"a": (1, 3, 4, 6), "b": (1, 3, 2, 3)}
    assert all(bool((v == 2).all()) for v in outputs.values())
    assert net.output_shape() == {"a": SHAPES[0], "b": SHAPES[1]}
    assert list(MMDetBackbone(Halves(), output_shapes=SHAPES).output_shape()) == ["out0", "out1"]


def test_maps_and_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"has 2 output_shapes, but output_names are \['a'\]"):
        MMDetBackbone(Halves(), output_shapes=SHAPES, output_names=["a"])
    with pytest.raises(ValueError, match="expects 1 maps, for out0, but the network gave 2"):
        MMDetBackbone(Halves(), output_shapes=SHAPES[:1])(torch.ones(1, 3, 4, 4))
    with pytest.raises(ValueError, match="but the network gave Tensor"):
        MMDetBackbone(nn.Identity(), output_shapes=SHAPES)(torch.ones(1, 3, 4, 4))


@pytest.mark.usefixtures("mmdet")
def test_configs_are_built_by_mmdetection() -> None:
    omegaconf = pytest.importorskip("omegaconf")
    for config in ({"type": "Halves"}, omegaconf.OmegaConf.create({"type": "Halves"})):
        assert isinstance(MMDetBackbone(config, output_shapes=SHAPES).backbone, Halves)


def test_without_mmdetection_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mmengine", None)
    monkeypatch.setitem(sys.modules, "mmengine.config", None)
    with pytest.raises(ImportError, match="need the packages mmdet .3.0 or newer. and mmengine"):
        MMDetBackbone({"type": "Halves"}, output_shapes=SHAPES)


def detector() -> Any:
    return MMDetDetector({"type": "OneBox"}, pixel_mean=[10, 20, 30], pixel_std=[1, 2, 4])


@pytest.mark.usefixtures("mmdet")
def test_detections_are_of_the_wanted_size() -> None:
    model = detector().eval()
    image = picture(1, 40, 50)
    found = model([{"image": image, "height": 80, "width": 150}])[0]["instances"]
    assert found.image_size == (80, 150)
    assert found.pred_boxes.tensor.tolist() == [[1.0, 2.0, 5.0, 4.0]]
    assert (found.scores.tolist(), found.pred_classes.tolist()) == ([pytest.approx(0.9)], [3])
    assert found.pred_masks.shape == (1, 80, 150)
    assert found.pred_masks.sum() == 8
    batch, samples = model.detector.seen
    expected = (image - torch.tensor([10.0, 20, 30]).view(3, 1, 1)) / torch.tensor(
        [1.0, 2, 4]
    ).view(3, 1, 1)
    assert batch.shape == (1, 3, 64, 64)
    torch.testing.assert_close(batch[0, :, :40, :50], expected)
    assert samples[0].metainfo == {
        "img_shape": (40, 50), "ori_shape": (80, 150), "pad_shape": (64, 64),
        "batch_input_shape": (64, 64), "scale_factor": (50 / 150, 0.5),
    }  # fmt: skip


@pytest.mark.usefixtures("mmdet")
def test_losses_are_summed_and_the_rest_reported() -> None:
    model = detector().train()
    bitmasks, polygons = ground_truth(1, 40, 50, 4), ground_truth(2, 30, 60, 4)
    polygons.gt_masks = PolygonMasks([[[1.0, 2, 9, 2, 9, 8]]] * len(polygons))
    inputs = [
        {"image": picture(1, 40, 50), "instances": bitmasks},
        {"image": picture(2, 30, 60), "instances": polygons},
    ]
    with EventStorage() as storage:
        losses = model(inputs)
        assert storage.latest()["acc"][0] == 50.0
    assert {k: v.item() for k, v in losses.items()} == {"loss_cls": 2.0 + 3.0, "loss_bbox": 4.0}
    first, second = (sample.gt_instances for sample in model.detector.seen[1])
    assert torch.equal(first.bboxes, bitmasks.gt_boxes.tensor)
    assert torch.equal(first.labels, bitmasks.gt_classes)
    masks, *size_hw = first.masks
    assert (masks.shape, size_hw) == ((len(bitmasks), 64, 64), [64, 64])
    assert np.array_equal(masks[:, :40, :50], bitmasks.gt_masks.tensor.numpy())
    assert masks.sum() == bitmasks.gt_masks.tensor.sum()
    assert second.masks[0][0][0].tolist() == [1.0, 2, 9, 2, 9, 8]
    assert model.detector.seen[1][0].ignored_instances.bboxes.shape == (0, 4)
    with pytest.raises(ValueError, match=r"Training needs 'instances'.*model.eval\(\)"):
        model([{"image": picture(1, 40, 50)}])
