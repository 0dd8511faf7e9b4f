"""From files, folders, patterns, COCO files and videos to a sequence of pictures."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from d2seg.images import IMAGE_SUFFIXES, find_images, unique_name
from d2seg.inputs.coco import CocoImage, read_coco_images
from d2seg.inputs.source import Source, file_safe
from d2seg.inputs.video import VIDEO_SUFFIXES, count_frames, frame_rate, read_frames, require_pyav


@dataclass(frozen=True)
class _Clip:
    """A video; ``name`` is that of its frames, less their numbers."""

    name: str
    path: Path
    every: int


class Sources:
    """Pictures, one after the other; each time it is gone through, they come with the same names.

    The frames of a video are decoded on the way, and one lives as long as its :class:`Source`:
    go through them, and do not make a list of a long video. To pass a frame over costs its
    decoding only.

    Args:
        items: Pictures, and videos that give some.
    """

    def __init__(self, items: Sequence[Source | _Clip]) -> None:
        self._items = tuple(items)

    def __iter__(self) -> Iterator[Source]:
        """Yield the pictures in the order of the inputs."""
        taken = {item.name.casefold() for item in self._items}
        for item in self._items:
            if isinstance(item, Source):
                yield item
                continue
            rate = frame_rate(item.path, item.every)
            for number, reader in read_frames(item.path, item.every):
                name = unique_name(f"{item.name}_{number:06d}", taken)
                yield Source(name, item.path, number, frame_rate=rate, reader=reader)

    @property
    def total(self) -> int | None:
        """How many pictures there are, as far as the files say; None if a video does not."""
        total = 0
        for item in self._items:
            count = 1 if isinstance(item, Source) else count_frames(item.path, item.every)
            if count is None:
                return None
            total += count
        return total


def find_sources(
    inputs: Sequence[str | Path],
    *,
    image_root: str | Path | None = None,
    with_boxes: bool = False,
    every: int = 1,
) -> Sources:
    """Find the pictures behind what a user names; none is read yet.

    - A picture stands for itself, a folder for the pictures and videos directly inside it, a glob
      pattern for those it matches (see :func:`d2seg.images.find_images`).
    - A COCO file (``.json``, named itself) stands for its images. One that is missing on disk is
      listed; reading it raises FileNotFoundError.
    - A video stands for its frames. A damaged one ends with a source whose reading raises
      ValueError, so that what comes after it is still reached.

    A picture that is named twice is listed once.

    Args:
        inputs: Files, folders and patterns, at least one.
        image_root: The folder of the images of COCO files; by default it is searched for beside
            the file and near it.
        with_boxes: Give each picture the boxes that the COCO file has for it, less those of
            crowds; then there may be no other inputs than COCO files.
        every: Take every n-th frame of a video, beginning with the first.

    Returns:
        The pictures, in the order of the inputs.

    Raises:
        FileNotFoundError: A path does not exist, or none of a COCO file's images.
        ValueError: A folder or pattern has no picture; a JSON file is not COCO's; boxes are asked
            for and an input has none, or two entries have some for the same picture; ``every`` is
            not positive.
        ImportError: There is a video, and PyAV is not installed.
    """
    if every < 1:
        raise ValueError(
            f"every (--every) is {every}, but must be 1 or more (1 takes every frame)."
        )
    root = None if image_root is None else Path(image_root).expanduser()
    finder = _Finder(root, with_boxes, every)
    for path in find_images(inputs, (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)):
        finder.add(path)
    return Sources(finder.items)


class _Finder:
    """Collects pictures and videos under names of their own, each file once."""

    def __init__(self, image_root: Path | None, with_boxes: bool, every: int) -> None:
        self.image_root, self.with_boxes, self.every = image_root, with_boxes, every
        self.items: list[Source | _Clip] = []
        self._names: set[str] = set()
        self._files: set[str] = set()

    def add(self, path: Path) -> None:
        """Add what a file stands for."""
        suffix = path.suffix.lower()
        if suffix == ".json":
            self._add_coco(path)
        elif self.with_boxes:
            raise ValueError(f"'{path}' has no boxes; boxes come from COCO files (.json).")
        elif suffix in VIDEO_SUFFIXES:
            require_pyav()
            self._add(_Clip(path.stem, path, self.every))
        else:
            self._add(Source(path.stem, path))

    def _add_coco(self, json_file: Path) -> None:
        if not self._is_new(json_file):
            return
        for image in read_coco_images(json_file, self.image_root, self.with_boxes):
            self._add_image(image, json_file)

    def _add_image(self, image: CocoImage, json_file: Path) -> None:
        name = os.path.splitext(image.file_name)[0]
        is_new = self._add(Source(name, image.path, annotated=image.annotated))
        if not is_new and image.annotated is not None:
            raise ValueError(
                f"'{json_file}' lists '{image.file_name}', for which there are boxes already (from "
                "the same file or another one); which are meant?"
            )

    def _add(self, item: Source | _Clip) -> bool:
        """Add a picture or a video under a name like its own, unless it was added before."""
        is_new = self._is_new(item.path)
        if is_new:
            name = unique_name(file_safe(item.name), self._names)
            self.items.append(replace(item, name=name))
        return is_new

    def _is_new(self, path: Path) -> bool:
        file = os.path.normcase(os.path.abspath(path))
        is_new = file not in self._files
        self._files.add(file)
        return is_new
