import sys
from pathlib import Path

import numpy as np
import pytest

from d2seg.inputs import find_sources
from tests.inputs.pictures import random_frames, write_picture, write_video
from tests.inputs.test_coco import write_coco


def names(*inputs: Path | str, every: int = 1) -> list[str]:
    return [source.name for source in find_sources(inputs, every=every)]


def test_a_folder_gives_pictures_and_frames_by_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "d.png")
    write_picture(tmp_path / "b.PNG")
    write_video(tmp_path / "c.mov", random_frames(3))
    (tmp_path / "a.json").write_text("{}")
    sources = find_sources([tmp_path], every=2)
    found = [(source.name, source.path.name, source.frame) for source in sources]
    assert found == [
        ("b", "b.PNG", None),
        ("c_000000", "c.mov", 0),
        ("c_000002", "c.mov", 2),
        ("d", "d.png", None),
    ]
    assert sources.total == 4


def test_patterns_and_files_keep_their_order(tmp_path: Path) -> None:
    for name in ("b1", "b2", "a"):
        write_picture(tmp_path / f"{name}.png")
    json_file = write_coco(tmp_path / "set" / "x.json")
    assert names(json_file, tmp_path / "b*", tmp_path / "a.png") == ["a", "b1", "b2", "a_2"]


def test_a_picture_that_is_named_in_several_ways_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    json_file = write_coco(tmp_path / "x.json")
    video = write_video(tmp_path / "c.mov", random_frames(1))
    monkeypatch.chdir(tmp_path)
    inputs = [json_file, "x.json", "a.png", tmp_path / "*.png", video, "./c.mov"]
    assert names(*inputs) == ["a", "c_000000"]


def test_names_differ_where_stems_do_not(tmp_path: Path) -> None:
    pictures = [write_picture(tmp_path / name) for name in ("1/x.png", "2/X.jpg", "2/c_000001.png")]
    clips = [tmp_path / "1" / "c.mov", tmp_path / "2" / "c.mov"]
    for clip in clips:
        write_video(clip, random_frames(2))
    sources = find_sources([*clips, *pictures])
    expected = ["c_000000", "c_000001_2", "c_2_000000", "c_2_000001", "x", "X_2", "c_000001"]
    assert [source.name for source in sources] == expected
    assert [source.name for source in sources] == expected  # a second time too


def test_folders_of_a_coco_file_stay_apart(tmp_path: Path) -> None:
    files = ["1/0001.png", "2/0001.png", "1_0001.png"]
    images = [{"id": index, "file_name": name} for index, name in enumerate(files)]
    for name in files:
        write_picture(tmp_path / name)
    assert names(write_coco(tmp_path / "x.json", images=images)) == ["1_0001", "2_0001", "1_0001_2"]


def test_a_damaged_video_does_not_keep_from_what_follows(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    write_picture(tmp_path / "b.png")
    bad, good = find_sources([tmp_path])
    assert (bad.name, bad.frame) == ("a_000000", 0)
    assert (bad.label, good.label) == ("a.mp4, frame 0", "b")
    with pytest.raises(ValueError, match="a.mp4' cannot be read as a video"):
        bad.read()
    assert good.read().shape == (6, 10, 3)


def test_frames_of_a_batch_can_be_read_after_the_video_has_ended(tmp_path: Path) -> None:
    frames = random_frames(5)
    sources = list(find_sources([write_video(tmp_path / "c.mkv", frames)]))
    for source, frame in zip(reversed(sources), reversed(frames), strict=True):
        np.testing.assert_array_equal(source.read("RGB"), frame)


def test_the_total_is_unknown_where_a_video_does_not_say(tmp_path: Path) -> None:
    write_picture(tmp_path / "b.png")
    assert find_sources([tmp_path]).total == 1
    write_video(tmp_path / "c.mkv", random_frames(2))
    assert find_sources([tmp_path]).total is None


def test_boxes_are_refused_of_what_has_none(tmp_path: Path) -> None:
    json_file = write_coco(tmp_path / "x.json")
    with pytest.raises(ValueError, match="a.png' has no boxes; boxes come from COCO files"):
        find_sources([json_file, tmp_path / "a.png"], with_boxes=True)


def test_boxes_of_a_picture_in_two_files_are_refused(tmp_path: Path) -> None:
    files = [write_coco(tmp_path / name) for name in ("x.json", "y.json")]
    assert names(*files) == ["a"]
    with pytest.raises(ValueError, match="y.json' lists 'a.png', for which there are boxes"):
        find_sources(files, with_boxes=True)


@pytest.mark.parametrize("every", [0, -1])
def test_every_is_positive(tmp_path: Path, every: int) -> None:
    with pytest.raises(ValueError, match=rf"every \(--every\) is {every}, but must be 1 or more"):
        find_sources([tmp_path], every=every)


def test_unknown_paths_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No file or folder '.*gone.json'"):
        find_sources([tmp_path / "gone.json"])
    with pytest.raises(ValueError, match=r"has no image; looked for .*\.png.*\.mp4"):
        find_sources([tmp_path])


def test_pyav_is_asked_for_before_the_work_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    video = tmp_path / "c.mp4"
    video.touch()
    with pytest.raises(ImportError, match="Reading videos needs the package av"):
        find_sources([video])
    picture = write_picture(tmp_path / "a.png")
    assert names(picture) == ["a"]
