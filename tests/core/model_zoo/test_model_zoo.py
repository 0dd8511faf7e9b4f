"""Looking up configs, weights and models by their published names."""

from pathlib import Path

import pytest
import torch

from d2seg.core import model_zoo
from d2seg.core.model_zoo import model_zoo as module
from d2seg.core.runtime.files import find_config_folder

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


def test_configs_written_in_python_are_not_shipped() -> None:
    name = "COCO-Detection/retinanet_R_50_FPN_1x.py"
    with pytest.raises(ValueError, match=rf"no '{name}': .* YAML configs, .*LazyConfig.*README"):
        model_zoo.get_config(name)
    assert model_zoo.get_checkpoint_url(name).endswith("190397773/model_final_bfca0b.pkl")


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
