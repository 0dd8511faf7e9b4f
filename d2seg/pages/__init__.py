"""Self-contained HTML pages: rendered from templates in one style, with their pictures embedded."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2seg.core.runtime.files import replace_when_complete

LONGEST_SIDE = 1280
"""Pictures are embedded at most this large; the files on disk keep their full size."""


def picture_uri(picture: np.ndarray, exact: bool = False, longest_side: int = LONGEST_SIDE) -> str:
    """Turn a picture into a data URI for an ``img`` element.

    Args:
        picture: (H, W, 3) uint8 RGB.
        exact: Keep every pixel (PNG); else JPEG, which is far smaller for photographs.
        longest_side: A larger picture is scaled down to it.
    """
    image = Image.fromarray(picture)
    image.thumbnail((longest_side, longest_side))
    buffer = io.BytesIO()
    if exact:
        image.save(buffer, format="PNG")
    else:
        image.save(buffer, format="JPEG", quality=88, subsampling=0)
    kind = "png" if exact else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def write_html(path: str | Path, package: str, template: str, values: dict[str, Any]) -> None:
    """Render a template and write the page; it may include ``style.html`` of this package.

    Args:
        path: The HTML file.
        package: The package beside whose modules the template lies, such as ``d2seg.report``.
        template: The name of the template.
        values: What it shows; texts are escaped.
    """
    # Pages are the only users of jinja2, and most of d2seg should start without it.
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name, ".") for name in (package, __name__)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(values)
    with replace_when_complete(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
