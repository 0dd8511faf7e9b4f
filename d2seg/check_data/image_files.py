"""What the image files of a data set are: sizes, orientation, damage, equal contents."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from PIL import ExifTags, Image

from d2seg.core.runtime.files import PathManager
from d2seg.core.runtime.untrusted.images import open_image

Progress = Callable[[Sequence[Any], str], Iterable[Any]]
"""Takes things to go through and a word for them; yields them and may show how far it is."""

SWAPPING_ORIENTATIONS = (5, 6, 7, 8)
"""EXIF orientations of images that lie on their side."""

_BLOCK = 1 << 20

Input = TypeVar("Input")
Output = TypeVar("Output")


class FileFacts(NamedTuple):
    """What is known about an image file.

    Attributes:
        is_there: Whether there is such a file.
        fault: Why it cannot be read; empty if it can.
        stored_hw: Height and width of the pixels as stored.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        mode: Pillow's name of the kind of pixels, such as ``RGB``.
        num_frames: How many pictures are in the file.
    """

    is_there: bool = True
    fault: str = ""
    stored_hw: tuple[int, int] = (0, 0)
    orientation: int = 1
    mode: str = ""
    num_frames: int = 1

    @property
    def upright_hw(self) -> tuple[int, int]:
        """Height and width after the EXIF orientation was applied, as images are loaded."""
        height, width = self.stored_hw
        return (width, height) if self.orientation in SWAPPING_ORIENTATIONS else (height, width)


def no_progress(items: Sequence[Any], what: str) -> Iterable[Any]:
    """Yield the items and show nothing."""
    return items


def examine_files(
    image_root: str,
    names: Sequence[str],
    decode: bool = True,
    progress: Progress = no_progress,
) -> dict[str, FileFacts]:
    """Look at image files, several at a time.

    Args:
        image_root: The folder they are in.
        names: Their names, relative to it.
        decode: Read every pixel, which finds files that end too early; else only the headers.
        progress: Shows how far it is.
    """
    paths = [os.path.join(image_root, name) for name in names]
    facts = _run_in_threads(lambda path: examine_file(path, decode), paths, "images", progress)
    return dict(zip(names, facts, strict=True))


def examine_file(path: str, decode: bool = True) -> FileFacts:
    """Look at one image file; what is wrong with it is a fact, never an exception."""
    try:
        path = PathManager.get_local_path(path)
        if not os.path.isfile(path):
            return FileFacts(is_there=False)
        with open_image(path) as image:
            # The further pictures of an MPO photo are previews, or its other eye.
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            if decode or _turns_when_loaded(image):
                image.load()
            return FileFacts(
                stored_hw=(image.height, image.width),
                orientation=_orientation(image, decode),
                mode=image.mode,
                num_frames=frames,
            )
    # Pillow's decoders meet damage with nearly every exception there is.
    except Exception as error:
        return FileFacts(fault=" ".join(str(error).split()) or type(error).__name__)


def find_equal_files(
    image_root: str, names: Sequence[str], progress: Progress = no_progress
) -> dict[str, str]:
    """Return a digest for each file that may have a twin: those of the same length as another.

    Args:
        image_root: The folder they are in.
        names: Their names, relative to it; files that cannot be read are left out.
        progress: Shows how far it is.
    """
    by_length: dict[int, list[str]] = defaultdict(list)
    for name in names:
        try:
            length = os.stat(PathManager.get_local_path(os.path.join(image_root, name))).st_size
        except OSError:
            continue
        by_length[length].append(name)
    candidates = [name for group in by_length.values() if len(group) > 1 for name in group]
    paths = [os.path.join(image_root, name) for name in candidates]
    digests = _run_in_threads(_digest, paths, "comparing", progress)
    return dict(zip(candidates, digests, strict=True))


def _orientation(image: Image.Image, decode: bool) -> int:
    """Read the EXIF orientation; a value that is none means upright."""
    if image.format == "PNG" and not decode and "exif" not in image.info:
        return 1  # Pillow would decode the whole picture to look behind it
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def _turns_when_loaded(image: Image.Image) -> bool:
    """Tell whether Pillow itself applies the orientation; some releases swap the sides early."""
    return image.format == "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) != 1


def _digest(path: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(PathManager.get_local_path(path), "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:  # it went away meanwhile, and is like no other
        return path
    return digest.hexdigest()


def _run_in_threads(
    function: Callable[[Input], Output], inputs: Sequence[Input], what: str, progress: Progress
) -> list[Output]:
    """Return the function's results in order; an interrupt does not wait for all of them."""
    if not inputs:
        return []
    pool = ThreadPoolExecutor()
    try:
        futures: list[Future[Output]] = [pool.submit(function, item) for item in inputs]
        return [future.result() for future in progress(futures, what)]
    finally:
        pool.shutdown(cancel_futures=True)
