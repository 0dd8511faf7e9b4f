"""``d2seg predict`` from pictures and videos to files."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from d2seg.assets import DEMO_IMAGES
from d2seg.cli import main
from d2seg.core.tracking.overlap import OverlapTracker
from d2seg.export import export_model
from d2seg.predict import Predictor, fit_window, show
from tests.export.models import thin_config, thin_model
from tests.inputs.pictures import write_video
from tests.reference import deterministic

Run = Callable[..., int]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    cfg = thin_config()
    export_model(thin_model(cfg), cfg, folder)
    return folder / "mobile_optimized.ptl"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, size_hw in enumerate([(90, 140), (120, 80)]):
        image = deterministic.image(seed, *size_hw)[:, :, ::-1]
        Image.fromarray(np.ascontiguousarray(image)).save(folder / f"picture{seed}.png")
    return folder


@pytest.fixture
def predict(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any) -> int:
        return main(["predict", "--model", str(model_file), *map(str, arguments)])

    return run


def moving_frames(number: int) -> list[np.ndarray]:
    """A window that slides over a picture, by two pixels a frame."""
    image = np.ascontiguousarray(deterministic.image(3, 90, 140 + 2 * number)[:, :, ::-1])
    return [np.ascontiguousarray(image[:, 2 * k : 2 * k + 141]) for k in range(number)]


def read_video(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_folder_becomes_pictures_and_coco_files(
    predict: Run, pictures: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("--input", pictures, "--output", "out", "--prob-threshold", "0.4", "--grid") == 0
    names = ["grid.jpg", "images.json", "instances.json", "picture0.jpg", "picture1.jpg"]
    assert sorted(path.name for path in Path("out").iterdir()) == names
    with Image.open("out/picture0.jpg") as picture:
        assert picture.size == (140, 90)
    results = json.loads(Path("out/instances.json").read_text())
    images = json.loads(Path("out/images.json").read_text())
    found = Predictor(model_file, score_threshold=0.4)(pictures / "picture0.png")
    assert [one for one in results if one["image_id"] == 1] == found.to_coco(1)
    assert images["images"][1] == {"id": 2, "file_name": "picture1.png", "height": 120, "width": 80}
    assert [one["name"] for one in images["categories"]] == list(found.class_names)
    printed = capsys.readouterr().out
    assert f"2 image(s), {len(results)} object(s)" in printed
    assert "FPS on average" in printed
    assert "memory at most" in printed
    assert "channels BGR" in printed


def test_without_a_screen_files_are_written(predict: Run, pictures: Path) -> None:
    assert predict("--images", pictures / "picture0.png") == 0
    assert Path("predictions/picture0.jpg").is_file()


def test_a_video_becomes_a_video(predict: Run, tmp_path: Path, model_file: Path) -> None:
    frames = moving_frames(6)
    write_video(tmp_path / "film.avi", frames)
    options = ("--fit-window", 80, 120, "--show-fps", "--batch-size", 4)
    assert predict("--video", tmp_path / "film.avi", "--output", "out", *options) == 0
    drawn = read_video(Path("out/film.mp4"))
    assert len(drawn) == 6
    assert drawn[0].shape == (90, 140, 3)  # H.264 has even sizes only
    with av.open("out/film.mp4") as container:
        assert container.streams.video[0].average_rate == 10
    images = json.loads(Path("out/images.json").read_text())["images"]
    assert [one["file_name"] for one in images][-1] == "film_000005"
    found = Predictor(model_file, score_threshold=0.5, resize=fit_window(80, 120))(frames[2], "RGB")
    results = json.loads(Path("out/instances.json").read_text())
    assert [one for one in results if one["image_id"] == 3] == found.to_coco(3)


@pytest.mark.slow
def test_nuclei_keep_their_colours_over_a_long_video(
    tmp_path: Path, record_property: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.open(DEMO_IMAGES / "8f6e49e474ebb649.png").convert("RGB")
    offsets = [
        (round(20 + 20 * np.sin(k / 16)), round(20 + 20 * np.cos(k / 16))) for k in range(101)
    ]
    size = min(image.size) - 40
    frames = [np.asarray(image.crop((x, y, x + size, y + size))) for x, y in offsets]
    write_video(tmp_path / "pan.avi", frames)
    arguments = ("--video", tmp_path / "pan.avi", "--output", tmp_path / "out", "--no-window")
    assert main(["predict", *map(str, arguments), "--no-show-boxes", "--no-show-names"]) == 0
    drawn = read_video(tmp_path / "out" / "pan.mp4")
    assert len(drawn) == 101
    results = json.loads((tmp_path / "out" / "instances.json").read_text())
    tracker, lives = OverlapTracker(), Counter[int]()
    for number in range(1, 102):
        of_frame = [one for one in results if one["image_id"] == number]
        lives.update(tracker.update([1] * len(of_frame), [one["segmentation"] for one in of_frame]))
    nuclei = len(results) / 101
    lasting = sum(count >= 50 for count in lives.values())
    assert nuclei > 10
    assert lasting > nuclei / 2
    record_property("objects in a frame, and followed for half of 101", f"{nuclei:.1f}, {lasting}")


def test_every_second_frame_at_half_the_rate(predict: Run, tmp_path: Path) -> None:
    write_video(tmp_path / "film.avi", moving_frames(5))
    assert predict("--video", tmp_path / "film.avi", "--output", "out", "--every", 2) == 0
    with av.open("out/film.mp4") as container:
        assert container.streams.video[0].average_rate == 5
    assert len(read_video(Path("out/film.mp4"))) == 3


def test_names_may_come_from_a_data_set(predict: Run, pictures: Path) -> None:
    categories = [{"id": 7 - index, "name": f"kind {index}"} for index in range(5)]
    Path("names.json").write_text(json.dumps({"categories": categories}))
    assert predict("--input", pictures, "--output", "out", "--dataset", "names.json") == 0
    written = json.loads(Path("out/images.json").read_text())["categories"]
    assert [one["name"] for one in written] == [f"kind {index}" for index in (4, 3, 2, 1, 0)]


def test_multiply_adds_are_those_of_fvcore(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(thin_config().dump())
    arguments = ("--model", tmp_path / "config.yaml", "--input", pictures, "--show-flops")
    output = ("--output", tmp_path / "out", "--no-window", "--no-show-masks", "--device", "cpu")
    assert main(["predict", *map(str, (*arguments, *output))]) == 0
    counted = Predictor(tmp_path / "config.yaml").count_flops(pictures / "picture0.png")
    assert counted is not None
    assert counted > 0.01
    assert f"multiply-adds of the first image: {counted:.1f} billion" in capsys.readouterr().out


def test_a_damaged_video_keeps_what_can_be_read(
    predict: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all" * 100)
    assert predict("--video", tmp_path / "broken.mp4", "--output", "out") == 1
    assert capsys.readouterr().err.startswith(
        f"'{tmp_path / 'broken.mp4'}' cannot be read as a video"
    )
    assert not Path("out").exists()
    content = bytearray(write_video(tmp_path / "film.mov", moving_frames(6)).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    (tmp_path / "film.mov").write_bytes(content)
    assert predict("--video", tmp_path / "film.mov", "--output", "out") == 1
    assert "film.mov' cannot be read from frame 3 on" in capsys.readouterr().err
    assert len(read_video(Path("out/film.mp4"))) == 3


def test_an_unreadable_picture_does_not_stop_the_others(
    predict: Run, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "a_text.png").write_text("no picture")
    assert predict("--input", pictures, "--output", "out") == 1
    assert "a_text.png' cannot be read as an image" in capsys.readouterr().err
    assert Path("out/picture1.jpg").is_file()
    assert len(json.loads(Path("out/images.json").read_text())["images"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "nowhere.png"], "No file or folder 'nowhere.png'"),
        (["--input", "77"], "There is no camera 77"),
        (["--input", "77", "more.png"], "A camera (77) is the only input; got 2"),
        (["--input", "PICTURES", "--batch-size", "0"], "--batch-size must be 1 or more, got 0"),
        (["--input", "PICTURES", "--weights", "w.pth"], "has its own weights and config"),
        (["--input", "PICTURES", "--dataset", "no_set"], "no_set"),
        (["--input", "PICTURES", "--prob-threshold", "7"], "(--prob-threshold) is 7.0, but scores"),
        (["--input", "PICTURES", "--size", "0", "9"], "positive height and width, but is 0 x 9"),
        (["--input", "PICTURES", "--window"], "No window can be opened"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(
    predict: Run,
    pictures: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(pictures) if one == "PICTURES" else one for one in arguments]
    assert predict(*given, "--output", "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("d2seg: error: ")
    assert message in error
    assert not list(Path("out").glob("*.json"))


def test_pyav_is_asked_for(
    predict: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_video(tmp_path / "film.avi", moving_frames(2))
    monkeypatch.setitem(sys.modules, "av", None)
    assert predict("--input", tmp_path / "film.avi", "--output", "out") == 1
    assert 'av (PyAV): pip install "d2seg[video]"' in capsys.readouterr().err
    assert not Path("out").exists()


class FakeWindow:
    """A screen on which ESC is pressed at the second picture."""

    def __init__(self) -> None:
        self.delays: list[int] = []
        self.closed = False

    def show(self, picture: np.ndarray, delay_ms: int) -> bool:
        assert picture.dtype == np.uint8
        self.delays.append(delay_ms)
        return len(self.delays) < 2

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("kind", "delay"), [("film.avi", 1), ("pictures", 0)], ids=["video", "images"]
)
def test_escape_ends_it(
    predict: Run,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    delay: int,
) -> None:
    fake = FakeWindow()
    monkeypatch.setattr(show, "PictureWindow", lambda title: fake)
    monkeypatch.setenv("DISPLAY", ":7")
    write_video(tmp_path / "film.avi", moving_frames(4))
    assert predict("--input", tmp_path / kind) == 0
    assert fake.delays == [delay, delay]
    assert fake.closed
    assert not Path("predictions").exists()
