import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg.assets import DEMO_IMAGES
from d2seg.features import FeatureExtractor
from d2seg.features.preview import Preview
from d2seg.features.preview.maps import MOST_LEVELS
from d2seg.framework import CfgNode
from d2seg.images import find_images, prepare_image
from tests.pages.tags import Tags

DESCRIPTION = {
    "image": {"network_size_hw": [32, 64]},
    "tensors": {"backbone.p3": {"stride": 8}, "box_head": {"rows": "objects"}},
    "class_names": ["cat", "<i>dog"],
    "model": {"config_file": "/home/someone/model.yaml", "weights": "model.pth"},
}


def photo(seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 255, (16, 32, 3), dtype=np.uint8)


def features(seed: int, objects: int = 3) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "backbone.p3": torch.randn(6, 4, 8, generator=generator),
        "instances.boxes": torch.tensor([[4.0, 4.0, 20.0, 24.0]]).repeat(objects, 1),
        "instances.scores": torch.linspace(0.9, 0.5, objects),
        "instances.classes": torch.arange(objects) % 2,
        "box_head": torch.randn(objects, 10, generator=generator),
    }


def read(page: Path) -> tuple[str, Tags]:
    html = page.read_text(encoding="utf-8")
    return html, Tags(html)


def words(html: str) -> str:
    return " ".join(html.split())


def test_the_page_is_whole_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    preview = Preview(tmp_path / "preview")
    for index in range(3):
        preview.add(f"image_{index}.png", photo(index), features(index), DESCRIPTION)
    page = preview.write()
    assert page == tmp_path / "preview" / "index.html"
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]
    html, tags = read(page)
    assert tags.open == []
    assert "<script" not in html
    links = [item for item in tags.addresses if item.startswith("#")]
    assert {item[1:] for item in links} <= set(tags.ids)
    styled = re.findall(r"url\(([^)]*)\)", html)
    pictures = [item for item in tags.addresses if not item.startswith("#") and item != "data:,"]
    assert len(styled) == 3
    # A level of each image in two ways; nine objects, each with eight neighbours.
    assert len(pictures) == 3 * 2 + 9 * 9
    for uri in styled + pictures:
        kind, data = uri.split(";base64,")
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert kind == f"data:image/{picture.format.lower()}"
        picture.load()
    assert len(tags.alts) == len(styled) + len(pictures)
    assert all(tags.alts)
    for text in ("backbone.p3", "model.yaml", "cat 0.90", "image_2.png", "other image"):
        assert text in tags.text
    assert "/home/someone" not in html


def test_names_are_escaped(tmp_path: Path) -> None:
    preview = Preview(tmp_path)
    for index in range(2):
        preview.add(f"<script>alert({index})</script>.png", photo(), features(index), DESCRIPTION)
    html, tags = read(preview.write())
    assert "<script" not in html
    assert "<i>dog" not in html
    assert "<script>alert(1)</script>.png" in tags.text
    assert "<i>dog 0.70" in tags.text
    assert "<script>alert(0)</script>.png" in tags.alts


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    preview = Preview(tmp_path, most_images=2, most_objects=4)
    for index in range(5):
        tensors = features(index)
        tensors |= {f"level.{number}": torch.randn(2, 3, 3) for number in range(MOST_LEVELS + 1)}
        preview.add(f"image_{index}.png", photo(), tensors, DESCRIPTION)
    html, tags = read(preview.write())
    assert "The first 2 of 5 images are shown." in html
    left_out = f"level.{MOST_LEVELS - 1}, level.{MOST_LEVELS}."
    assert f"Left out, for there are too many maps: {left_out}" in html
    assert "Compared by box_head: the 4 best-scored objects of 15." in html
    assert tags.alts.count("image_1.png") == 1
    assert "image_2.png" not in tags.alts


def test_the_first_objects_are_kept_where_there_are_no_scores(tmp_path: Path) -> None:
    preview = Preview(tmp_path, most_objects=3)
    for index in range(2):
        tensors = features(index)
        del tensors["instances.scores"]
        preview.add(f"image_{index}.png", photo(), tensors, DESCRIPTION)
    html, tags = read(preview.write())
    assert "Compared by box_head: the 3 first objects of 6." in html
    assert "cat in image_0.png" in tags.alts
    assert "cat in image_1.png" not in tags.alts


@pytest.mark.parametrize("change", ["nothing", "image"])
def test_the_page_is_written_again_as_it_was(tmp_path: Path, change: str) -> None:
    pages = []
    for run in range(2):
        preview = Preview(tmp_path / str(run))
        preview.add("a.png", photo(run if change == "image" else 0), features(1), DESCRIPTION)
        pages.append(preview.write().read_bytes())
    assert (pages[0] == pages[1]) == (change == "nothing")


def test_without_images_maps_or_objects_the_page_says_so(tmp_path: Path) -> None:
    empty = Preview(tmp_path / "empty")
    assert "No image was read." in empty.write().read_text()

    nothing = Preview(tmp_path / "nothing")
    nothing.add("a.png", photo(), {"proposals.boxes": torch.zeros(5, 4)}, DESCRIPTION)
    html, tags = read(nothing.write())
    assert "None of the tensors is a map of the image" in html
    assert "None of the tensors has a row for each object" in html
    assert tags.alts == []
    assert tags.open == []


@pytest.mark.parametrize(
    ("objects", "sentence", "crops"),
    [
        (0, "No object was found in the image.", 0),
        (1, "Only one object was found, which has no neighbours.", 1),
        (2, "Compared by box_head: all 2 objects. 2 of them are looked up here.", 4),
    ],
)
def test_few_objects(tmp_path: Path, objects: int, sentence: str, crops: int) -> None:
    preview = Preview(tmp_path)
    preview.add("a.png", photo(), features(0, objects), DESCRIPTION)
    html, tags = read(preview.write())
    assert sentence in words(html)
    assert len([alt for alt in tags.alts if " in a.png" in alt]) == crops
    assert ("cosine similarity" in html) == (objects > 1)


def test_the_given_is_not_changed_and_not_kept(tmp_path: Path) -> None:
    image, tensors = photo(), features(0)
    before = image.copy(), {name: item.clone() for name, item in tensors.items()}
    preview = Preview(tmp_path)
    preview.add("a.png", image, tensors, DESCRIPTION)
    assert np.array_equal(image, before[0])
    assert all(torch.equal(item, before[1][name]) for name, item in tensors.items())
    first = preview.write().read_bytes()
    image[:] = 0
    for item in tensors.values():
        item.zero_()
    assert preview.write().read_bytes() == first


def test_bad_input_is_named(tmp_path: Path) -> None:
    preview = Preview(tmp_path)
    with pytest.raises(ValueError, match=r"'a.png' must be \(H, W, 3\) uint8 RGB, got \(4, 4\)"):
        preview.add("a.png", np.zeros((4, 4), np.uint8), {}, DESCRIPTION)
    with pytest.raises(ValueError, match=r"uint8 RGB, got \(4, 4, 3\) float64"):
        preview.add("a.png", np.zeros((4, 4, 3)), {}, DESCRIPTION)
    with pytest.raises(ValueError, match="description of 'a.png' must say image.network_size_hw"):
        preview.add("a.png", photo(), {}, {})
    with pytest.raises(ValueError, match="'box_head' must have a row .* 3 boxes of 'a.png', .* 2"):
        preview.add("a.png", photo(), features(0) | {"box_head": torch.zeros(2, 4)}, DESCRIPTION)
    with pytest.raises(ValueError, match="most_images must be 0 or more, got -1"):
        Preview(tmp_path, most_images=-1)
    with pytest.raises(ValueError, match="most_objects must be 2 or more, got 1"):
        Preview(tmp_path, most_objects=1)


def test_features_of_a_model(tmp_path: Path, model: torch.nn.Module, cfg: CfgNode) -> None:
    """The tensors as an extractor gives them; the same image twice has the same objects twice."""
    image = np.asarray(Image.open(find_images([DEMO_IMAGES])[1]).convert("RGB"))
    extractor = FeatureExtractor(model, ["backbone", "box_pooler", "box_head"])
    model_input = prepare_image(np.ascontiguousarray(image[:, :, ::-1]), cfg)
    tensors = extractor.extract([model_input])[0]
    description = {
        "image": {"network_size_hw": list(model_input["image"].shape[1:])},
        "tensors": extractor.describe(),
    }
    preview = Preview(tmp_path)
    for name in ("one.png", "two.png"):
        preview.add(name, image, tensors, description)
    html, tags = read(preview.write())
    for level in range(2, 7):
        for what in ("principal components", "strength"):
            assert f"backbone.p{level} of two.png, {what}" in tags.alts
    number = 2 * len(tensors["instances.boxes"])
    assert f"Compared by box_head: all {number} objects." in html
    rows = html.split('<article class="row">')[1:]
    assert len(rows) == min(24, number)
    assert all('<li class="elsewhere">' in row and "<b>1.000</b>" in row for row in rows)
