"""Opening image files of the formats that only hold pixels."""

import os
from typing import IO

from PIL import Image

_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "SGI"),
    *("TGA", "TIFF", "WEBP"),
)


def open_image(file: str | os.PathLike[str] | IO[bytes]) -> Image.Image:
    """Open an image file with Pillow, whatever its name; of PostScript it would start Ghostscript.

    Raises:
        PIL.UnidentifiedImageError: It is of no format that is read.
        PIL.Image.DecompressionBombError: It has more pixels than Pillow allows.
    """
    Image.init()
    return Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])
