import base64
import io
from pathlib import Path

import numpy as np
import pytest
from jinja2 import TemplateNotFound
from PIL import Image

from d2seg.pages import LONGEST_SIDE, picture_uri, write_html


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_pictures_are_embedded() -> None:
    picture = np.random.RandomState(0).randint(0, 255, (5, 9, 3), dtype=np.uint8)
    exact = picture_uri(picture, exact=True)
    assert exact.startswith("data:image/png;base64,")
    assert np.array_equal(np.asarray(decode(exact)), picture)
    large = picture_uri(np.zeros((10, 2 * LONGEST_SIDE, 3), np.uint8))
    assert large.startswith("data:image/jpeg;base64,")
    assert decode(large).size == (LONGEST_SIDE, 5)


def test_a_picture_can_be_embedded_smaller_still() -> None:
    uri = picture_uri(np.zeros((40, 100, 3), np.uint8), longest_side=50)
    assert decode(uri).size == (50, 20)


def test_a_template_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateNotFound, match="nothing.html"):
        write_html(tmp_path / "index.html", "d2seg.report", "nothing.html", {})
    assert list(tmp_path.iterdir()) == []
