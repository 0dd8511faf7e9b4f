"""Weights named by ``catalog://``."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from d2seg.core.checkpoint import DetectionCheckpointer
from d2seg.core.checkpoint.catalog import ModelCatalog
from d2seg.core.checkpoint.files import find_checkpoint
from d2seg.core.model_zoo import get_config
from d2seg.core.runtime.files import PathManager

NAME = "ImageNetPretrained/FAIR/R-50-GN"
# Where a file of https://dl.fbaipublicfiles.com/ lies once it has been downloaded.
CACHED = "detectron/ImageNetPretrained/47261647/R-50-GN.pkl"


def test_addresses_are_those_of_detectrons_model_zoo() -> None:
    folder = "https://dl.fbaipublicfiles.com/detectron/ImageNetPretrained/"
    assert ModelCatalog.get(NAME) == f"{folder}47261647/R-50-GN.pkl"
    large = ModelCatalog.get("ImageNetPretrained/FAIR/X-152-32x8d-IN5k")
    assert large == f"{folder}25093814/X-152-32x8d-IN5k.pkl"
    assert ModelCatalog.get("ImageNetPretrained/MSRA/R-101") == f"{folder}MSRA/R-101.pkl"


@pytest.mark.parametrize(
    "name",
    [
        "mask_rcnn_R_50_FPN_3x_gn",
        "panoptic_fpn_R_101_dconv_cascade_gn_3x",
        "cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv",
    ],
)
def test_names_in_published_configs_are_known(name: str) -> None:
    prefix, _, catalog_name = get_config(f"Misc/{name}.yaml").MODEL.WEIGHTS.partition("://")
    assert prefix == "catalog"
    assert ModelCatalog.get(catalog_name).endswith(".pkl")


def test_a_name_loads_like_the_file_it_stands_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    file = tmp_path / CACHED
    file.parent.mkdir(parents=True)
    file.write_bytes(pickle.dumps({"weight": np.full((1, 2), 3.0, np.float32)}))
    assert find_checkpoint(f"catalog://{NAME}") == str(file)
    assert PathManager.isfile(f"catalog://{NAME}")
    model = nn.Linear(2, 1, bias=False)
    DetectionCheckpointer(model).load(f"catalog://{NAME}")
    assert model.weight.tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize("name", ["ImageNetPretrained/FAIR/R-50-GM", "FAIR/R-50-GN"])
def test_unknown_name(name: str) -> None:
    message = rf"no weights 'catalog://{name}'; nearest: .*{NAME}.*https address"
    with pytest.raises(ValueError, match=message):
        find_checkpoint(f"catalog://{name}")
