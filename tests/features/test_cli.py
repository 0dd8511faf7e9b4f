import json
import shutil
from pathlib import Path

import pytest

from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.cli import main
from d2seg.features import load

NAME = "2cfa857e63be1b41"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return Path(shutil.copy(DEMO_IMAGES / f"{NAME}.png", tmp_path))


def run(*arguments: str | Path) -> int:
    return main(["features", "--config-file", str(DEMO_CONFIG_FILE), *map(str, arguments)])


def test_each_image_gives_a_tensor_file_and_a_description(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    shutil.copy(image, tmp_path / "other.png")
    stages = ["backbone.p3", "proposals", "mask_pooler"]
    assert run("--input", tmp_path, "--stages", *stages, "--output", output) == 0

    assert sorted(file.name for file in output.iterdir()) == [
        f"{NAME}.json",
        f"{NAME}.safetensors",
        "other.json",
        "other.safetensors",
    ]
    tensors, description = load(output / f"{NAME}.safetensors")
    assert description == json.loads((output / f"{NAME}.json").read_text())
    assert description["tensors"].keys() == tensors.keys()
    assert tensors["backbone.p3"].shape == (64, 32, 32)
    assert description["tensors"]["backbone.p3"] == {
        "shape": [64, 32, 32],
        "dtype": "float32",
        "meaning": "feature map of the whole padded network input (C, h, w)",
        "stride": 8,
    }
    assert len(tensors["mask_pooler"]) == len(tensors["instances.scores"]) > 5
    assert description["image"] == {
        "name": f"{NAME}.png",
        "original_size_hw": [256, 256],
        "network_size_hw": [256, 256],
        "channel_order": "BGR",
    }
    assert description["stages"] == stages
    assert description["class_names"] == ["nucleus"]
    assert description["model"]["weights"] == "d2seg://nuclei.safetensors"
    assert {"d2seg", "torch", "python"} == description["versions"].keys()
    assert "2 image(s)" in (printed := capsys.readouterr()).out
    assert str(output) in printed.out
    assert printed.err == ""


@pytest.mark.parametrize("overrides_last", [True, False])
def test_overrides_apply_wherever_they_stand_after_output(
    image: Path, tmp_path: Path, overrides_last: bool
) -> None:
    output = ["--output", str(tmp_path / "out")]
    overrides = ["INPUT.MIN_SIZE_TEST", "128", "TEST.DETECTIONS_PER_IMAGE", "3"]
    stages = ["--stages", "backbone.p2", "instances"]
    order = [*stages, *output, *overrides] if overrides_last else [*output, *overrides, *stages]
    assert run("--input", image, *order) == 0
    tensors, description = load(tmp_path / "out" / f"{NAME}.safetensors")
    assert description["image"]["network_size_hw"] == [128, 128]
    assert description["image"]["original_size_hw"] == [256, 256]
    assert description["model"]["overrides"] == overrides
    assert len(tensors["instances.boxes"]) == 3


def test_the_stages_of_the_config_are_the_default(image: Path, tmp_path: Path) -> None:
    assert run("--input", image, "--output", tmp_path, "FEATURES.STAGES", "['backbone.p5']") == 0
    assert list(load(tmp_path / f"{NAME}.safetensors")[0]) == ["backbone.p5"]


def test_equal_names_from_two_folders_are_both_kept(image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / image.name
    other.parent.mkdir()
    shutil.copy(DEMO_IMAGES / "3441821ebea04fac.png", other)
    output = tmp_path / "out"
    assert run("--input", image, other, "--stages", "backbone.p6", "--output", output) == 0
    sizes = [
        load(output / f"{stem}.safetensors")[1]["image"]["original_size_hw"]
        for stem in (NAME, f"{NAME}_2")
    ]
    assert sizes == [[256, 256], [360, 360]]


def test_a_file_that_is_no_image_is_named_and_finished_files_stay(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "z.png").write_text("no image")
    output = tmp_path / "out"
    assert run("--input", tmp_path, "--stages", "backbone.p6", "--output", output) == 1
    error = capsys.readouterr().err
    assert error.startswith("d2seg: error: ")
    assert "z.png' cannot be read as an image" in error
    assert error.count("\n") == 1
    assert sorted(file.suffix for file in output.iterdir()) == [".json", ".safetensors"]
    assert "backbone.p6" in load(output / f"{NAME}.safetensors")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "mask_poler"], "Did you mean mask_pooler"),
        (["--input", "gone.png"], "No file or folder 'gone.png'"),
    ],
)
def test_wrong_arguments_end_in_one_sentence(
    image: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    output = tmp_path / "out"
    assert run("--input", image, "--output", output, *arguments) == 1
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_random_weights_are_said_to_be_random(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = ["--stages", "backbone.p6", "--output", tmp_path / "out"]
    assert run("--input", image, *stages, "MODEL.WEIGHTS", "") == 0
    assert "random weights" in capsys.readouterr().err
