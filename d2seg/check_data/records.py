"""A COCO-format data set with typed entries, on which checks need not look at types again."""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from d2seg.check_data.findings import Finding, Id, Severity
from d2seg.check_data.image_files import FileFacts
from d2seg.check_data.outlines import Outline, measure_outline


class ImageRecord(NamedTuple):
    """An entry of ``images``.

    Attributes:
        position: Its place in the file's list.
        id: As the file gives it.
        file_name: Relative to the image root.
        width: In pixels; None if it is missing or no positive whole number.
        height: Likewise.
    """

    position: int
    id: Id
    file_name: str
    width: int | None
    height: int | None

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """Height and width, if the file has both."""
        if self.height is None or self.width is None:
            return None
        return self.height, self.width


class CategoryRecord(NamedTuple):
    """An entry of ``categories``; ``keypoints`` are the names of its keypoints, if it has any."""

    position: int
    id: int
    name: str
    keypoints: tuple[str, ...] = ()


class AnnotationRecord(NamedTuple):
    """An entry of ``annotations``; what is missing or unusable is None.

    Attributes:
        position: Its place in the file's list.
        id: As the file gives it.
        image_id: The image it belongs to.
        category_id: What it is.
        bbox: Left, top, width, height; finite numbers.
        segmentation: Lists of finite numbers (polygons), or a dict with ``size`` and ``counts``.
        area: In pixels.
        iscrowd: 0 or 1.
        keypoints: x, y, visibility of each keypoint in turn; finite numbers.
        num_keypoints: How many of them are labelled, as the file says.
    """

    position: int
    id: Id | None
    image_id: Id
    category_id: int
    bbox: tuple[float, float, float, float] | None
    segmentation: list[list[float]] | dict[str, Any] | None
    area: float | None
    iscrowd: int | None
    keypoints: list[float] | None
    num_keypoints: int | None


@dataclass
class Dataset:
    """A data set that was read, with what its files turned out to be.

    Attributes:
        json_file: Where it was read.
        image_root: The folder of the images.
        images: Its images, in the file's order.
        categories: Its categories.
        annotations: Its annotations.
        is_lvis: Whether it is in LVIS' variant of the format, which knows no crowds.
        files: What is known about each image file, by file name.
        digests: A digest of each image file that may have a twin, by file name.
    """

    json_file: str
    image_root: str
    images: list[ImageRecord]
    categories: list[CategoryRecord]
    annotations: list[AnnotationRecord]
    is_lvis: bool = False
    files: dict[str, FileFacts] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    @cached_property
    def images_by_id(self) -> dict[Id, ImageRecord]:
        """The first image of each id."""
        return {image.id: image for image in reversed(self.images)}

    @cached_property
    def categories_by_id(self) -> dict[int, CategoryRecord]:
        """The first category of each id."""
        return {category.id: category for category in reversed(self.categories)}

    @cached_property
    def annotations_by_image(self) -> dict[Id, list[AnnotationRecord]]:
        """The annotations of each image id that has some."""
        groups: dict[Id, list[AnnotationRecord]] = defaultdict(list)
        for annotation in self.annotations:
            groups[annotation.image_id].append(annotation)
        return dict(groups)

    @cached_property
    def outlines(self) -> dict[int, Outline]:
        """Extent and area of every usable segmentation, by position of the annotation."""
        outlines = {}
        for annotation in self.annotations:
            outline = measure_outline(annotation.segmentation)
            if outline is not None:
                outlines[annotation.position] = outline
        return outlines

    def size_hw(self, annotation: AnnotationRecord) -> tuple[int, int] | None:
        """Return height and width of the image an annotation belongs to, if they are known."""
        image = self.images_by_id.get(annotation.image_id)
        return image.size_hw if image else None

    def about_image(
        self, image: ImageRecord, severity: Severity, kind: str, sentence: str
    ) -> Finding:
        """Return a finding about an image; the sentence goes on after its name."""
        return Finding(severity, kind, f"'{image.file_name}' {sentence}", image.file_name, image.id)

    def about(
        self, annotation: AnnotationRecord, severity: Severity, kind: str, sentence: str
    ) -> Finding:
        """Return a finding about an annotation; the sentence goes on after its name."""
        image = self.images_by_id.get(annotation.image_id)
        where = f" of '{image.file_name}'" if image else ""
        return Finding(
            severity,
            kind,
            f"Annotation {annotation.id}{where} {sentence}",
            image.file_name if image else "",
            annotation.image_id,
            () if annotation.id is None else (annotation.id,),
        )
