"""Looking up configs, weights and models by their published names."""

from pathlib import Path

import pytest
import torch

from d2seg.core import model_zoo
from d2seg.core.config import instantiate
from d2seg.core.model_zoo import model_zoo as module
from d2seg.core.runtime.files import find_config_folder
from d2seg.core.utils.testing import assert_instances_allclose, get_model_no_weights

PYTHON_CONFIGS = [
    "COCO-Detection/retinanet_R_50_FPN_1x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
]
NAME = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
ADDRESS = (
    "https://dl.fbaipublicfiles.com/detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/"
    "137849600/model_final_f10217.pkl"
)


def test_config_file_exists() -> None:
    assert Path(model_zoo.get_config_file(NAME)).parts[-2:] == tuple(NAME.split("/"))


def test_installed_configs_come_first(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    assert find_config_folder(tmp_path / "d2seg") == tmp_path / "configs"
    (tmp_path / "d2seg" / "configs").mkdir(parents=True)
    assert find_config_folder(tmp_path / "d2seg") == tmp_path / "d2seg" / "configs"


def test_checkpoint_address_and_trained_config() -> None:
    assert model_zoo.get_checkpoint_url(NAME) == ADDRESS
    assert model_zoo.get_config(NAME, trained=True).MODEL.WEIGHTS == ADDRESS
    assert model_zoo.get_config(NAME).MODEL.WEIGHTS.endswith("MSRA/R-50.pkl")


def test_every_trained_model_has_a_config() -> None:
    for name in module.TRAINED:
        assert model_zoo.get_config(f"{name}.yaml", trained=True).MODEL.WEIGHTS.endswith(".pkl")


@pytest.mark.parametrize(
    "name", ["mask_rcnn_R_50_FPN_3x.yaml", NAME.removesuffix(".yaml"), NAME.lower()]
)
def test_unknown_config_lists_the_nearest(name: str) -> None:
    with pytest.raises(ValueError, match=rf"no config '{name}'; nearest: .*{NAME}"):
        model_zoo.get_config_file(name)


def test_a_config_in_python_that_is_not_shipped_is_named() -> None:
    name = "COCO-Detection/retinanet_R_101_FPN_3x.py"
    with pytest.raises(ValueError, match=rf"no '{name}': .* in Python \(LazyConfig\) only some"):
        model_zoo.get_config(name)
    assert model_zoo.get_checkpoint_url(name).endswith("model_final_971ab9.pkl")


@pytest.mark.parametrize("name", PYTHON_CONFIGS)
def test_a_config_in_python_describes_the_model_of_the_yaml_file(name: str) -> None:
    pytest.importorskip("omegaconf", reason="configs written in Python need it")
    described = get_model_no_weights(f"{name}.py")
    model = get_model_no_weights(f"{name}.yaml")
    with torch.no_grad():
        for one in model.parameters():
            one.mul_(0.1)  # or numbers grow beyond what is finite in an untrained model
    described.load_state_dict(model.state_dict())  # also compares names and shapes
    trainable = {key for key, one in model.named_parameters() if one.requires_grad}
    assert {key for key, one in described.named_parameters() if one.requires_grad} == trainable
    for one in (described, model):
        predictor = one.roi_heads.box_predictor if hasattr(one, "roi_heads") else one
        predictor.test_score_thresh = 0.0
    images = [{"image": torch.rand(3, 64, 96) * 255}]
    with torch.no_grad():
        first, second = (one.eval()(images)[0]["instances"] for one in (described, model))
    assert len(first) == 100
    assert_instances_allclose(first, second)


@pytest.mark.parametrize("name", PYTHON_CONFIGS)
def test_a_config_in_python_says_how_to_train(name: str) -> None:
    pytest.importorskip("omegaconf", reason="configs written in Python need it")
    cfg = model_zoo.get_config(f"{name}.py", trained=True)
    assert cfg.train.init_checkpoint == model_zoo.get_checkpoint_url(name)
    cfg.optimizer.params.model = torch.nn.Linear(2, 1)
    optimizer = instantiate(cfg.optimizer)
    of_yaml = model_zoo.get_config(f"{name}.yaml").SOLVER
    assert optimizer.param_groups[0]["lr"] == of_yaml.BASE_LR
    multiplier = instantiate(cfg.lr_multiplier)
    progress = [step / of_yaml.MAX_ITER for step in (0, 500, 59999, 60001, 80001)]
    assert [multiplier(at) for at in progress] == pytest.approx([0.001, 0.5005, 1, 0.1, 0.01])
    assert cfg.dataloader.test.mapper.image_format == "BGR"


def test_unknown_names_raise_what_detectron2_raises() -> None:
    with pytest.raises(RuntimeError, match="no config 'Invalid/config.yaml'"):
        model_zoo.get("Invalid/config.yaml")
    with pytest.raises(RuntimeError, match="no trained model 'Invalid/config.yaml'"):
        model_zoo.get_checkpoint_url("Invalid/config.yaml")


def test_config_outside_the_folder_is_unknown() -> None:
    with pytest.raises(ValueError, match=r"no config '\.\./pyproject\.toml'"):
        model_zoo.get_config_file("../pyproject.toml")


def test_config_without_published_weights() -> None:
    with pytest.raises(
        ValueError, match=r"no trained model 'Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic"
    ):
        model_zoo.get_checkpoint_url("Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic.yaml")


def test_model_of_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """The config without pretrained weights, so that nothing is downloaded."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = model_zoo.get("Misc/scratch_mask_rcnn_R_50_FPN_3x_gn.yaml")
    assert model.training
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert all(p.requires_grad for p in model.parameters())
