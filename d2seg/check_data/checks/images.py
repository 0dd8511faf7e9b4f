"""Checks of images against their files."""

import os
from collections.abc import Iterator

from d2seg.check_data.findings import Expectations, Finding
from d2seg.check_data.image_files import SWAPPING_ORIENTATIONS, FileFacts
from d2seg.check_data.records import Dataset, ImageRecord


def check_file_names(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find names that lead out of the folder of the images."""
    if not data.image_root or "://" in data.image_root:
        return  # names are whole paths, or addresses
    root = os.path.abspath(data.image_root)
    for image in data.images:
        path = os.path.abspath(os.path.join(root, image.file_name))
        if os.path.commonpath([root, path]) != root:
            sentence = f"leads out of the image folder '{data.image_root}', to {path}."
            yield data.about_image(image, "warning", "file outside the image folder", sentence)


def check_files(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find files that are missing or damaged."""
    if len(data.files) > 1 and not any(facts.is_there for facts in data.files.values()):
        first = data.images[0].file_name
        sentence = (
            f"None of {len(data.files)} images, such as '{first}', is in '{data.image_root}'."
        )
        yield Finding("error", "all files missing", f"{sentence} Is it the right folder?")
        return
    for image, facts in _with_facts(data):
        if not facts.is_there:
            sentence = f"is not in '{data.image_root}'."
            yield data.about_image(image, "error", "file missing", sentence)
        elif facts.fault:
            sentence = f"cannot be read as an image: {facts.fault}."
            yield data.about_image(image, "error", "file unreadable", sentence)


def check_sizes(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Compare sizes with the files, as they are loaded: turned upright."""
    for image, facts in _with_facts(data):
        if image.size_hw is None or not facts.mode or image.size_hw == facts.upright_hw:
            continue
        if image.size_hw == facts.stored_hw:
            yield data.about_image(image, "error", "size before EXIF rotation", _rotation(facts))
        else:
            sentence = f"is {_size(facts.upright_hw)} pixels, not {_size(image.size_hw)} as the "
            turned = facts.upright_hw == image.size_hw[::-1]
            hint = "file says: width and height are exchanged." if turned else "file says."
            yield data.about_image(image, "error", "size differs from the file", sentence + hint)


def check_orientation(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find images that an EXIF orientation turns, where the sizes do not tell a mistake."""
    for image, facts in _with_facts(data):
        if facts.orientation == 1 or (image.size_hw or facts.upright_hw) != facts.upright_hw:
            continue
        height, width = facts.upright_hw
        if facts.orientation in SWAPPING_ORIENTATIONS and height != width:
            sentence = (
                "is turned by its EXIF orientation; the sizes are those of the upright image."
            )
            yield data.about_image(image, "note", "EXIF orientation", sentence)
        else:
            sentence = (
                f"has the EXIF orientation {facts.orientation}, which keeps its size; check in the "
                "pictures that it was annotated upright."
            )
            yield data.about_image(image, "warning", "EXIF orientation", sentence)


def check_pixels(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find images of which a model sees only a part: deep ones, and stacks."""
    for image, facts in _with_facts(data):
        if facts.mode.startswith(("I", "F")):
            sentence = f"has pixels of mode {facts.mode}; values above 255 are cut off: scale it."
            yield data.about_image(image, "warning", "more than 8 bits", sentence)
        if facts.num_frames > 1:
            sentence = f"holds {facts.num_frames} pictures; only the first is used."
            yield data.about_image(image, "warning", "several pictures in a file", sentence)


def check_empty(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find images without annotations."""
    if not data.images:
        yield Finding("error", "no images", "There is no usable image in the file.")
    elif not data.annotations:
        yield Finding("warning", "no annotations", "There is no usable annotation in the file.")
    for image in data.images if data.annotations else ():
        if image.id not in data.annotations_by_image:
            sentence = "has no annotations; training leaves it out by default."
            yield data.about_image(image, "note", "image without annotations", sentence)


def check_duplicate_images(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find files that are listed twice, and files of equal content."""
    by_name: dict[str, ImageRecord] = {}
    by_digest: dict[str, ImageRecord] = {}
    for image in data.images:
        first = by_name.setdefault(image.file_name, image)
        if first is not image:
            sentence = f"is listed twice, with the ids {first.id} and {image.id}."
            yield data.about_image(image, "warning", "file listed twice", sentence)
            continue
        digest = data.digests.get(image.file_name, image.file_name)
        twin = by_digest.setdefault(digest, image)
        if twin is not image:
            sentence = f"has the same content as '{twin.file_name}'."
            yield data.about_image(image, "warning", "same image twice", sentence)


def _with_facts(data: Dataset) -> Iterator[tuple[ImageRecord, FileFacts]]:
    return ((i, data.files[i.file_name]) for i in data.images if i.file_name in data.files)


def _rotation(facts: FileFacts) -> str:
    return (
        f"is stored as {_size(facts.stored_hw)} and turned to {_size(facts.upright_hw)} by its "
        f"EXIF orientation {facts.orientation} when it is loaded; the file gives the size before."
    )


def _size(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]} x {size_hw[0]}"
