"""DefaultPredictor: what it does around the model."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2seg.core.config import get_cfg
from d2seg.core.data.transforms import ResizeShortestEdge
from d2seg.core.engine import DefaultPredictor
from tests.reference.deterministic import image

CONFIG = Path(__file__).parents[2] / "data/nuclei_detectron2/config.yaml"


def thin_config(**inputs: Any) -> Any:
    """A small model without weights."""
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIG))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    for key, value in inputs.items():
        setattr(cfg.INPUT, key, value)
    return cfg


class Recorder(torch.nn.Module):
    """Stands in for a model and keeps what it is given."""

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert not torch.is_grad_enabled()
        (self.given,) = batched_inputs
        return [{"instances": "result"}]


@pytest.mark.parametrize("channel_order", ["BGR", "RGB"])
def test_the_model_gets_its_order_its_size_and_the_original_size(channel_order: str) -> None:
    cfg = thin_config(FORMAT=channel_order, MIN_SIZE_TEST=40, MAX_SIZE_TEST=1000)
    predictor = DefaultPredictor(cfg)
    predictor.model = Recorder()
    bgr = image(3, 60, 90)
    assert predictor(bgr) == {"instances": "result"}
    given = predictor.model.given
    assert (given["height"], given["width"]) == (60, 90)
    assert given["image"].shape == (3, 40, 60) and given["image"].dtype == torch.float32
    expected = ResizeShortestEdge(40, 1000).get_transform(bgr).apply_image(bgr)
    if channel_order == "RGB":
        expected = expected[..., ::-1]
    assert np.array_equal(given["image"].numpy().transpose(1, 2, 0), expected)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
def test_images_of_other_numbers(kind: Any) -> None:
    predictor = DefaultPredictor(thin_config(FORMAT="RGB", MIN_SIZE_TEST=60, MAX_SIZE_TEST=1000))
    predictor.model = Recorder()
    bgr = image(3, 60, 90).astype(kind) - 30
    predictor(bgr)
    given = predictor.model.given["image"]
    assert given.dtype == torch.float32
    assert np.array_equal(given.numpy(), bgr[:, :, ::-1].transpose(2, 0, 1).astype(np.float32))


def test_as_many_channels_as_the_model_has() -> None:
    cfg = thin_config()
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [1.0] * 5, [1.0] * 5
    predictor = DefaultPredictor(cfg)
    predictor.model = Recorder()
    predictor(np.zeros((8, 6, 5), np.uint8))
    assert predictor.model.given["image"].shape[0] == 5
    with pytest.raises(ValueError, match=r"\(height, width, 5\), .*found shape \(8, 6, 3\)"):
        predictor(np.zeros((8, 6, 3), np.uint8))


def test_the_config_given_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    cfg = thin_config()
    cfg.freeze()
    with caplog.at_level(logging.WARNING):
        predictor = DefaultPredictor(cfg)
    assert "MODEL.WEIGHTS is empty" in caplog.text
    assert cfg.is_frozen() and predictor.cfg is not cfg
    assert not predictor.model.training
    assert predictor.metadata.name == "nuclei_val"
    assert predictor.input_format == "BGR"


def test_detections_are_in_pixels_of_the_original() -> None:
    cfg = thin_config(MIN_SIZE_TEST=64)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    torch.manual_seed(0)
    instances = DefaultPredictor(cfg)(image(3, 50, 120))["instances"]
    assert instances.image_size == (50, 120)
    assert len(instances) > 0
    assert instances.pred_masks.shape == (len(instances), 50, 120)
    assert instances.pred_boxes.inside_box((50, 120), boundary_threshold=1).all()


def test_a_missing_gpu_gives_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    cfg = thin_config()
    cfg.MODEL.DEVICE = f"cuda:{torch.cuda.device_count()}"
    predictor = DefaultPredictor(cfg)
    assert predictor.cfg.MODEL.DEVICE == "cpu"
    assert next(predictor.model.parameters()).device == torch.device("cpu")
    assert "using the CPU" in caplog.text


def test_without_a_test_set_there_is_no_metadata() -> None:
    cfg = thin_config()
    cfg.DATASETS.TEST = ()
    assert DefaultPredictor(cfg).metadata.as_dict() == {}


def test_what_is_not_an_image_is_said_in_one_sentence() -> None:
    predictor = DefaultPredictor(thin_config())
    with pytest.raises(TypeError, match="array of numbers; found an array of bool"):
        predictor(np.zeros((4, 4, 3), bool))
    with pytest.raises(TypeError, match="found str"):
        predictor("image.png")  # type: ignore[arg-type]
    for shape in [(4, 5), (3, 4, 5), (4, 5, 4), (0, 5, 3)]:
        with pytest.raises(ValueError, match=r"\(height, width, 3\), .*; found shape"):
            predictor(np.zeros(shape, np.uint8))


def test_configs_it_cannot_serve() -> None:
    with pytest.raises(ValueError, match="RGB or BGR; found 'YUV-BT.601'"):
        DefaultPredictor(thin_config(FORMAT="YUV-BT.601"))
    cfg = thin_config()
    cfg.MODEL.WEIGHTS = "no/such/model.pth"
    with pytest.raises(FileNotFoundError, match=r"no/such/model\.pth"):
        DefaultPredictor(cfg)
