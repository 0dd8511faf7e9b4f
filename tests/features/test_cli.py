import json
import shutil
from pathlib import Path

import pytest
import torch

from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.cli import main
from d2seg.features import load

NAME = "2cfa857e63be1b41"
COCO = Path(__file__).parents[1] / "data" / "coco_mini"


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


def test_a_file_that_is_no_image_is_told_at_the_end_and_stops_nothing(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0.png").write_text("no image")
    output = tmp_path / "out"
    assert run("--input", tmp_path, "--stages", "backbone.p6", "--output", output) == 1
    printed = capsys.readouterr()
    assert "1 image(s) in " in printed.out
    first, last = printed.err.splitlines()
    assert first.startswith("0: ")
    assert "0.png' cannot be read as an image" in first
    assert last == "d2seg: 1 image(s) were left out"
    assert sorted(file.suffix for file in output.iterdir()) == [".json", ".safetensors"]
    assert "backbone.p6" in load(output / f"{NAME}.safetensors")[0]


def test_a_video_that_cannot_be_read_is_named_with_the_frame(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip.mp4").write_text("no video")
    arguments = ["--input", image, tmp_path / "clip.mp4", "--stages", "backbone.p6", "--output"]
    assert run(*arguments, tmp_path / "out") == 1
    first, _ = capsys.readouterr().err.splitlines()
    assert first.startswith("clip.mp4, frame 0: ")


@pytest.mark.parametrize("form", ["safetensors", "zarr", "parquet"])
def test_batches_and_formats_hold_the_same_features(image: Path, tmp_path: Path, form: str) -> None:
    shutil.copy(DEMO_IMAGES / "3441821ebea04fac.png", tmp_path)
    arguments = ["--input", tmp_path, "--stages", "box_head", "--output"]
    assert run(*arguments, tmp_path / "one") == 0
    options = ["--format", form, "--batch-size", "3", "--half"]
    assert run(*arguments, tmp_path / "batch", *options) == 0
    expected, found = load(tmp_path / "one"), load(tmp_path / "batch")
    assert sorted(found) == sorted(expected) == sorted([NAME, "3441821ebea04fac"])
    for name in expected:
        wanted, tensors = expected[name][0], found[name][0]
        assert tensors["box_head"].dtype == torch.float16
        assert torch.allclose(tensors["box_head"].float(), wanted["box_head"], atol=0.02)
        assert torch.allclose(tensors["instances.boxes"], wanted["instances.boxes"], atol=0.01)


def test_maps_do_not_fit_into_tables(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", image, "--output", tmp_path / "out", "--format", "parquet"]
    assert run(*arguments, "--stages", "backbone.p3") == 1
    assert "backbone.p3" in (error := capsys.readouterr().err)
    assert "zarr" in error
    assert not list(tmp_path.glob("out/*"))


def test_annotated_boxes_take_the_place_of_detections(tmp_path: Path) -> None:
    annotations = COCO / "instances.json"
    stages = ["--stages", "box_pooler", "--output", tmp_path / "out", "--boxes"]
    assert run("--input", annotations, *stages) == 0
    features = load(tmp_path / "out")
    content = json.loads(annotations.read_text())
    image = next(one for one in content["images"] if one["id"] == 491)
    objects = [one for one in content["annotations"] if one["image_id"] == 491]
    tensors, description = features["000000000491"]
    about = description["image"]
    scale = about["network_size_hw"][1] / image["width"]
    assert about["annotation_ids"] == [one["id"] for one in objects]
    assert about["annotation_classes"] == ["teddy bear"] * len(objects)
    assert len(tensors["box_pooler"]) == len(objects)
    left_top = torch.tensor([one["bbox"][:2] for one in objects]) * scale
    assert torch.allclose(tensors["instances.boxes"][:, :2], left_top, atol=0.5)
    assert "instances.scores" not in tensors


def test_an_impossible_annotation_is_told_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((COCO / "instances.json").read_text())
    annotation = content["annotations"][1]
    annotation["bbox"] = [5000, 10, 20, 20]
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content))
    options = ["--image-root", COCO / "images", "--boxes", "--stages", "box_pooler"]
    assert run("--input", changed, *options, "--output", tmp_path / "out") == 1
    error = capsys.readouterr().err
    box = "(5000, 10, 5020, 30), lies outside its image of"
    assert f"The box of annotation {annotation['id']}, {box}" in error
    assert len(load(tmp_path / "out")) == len(content["images"]) - 1


def test_resuming_skips_what_is_complete(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = ["--stages", "backbone.p6", "--output", output, "--input"]
    assert run(*arguments, image) == 0
    written = (output / f"{NAME}.safetensors").stat().st_mtime_ns
    other = shutil.copy(DEMO_IMAGES / "3441821ebea04fac.png", tmp_path)
    assert run(*arguments, image, other, "--resume") == 0
    assert "1 image(s) had their features already" in capsys.readouterr().out
    assert (output / f"{NAME}.safetensors").stat().st_mtime_ns == written
    assert len(load(output)) == 2
    assert run("--stages", "backbone.p5", *arguments[2:], image, "--resume") == 1
    assert "made with another 'stages': ['backbone.p6']" in capsys.readouterr().err
    assert run(*arguments, image, "--resume", "--half") == 1
    assert "made with another 'half': False" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["safetensors", "zarr", "parquet"])
def test_resuming_may_be_the_first_run(image: Path, tmp_path: Path, form: str) -> None:
    arguments = ["--input", image, "--stages", "box_head", "--output", tmp_path / "out"]
    assert run(*arguments, "--format", form, "--resume") == 0
    assert list(load(tmp_path / "out")) == [NAME]


def test_resuming_after_a_kill_during_the_first_image(image: Path, tmp_path: Path) -> None:
    arguments = ["--input", image, "--stages", "backbone.p6", "--output", tmp_path / "out"]
    assert run(*arguments) == 0
    (tmp_path / "out" / f"{NAME}.json").unlink()  # it appears after the tensors
    assert run(*arguments, "--resume") == 0
    assert list(load(tmp_path / "out")) == [NAME]


def test_resuming_does_not_mix_detections_with_annotations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = ["--stages", "box_pooler", "--output", tmp_path / "out"]
    arguments = ["--input", COCO / "instances.json", *stages, "--resume"]
    assert run(*arguments, "--boxes") == 0
    assert run(*arguments) == 1
    assert "are of annotated objects, now they would be of detected" in capsys.readouterr().err


def test_the_preview_is_a_page(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = ["--stages", "backbone.p3", "box_head", "--output", tmp_path / "out"]
    assert run("--input", image, *stages, "--preview") == 0
    page = (tmp_path / "out" / "_preview" / "index.html").read_text()
    assert "backbone.p3" in page
    assert NAME in page
    assert "_preview/index.html: heat maps" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["safetensors", "zarr", "parquet"])
def test_the_preview_shows_what_resuming_skips(image: Path, tmp_path: Path, form: str) -> None:
    other = shutil.copy(DEMO_IMAGES / "3441821ebea04fac.png", tmp_path)
    stages = ["box_head"] if form == "parquet" else ["box_head", "backbone.p6"]
    options = ["--format", form, "--stages", *stages, "--preview", "--resume", "--output"]
    assert run("--input", image, other, *options, tmp_path / "at_once") == 0
    for inputs in ([image], [image, other], [image, other]):
        assert run("--input", *inputs, *options, tmp_path / "resumed") == 0
    pages = [
        (tmp_path / folder / "_preview" / "index.html").read_text()
        for folder in ("at_once", "resumed")
    ]
    assert "Compared by box_head" in pages[0]
    if form == "parquet":
        pages[0] = pages[0].replace(" instances.proposal_boxes,", "")  # not stored
    assert pages[1] == pages[0]


def test_a_picture_that_is_gone_is_left_out_of_the_preview(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copy(DEMO_IMAGES / "3441821ebea04fac.png", tmp_path))
    options = ["--stages", "backbone.p6", "--preview", "--output", tmp_path / "out"]
    assert run("--input", image, other, *options) == 0
    other.write_text("no image any more")
    assert run("--input", image, other, *options, "--resume") == 1
    assert "3441821ebea04fac.png' cannot be read as an image" in capsys.readouterr().err
    page = (tmp_path / "out" / "_preview" / "index.html").read_text()
    assert NAME in page
    assert "3441821ebea04fac" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "mask_poler"], "Did you mean mask_pooler"),
        (["--input", "gone.png"], "No file or folder 'gone.png'"),
        (["--batch-size", "0"], "--batch-size must be 1 or more, got 0"),
        (["--format", "pickle"], "Unknown format of features 'pickle'"),
        (["--boxes"], "has no boxes; boxes come from COCO files"),
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
