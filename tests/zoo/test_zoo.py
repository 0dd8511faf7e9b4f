import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2seg.cli import main
from d2seg.config import load_config
from d2seg.core.runtime import download, download_cache
from d2seg.zoo import all_models, fetch_model, find_model, published_models, read_zoo, search_models
from tests.web import Web, serving

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
ZOO = """\
zoo: wheat-lab
models:
  wheat/mask_rcnn:
    config: configs://COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml
    weights: {weights}
    sha256: {sha256}
    description: Heads of wheat
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("D2SEG_ZOO", raising=False)
    monkeypatch.setattr(download_cache, "_checked", set())
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        web.files["/wheat/model_final.pth"] = CONTENT
        yield web


def write_zoo(tmp_path: Path, text: str) -> str:
    file = tmp_path / "zoo.yaml"
    file.write_text(text)
    return str(file)


def wheat(tmp_path: Path, weights: str, sha256: str = SHA256) -> str:
    return write_zoo(tmp_path, ZOO.format(weights=weights, sha256=sha256))


def test_published_configs_are_listed_with_their_weights() -> None:
    models = {model.name: model for model in published_models()}
    assert len(models) > 80
    assert sum(bool(model.weights) for model in models.values()) == 52
    assert models[NAME].weights.endswith("137849600/model_final_f10217.pkl")
    assert models["Misc/semantic_R_50_FPN_1x"].weights == ""
    assert not any("Base-" in name for name in models)


def test_models_are_found_by_name_and_by_words() -> None:
    models = all_models()
    assert find_model(models, f"{NAME}.yaml").name == NAME
    assert find_model(models, "panoptic_fpn_R_50_3x").name.startswith("COCO-Panoptic")
    with pytest.raises(ValueError, match=r"model 'COCO-.*R_50_FPN_3y'\. The nearest .*FPN_3x"):
        find_model(models, f"{NAME[:-2]}3y")
    with pytest.raises(ValueError, match=r"nearest are .*COCO-Ins.*LVIS"):
        find_model(models, "mask_rcnn_R_50_FPN_1x")
    found = search_models(models.values(), ["KEYPOINT", "r_101"])
    assert [model.name for model in found] == ["COCO-Keypoints/keypoint_rcnn_R_101_FPN_3x"]


def test_a_zoo_is_one_file(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"{web.address}/wheat/model_final.pth"
    monkeypatch.setenv("D2SEG_ZOO", f"'{wheat(tmp_path, address)}'")
    model = all_models()["wheat/mask_rcnn"]
    assert (model.zoo, model.weights) == ("wheat-lab", address)
    fetched = fetch_model(model)
    assert fetched.weights is not None
    assert fetched.weights.read_bytes() == CONTENT
    assert fetched.config.name == "mask_rcnn_R_50_FPN_3x.yaml"
    assert fetched.sha256 == SHA256


def test_a_name_of_a_zoo_is_a_config_with_its_weights(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{web.address}/wheat/model_final.pth"
    with pytest.raises(FileNotFoundError, match="'wheat/mask_rcnn' is neither a file nor"):
        load_config("wheat/mask_rcnn")
    monkeypatch.setenv("D2SEG_ZOO", wheat(tmp_path, address))
    cfg = load_config("wheat/mask_rcnn.yaml")
    assert (address, True) == (cfg.MODEL.WEIGHTS, cfg.MODEL.MASK_ON)
    assert load_config("wheat/mask_rcnn", ["MODEL.WEIGHTS", "x.pth"]).MODEL.WEIGHTS == "x.pth"
    assert load_config(f"{NAME}.yaml").MODEL.WEIGHTS.endswith("R-50.pkl")


def test_paths_are_relative_to_the_zoo_file(tmp_path: Path, web: Web) -> None:
    (tmp_path / "model.pth").write_bytes(CONTENT)
    text = ZOO.replace("configs://", "").format(weights="model.pth", sha256=SHA256)
    (model,) = read_zoo(write_zoo(tmp_path, text))
    assert model.weights == str(tmp_path / "model.pth")
    with pytest.raises(FileNotFoundError, match=r"No file at '.*3x\.yaml', which the zoo names"):
        fetch_model(model)
    web.files["/wheat/zoo.yaml"] = text.encode()
    (model,) = read_zoo(f"{web.address}/wheat/zoo.yaml")
    assert model.weights == f"{web.address}/wheat/model.pth"


def test_a_zoo_that_cannot_be_reached_is_as_it_was(web: Web) -> None:
    address = f"{web.address}/zoo.yaml"
    for weights in ("", "new.pth"):
        web.files["/zoo.yaml"] = ZOO.format(weights=f"'{weights}'", sha256=SHA256).encode()
        assert read_zoo(address)[0].weights == (f"{web.address}/{weights}" if weights else "")
    web.breaks_after = [10, 0, 0, 0]
    assert read_zoo(address)[0].weights == f"{web.address}/new.pth"
    with pytest.raises(ConnectionError, match="cannot be reached"):
        read_zoo("http://127.0.0.1:9/zoo.yaml")


@pytest.mark.parametrize("sha256", ["0" * 63 + "a", SHA256])
def test_local_weights_are_compared_too(tmp_path: Path, sha256: str) -> None:
    (tmp_path / "model.pth").write_bytes(CONTENT)
    (model,) = read_zoo(wheat(tmp_path, "model.pth", sha256))
    if sha256 == SHA256:
        assert fetch_model(model).weights == tmp_path / "model.pth"
        return
    with pytest.raises(ValueError, match=r"model\.pth' has the sha256 .*expected 000"):
        fetch_model(model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [", "is not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("models: []", "has no 'models'"),
        ("models: {a: 3}", "The model 'a' of the zoo 'zoo' must have texts under config"),
        ("models: {a: {config: x, weight: y}}", r"unknown entry 'weight'\. Did you mean weights"),
        ("models: {a: {weights: y}}", "has no config"),
        ("models: {a: {config: x, sha256: '12'}}", "has the sha256 '12', expected 64 hex"),
    ],
)
def test_a_bad_zoo_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_zoo(write_zoo(tmp_path, text))


def test_a_name_is_of_one_model(tmp_path: Path) -> None:
    zoo = write_zoo(tmp_path, f"models: {{{NAME}: {{config: x}}}}")
    with pytest.raises(ValueError, match="zoos 'published' and 'zoo' both have a model"):
        all_models([zoo])
    with pytest.raises(FileNotFoundError, match=r"No zoo file at 'gone\.yaml'"):
        all_models(["gone.yaml"])


def test_the_command_lists_shows_and_fetches(
    tmp_path: Path, web: Web, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"{web.address}/wheat/model_final.pth"
    zoo = ["--zoo", wheat(tmp_path, address)]
    assert main(["zoo", "search", "WHEAT", *zoo]) == 0
    assert capsys.readouterr().out == "wheat/mask_rcnn  weights     Heads of wheat\n"
    web.breaks_after = [100, 0, 0, 0]
    assert main(["zoo", "fetch", "wheat/mask_rcnn", *zoo]) == 1
    assert "the next attempt goes on from there" in capsys.readouterr().err
    assert main(["zoo", "cache"]) == 0
    assert "wheat/model_final.pth  not complete: fetch it again" in capsys.readouterr().out
    assert main(["zoo", "fetch", "wheat/mask_rcnn", *zoo]) == 0
    assert web.ranges[-1] == "bytes=100-"
    printed = capsys.readouterr().out
    port = web.address.rpartition(":")[2]
    file = cache / f"127.0.0.1_{port}" / "wheat" / "model_final.pth"
    assert f"weights  {file}\n" in printed
    assert f"MODEL.WEIGHTS {file}\n" in printed
    assert SHA256 in printed
    assert main(["zoo", "show", "wheat/mask_rcnn", *zoo]) == 0
    shown = capsys.readouterr().out
    assert f"checksum    sha256 {SHA256}\n" in shown
    assert "downloaded  yes" in shown
    assert main(["zoo", "list", "--trained", *zoo]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 53
    assert listed[-1].split()[:2] == ["wheat/mask_rcnn", "downloaded"]


def test_a_config_without_weights_has_none_to_fetch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "fetch", "semantic_R_50_FPN_1x"]) == 0
    assert "weights  none published" in capsys.readouterr().out
    assert main(["zoo", "search", "no such model"]) == 1
    assert capsys.readouterr().out == "no model\n"
