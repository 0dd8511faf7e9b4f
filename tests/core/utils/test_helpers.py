"""The small modules under detectron2's ``utils`` paths."""

import logging
from pathlib import Path

import pytest
import torch

from d2seg.core.structures import Boxes, Instances
from d2seg.core.utils import env, logger
from d2seg.core.utils.develop import create_dummy_class, create_dummy_func
from d2seg.core.utils.memory import retry_if_cuda_oom
from d2seg.core.utils.registry import locate
from d2seg.core.utils.testing import (
    assert_instances_allclose,
    get_model_no_weights,
    random_boxes,
    reload_script_model,
)
from d2seg.core.utils.torch_version_utils import min_torch_version


def test_versions_are_compared_as_numbers() -> None:
    assert env.TORCH_VERSION >= (2, 4)
    assert min_torch_version("2.4")
    assert not min_torch_version("99.10")
    with pytest.raises(ValueError, match="'new' is not a version"):
        min_torch_version("new")


def test_a_custom_environment_is_a_function_of_a_module(tmp_path: Path) -> None:
    path = tmp_path / "custom.py"
    path.write_text("import logging\ndef setup_environment():\n    logging.custom_ran = True\n")
    env.setup_custom_environment(str(path))
    assert logging.custom_ran  # type: ignore[attr-defined]
    path.write_text("")
    with pytest.raises(ValueError, match=r"has no function setup_environment\(\)"):
        env.setup_custom_environment(str(path))
    with pytest.raises(FileNotFoundError, match="no Python file"):
        env.setup_custom_environment(str(tmp_path / "none.py"))


def test_missing_packages_are_named_on_use() -> None:
    missing = create_dummy_class("Panoptic", "panopticapi", "Install it.")
    with pytest.raises(ImportError, match="'Panoptic' needs panopticapi, .* Install it."):
        missing()
    with pytest.raises(ImportError, match="needs panopticapi"):
        _ = missing.anything
    with pytest.raises(ImportError, match="'draw' needs a, b, which"):
        create_dummy_func("draw", ("a", "b"))()


def test_a_full_gpu_is_retried_on_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def crowded(x: torch.Tensor, *, boxes: Boxes) -> int:
        calls.append(x.device.type)
        if len(calls) < 3:
            raise torch.cuda.OutOfMemoryError
        return len(boxes)

    assert retry_if_cuda_oom(crowded)(torch.ones(1), boxes=Boxes([[0.0, 0, 1, 1]])) == 1
    assert calls == ["cpu"] * 3
    assert "crowded does not fit into the GPU" in caplog.text


def test_objects_are_located_by_name() -> None:
    assert locate("torch.nn.ReLU") is torch.nn.ReLU
    with pytest.raises(ImportError, match="no object 'torch.nn.Relu'"):
        locate("torch.nn.Relu")


def test_messages_are_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        logger.log_first_n(logging.WARNING, "first", 2)
        logger.log_every_n(logging.WARNING, "third", 3)
        logger.log_every_n_seconds(logging.WARNING, "rare", 1000)
    for text in ("a", "b", "a"):
        logger.log_first_n(logging.WARNING, text, key="message")
    assert sorted(caplog.messages) == ["a", "b", "first", "first", "rare", "third", "third"]
    assert caplog.records[0].name == __name__


def test_a_small_table_has_one_row() -> None:
    lines = logger.create_small_table({"AP": 41.2345, "name": "x"}).splitlines()
    assert len(lines) == 3
    assert "41.234" in lines[2] or "41.235" in lines[2]


def test_random_boxes_are_boxes() -> None:
    boxes = random_boxes(200, 50)
    assert (boxes[:, 2:] - boxes[:, :2]).min() > 0.99  # 1 px, rounded with the corner
    assert boxes.min() >= 0
    assert boxes.max() <= 50


def test_instances_are_compared_field_by_field() -> None:
    one = Instances((4, 5), pred_boxes=Boxes([[0.0, 0, 1, 1]]), scores=torch.tensor([0.5]))
    assert_instances_allclose(one, one[:])
    other = one[:]
    other.scores = torch.tensor([0.6])
    with pytest.raises(AssertionError, match="here: scores differs"):
        assert_instances_allclose(one, other, msg="here: ")
    other.remove("scores")
    with pytest.raises(AssertionError, match=r"Fields are \['pred_boxes', 'scores'\]"):
        assert_instances_allclose(one, other)
    with pytest.raises(AssertionError, match=r"image_size is \(4, 5\) and \(5, 4\)"):
        assert_instances_allclose(one, Instances((5, 4)))


def test_scripted_modules_survive_a_round_trip() -> None:
    module = reload_script_model(torch.jit.script(torch.nn.ReLU()))
    assert module(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


@pytest.mark.slow
def test_models_of_published_configs_are_built() -> None:
    model = get_model_no_weights("COCO-Detection/rpn_R_50_C4_1x.yaml")
    assert type(model).__name__ == "ProposalNetwork"
