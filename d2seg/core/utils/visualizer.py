"""Pictures of predictions and annotations, under detectron2's names; drawn with Pillow."""

from collections.abc import Sequence
from enum import Enum, unique
from typing import Any

import numpy as np
from torch import Tensor

from d2seg.core.data import MetadataCatalog
from d2seg.core.data.catalog import Metadata
from d2seg.core.data.detection_utils import read_image
from d2seg.core.structures import BitMasks, Instances, Keypoints, PolygonMasks
from d2seg.core.utils.canvas import VisImage
from d2seg.core.utils.colormap import (
    Color,
    change_brightness,
    jitter,
    random_color,
    random_colors,
)
from d2seg.core.utils.drawer import Drawer
from d2seg.core.utils.generic_mask import GenericMask
from d2seg.core.utils.shapes import (
    as_list,
    from_bytes,
    inner_point,
    keypoints_of,
    middle,
    of_each,
    text_labels,
    to_numpy,
    upright_box,
)

__all__ = ["ColorMode", "GenericMask", "VisImage", "Visualizer", "random_color"]

_OFF_WHITE = (1.0, 1.0, 240.0 / 255)
_SMALL_OBJECT_AREA = 1000
_KEYPOINT_THRESHOLD = 0.05


@unique
class ColorMode(Enum):
    """How instances are coloured."""

    IMAGE = 0
    """A colour at random for every instance, over the image."""
    SEGMENTATION = 1
    """Instances of a class have similar colours, those of the metadata, nearly opaque."""
    IMAGE_BW = 2
    """As IMAGE, over a grey image: only instances keep their colours."""


class Visualizer(Drawer):
    """Draws on an image; ``get_output`` gives the picture.

    Args:
        img_rgb: (H, W, 3) RGB, values in 0..255. Not modified.
        metadata: Names and colours of classes and keypoints; by default nothing is known.
        scale: Pixels of the picture for each pixel of the image.
        instance_mode: How instances are coloured.
        font_size_scale: Factor of the size of all text.
    """

    def __init__(
        self,
        img_rgb: np.ndarray | Tensor,
        metadata: Metadata | None = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
        font_size_scale: float = 1.0,
    ) -> None:
        super().__init__(img_rgb, scale, font_size_scale)
        self.metadata = MetadataCatalog.get("__nonexist__") if metadata is None else metadata
        self._instance_mode = instance_mode
        self.keypoint_threshold = _KEYPOINT_THRESHOLD
        self.stuff_colors: dict[int, Color] = {}

    def get_output(self) -> VisImage:
        """Return the picture with all that has been drawn."""
        return self.output

    # --- whole results ---------------------------------------------------------------------------

    def draw_instance_predictions(self, predictions: Instances, jittering: bool = True) -> VisImage:
        """Draw what a detector returned.

        Args:
            predictions: With any of ``pred_boxes``, ``pred_classes``, ``scores``, ``pred_masks``
                ((N, H, W) bool or run lengths) and ``pred_keypoints``.
            jittering: In SEGMENTATION mode, vary the colours of a class.
        """
        colors, alpha = None, 0.5
        known = self.metadata.get("thing_colors")
        if (
            self._instance_mode == ColorMode.SEGMENTATION
            and known
            and predictions.has("pred_classes")
        ):
            of_class = [from_bytes(known[int(index)]) for index in predictions.pred_classes]
            colors = [jitter(color) for color in of_class] if jittering else of_class
            alpha = 0.8
        elif self._instance_mode == ColorMode.IMAGE_BW:
            alpha = 0.3
        return self.overlay_predictions(predictions, colors, alpha)

    def overlay_predictions(
        self, predictions: Instances, colors: Sequence[Color] | None, alpha: float
    ) -> VisImage:
        """Draw what a detector returned in given colours, one for each; None for any."""
        fields = predictions.get_fields()
        masks = self._to_masks(fields["pred_masks"]) if "pred_masks" in fields else None
        if self._instance_mode == ColorMode.IMAGE_BW:
            self.output.reset_image(self._grey_except(masks or []))
        return self.overlay_instances(
            boxes=fields.get("pred_boxes"),
            labels=text_labels(
                as_list(fields.get("pred_classes")),
                as_list(fields.get("scores")),
                self._names("thing_classes"),
            ),
            masks=masks,
            keypoints=fields.get("pred_keypoints"),
            assigned_colors=colors,
            alpha=alpha,
        )

    def draw_sem_seg(
        self, sem_seg: Tensor | np.ndarray, area_threshold: float | None = None, alpha: float = 0.8
    ) -> VisImage:
        """Draw the class of each pixel.

        Args:
            sem_seg: (H, W) integer; classes beyond those in the metadata are not drawn.
            area_threshold: Names are written on parts larger than this, in pixels.
            alpha: 1 is opaque.
        """
        classes = to_numpy(sem_seg)
        names = self._names("stuff_classes")
        labels, areas = np.unique(classes, return_counts=True)
        for label in labels[np.argsort(-areas)].tolist():
            if names is not None and not 0 <= label < len(names):
                continue
            self.draw_binary_mask(
                classes == label,
                color=self._stuff_color(label),
                edge_color=_OFF_WHITE,
                text=str(label) if names is None else names[label],
                alpha=alpha,
                area_threshold=area_threshold,
            )
        return self.output

    def draw_panoptic_seg(
        self,
        panoptic_seg: Tensor | np.ndarray,
        segments_info: list[dict[str, Any]] | None,
        area_threshold: float | None = None,
        alpha: float = 0.7,
    ) -> VisImage:
        """Draw objects and stuff.

        Args:
            panoptic_seg: (H, W) integer, the id of each pixel's segment.
            segments_info: For each segment ``id``, ``isthing``, ``category_id`` and perhaps
                ``score``; None where ids are class times ``label_divisor`` of the metadata plus a
                number.
            area_threshold: Names of stuff are written on parts larger than this, in pixels.
            alpha: 1 is opaque.
        """
        segments = to_numpy(panoptic_seg)
        infos = self._infos(segments) if segments_info is None else segments_info
        present = [(one, segments == one["id"]) for one in infos]
        present = [(one, mask) for one, mask in present if mask.any()]
        if self._instance_mode == ColorMode.IMAGE_BW:
            masks = [GenericMask(mask, *segments.shape) for _, mask in present]
            self.output.reset_image(self._grey_except(masks))
        names = self._names("stuff_classes")
        for one, mask in present:
            if not one["isthing"]:
                label = one["category_id"]
                self.draw_binary_mask(
                    mask,
                    color=self._stuff_color(label),
                    edge_color=_OFF_WHITE,
                    text=str(label) if names is None else names[label],
                    alpha=alpha,
                    area_threshold=area_threshold,
                )
        things = [(one, mask) for one, mask in present if one["isthing"]]
        if things:
            self._draw_things(things, alpha)
        return self.output

    draw_panoptic_seg_predictions = draw_panoptic_seg

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draw the annotations of one image, in detectron2's data set format."""
        annotations = dic.get("annotations") or []
        if annotations:
            self._draw_annotations(annotations)
        semantic = dic.get("sem_seg")
        if semantic is None and "sem_seg_file_name" in dic:
            semantic = read_image(dic["sem_seg_file_name"])
        if semantic is not None:
            self.draw_sem_seg(np.squeeze(to_numpy(semantic)), area_threshold=0, alpha=0.5)
        if "pan_seg_file_name" in dic:
            colors = read_image(dic["pan_seg_file_name"], "RGB").astype(np.int64)
            ids = colors @ np.array([1, 256, 256 * 256])  # as COCO stores panoptic ids
            self.draw_panoptic_seg(ids, dic["segments_info"], area_threshold=0, alpha=0.5)
        return self.output

    def overlay_instances(
        self,
        *,
        boxes: Any = None,
        labels: Sequence[str] | None = None,
        masks: Any = None,
        keypoints: Any = None,
        assigned_colors: Sequence[Color] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw objects, large ones first.

        Args:
            boxes: Boxes, RotatedBoxes, or (N, 4) XYXY or (N, 5) rotated, in pixels.
            labels: A text for each.
            masks: BitMasks, PolygonMasks, (N, H, W), or a list of any forms of `GenericMask`.
            keypoints: Keypoints or (N, K, 3): x, y and a score or visibility.
            assigned_colors: A colour for each; by default at random.
            alpha: Of the masks; 1 is opaque.
        """
        corners = None if boxes is None else self._to_boxes(boxes)
        generic = None if masks is None else self._to_masks(masks)
        points = None if keypoints is None else self._to_keypoints(keypoints)
        counts = {len(one) for one in (corners, generic, points, labels) if one is not None}
        if len(counts) > 1:
            raise ValueError(
                f"Boxes, masks, keypoints and labels must be equally many; found {sorted(counts)}."
            )
        count = counts.pop() if counts else 0
        if count == 0:
            return self.output
        if corners is not None and corners.shape[1] == 5:
            return self.overlay_rotated_instances(corners, labels, assigned_colors)
        colors = assigned_colors or random_colors(count, rgb=True, maximum=1)
        for index in self._large_first(corners, generic, count):
            if corners is not None:
                self.draw_box(corners[index], edge_color=colors[index])
            if generic is not None:
                self._draw_mask(generic[index], colors[index], alpha)
            if labels is not None:
                self._label_object(
                    labels[index],
                    colors[index],
                    None if corners is None else corners[index],
                    None if generic is None else generic[index],
                )
        for one in points if points is not None else ():
            self.draw_and_connect_keypoints(one)
        return self.output

    def overlay_rotated_instances(
        self,
        boxes: Any = None,
        labels: Sequence[str] | None = None,
        assigned_colors: Sequence[Color] | None = None,
    ) -> VisImage:
        """Draw rotated boxes, RotatedBoxes or (N, 5), large ones first."""
        rotated = np.zeros((0, 5)) if boxes is None else self._to_boxes(boxes)
        colors = assigned_colors or random_colors(len(rotated), rgb=True, maximum=1)
        for index in np.argsort(-rotated[:, 2] * rotated[:, 3]).tolist():
            self.draw_rotated_box_with_label(
                rotated[index],
                edge_color=colors[index],
                label=None if labels is None else labels[index],
            )
        return self.output

    def draw_and_connect_keypoints(self, keypoints: Tensor | np.ndarray) -> VisImage:
        """Draw the keypoints of one object and the lines that the metadata says connect them.

        Args:
            keypoints: (K, 3): x, y in pixels and a score or visibility; low ones are left out.
        """
        points = to_numpy(keypoints)
        names = self.metadata.get("keypoint_names")
        visible: dict[str, tuple[float, float]] = {}
        for index, (x, y, score) in enumerate(points.tolist()):
            if score > self.keypoint_threshold:
                self.draw_circle((x, y), color="red")
                visible[names[index] if names else str(index)] = (x, y)
        for first, second, color in self.metadata.get("keypoint_connection_rules") or ():
            if first in visible and second in visible:
                (x0, y0), (x1, y1) = visible[first], visible[second]
                self.draw_line([x0, x1], [y0, y1], color=from_bytes(color))
        # A person's head and hips hang on the middle between two points.
        self._connect_to_middle(visible, "nose", "left_shoulder", "right_shoulder")
        shoulders = middle(visible, "left_shoulder", "right_shoulder")
        hips = middle(visible, "left_hip", "right_hip")
        if shoulders is not None and hips is not None:
            self.draw_line([shoulders[0], hips[0]], [shoulders[1], hips[1]], color="red")
        return self.output

    # --- inside ----------------------------------------------------------------------------------

    def _names(self, key: str) -> list[str] | None:
        return self.metadata.get(key)

    def _stuff_color(self, label: int) -> Color:
        known = self.metadata.get("stuff_colors")
        if known is not None and 0 <= label < len(known):
            return from_bytes(known[label])
        return self.stuff_colors.setdefault(
            label, tuple(random_color(rgb=True, maximum=1).tolist())
        )

    def _infos(self, segments: np.ndarray) -> list[dict[str, Any]]:
        divisor = self.metadata.get("label_divisor")
        if not divisor:
            raise ValueError(
                "draw_panoptic_seg needs segments_info, or 'label_divisor' in the metadata."
            )
        things = set((self.metadata.get("thing_dataset_id_to_contiguous_id") or {}).values())
        infos = []
        for number in np.unique(segments).tolist():
            if number >= 0:
                label = number // divisor
                infos.append({"id": number, "category_id": label, "isthing": label in things})
        return infos

    def _draw_things(self, things: list[tuple[dict[str, Any], np.ndarray]], alpha: float) -> None:
        classes = [one["category_id"] for one, _ in things]
        scores = [one["score"] for one, _ in things] if "score" in things[0][0] else None
        crowd = [bool(one.get("iscrowd", 0)) for one, _ in things]
        known = self.metadata.get("thing_colors")
        self.overlay_instances(
            masks=[mask for _, mask in things],
            labels=text_labels(classes, scores, self._names("thing_classes"), crowd),
            assigned_colors=[jitter(from_bytes(known[c])) for c in classes] if known else None,
            alpha=alpha,
        )

    def _draw_annotations(self, annotations: list[dict[str, Any]]) -> None:
        classes = [one["category_id"] for one in annotations]
        crowd = [bool(one.get("iscrowd", 0)) for one in annotations]
        known = self.metadata.get("thing_colors")
        colors = None
        if self._instance_mode == ColorMode.SEGMENTATION and known:
            colors = [jitter(from_bytes(known[index])) for index in classes]
        self.overlay_instances(
            labels=text_labels(classes, None, self._names("thing_classes"), crowd),
            boxes=[upright_box(one) for one in annotations] if "bbox" in annotations[0] else None,
            masks=of_each(annotations, "segmentation"),
            keypoints=keypoints_of(annotations),
            assigned_colors=colors,
        )

    def _to_boxes(self, boxes: Any) -> np.ndarray:
        tensor = getattr(boxes, "tensor", boxes)
        values = np.asarray(to_numpy(tensor), np.float64)
        return values if len(values) else values.reshape(0, 4)

    def _to_masks(self, masks: Any) -> list[GenericMask]:
        if isinstance(masks, PolygonMasks):
            masks = masks.polygons
        elif isinstance(masks, BitMasks):
            masks = masks.tensor
        if isinstance(masks, Tensor | np.ndarray):
            masks = list(to_numpy(masks))
        size_hw = self.output.height, self.output.width
        return [
            one if isinstance(one, GenericMask) else GenericMask(one, *size_hw) for one in masks
        ]

    @staticmethod
    def _to_keypoints(keypoints: Any) -> np.ndarray:
        tensor = keypoints.tensor if isinstance(keypoints, Keypoints) else keypoints
        return np.asarray(to_numpy(tensor))

    @staticmethod
    def _large_first(
        boxes: np.ndarray | None, masks: list[GenericMask] | None, count: int
    ) -> list[int]:
        areas = np.zeros(count)
        if boxes is not None:
            areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        elif masks is not None:
            areas = np.array([mask.area() for mask in masks])
        return np.argsort(-areas, kind="stable").tolist()

    def _label_object(
        self, label: str, color: Color, box: np.ndarray | None, mask: GenericMask | None
    ) -> None:
        if box is not None:
            x, y = float(box[0]), float(box[1])
            area = float((box[2] - box[0]) * (box[3] - box[1]))
            alignment = "left"
        elif mask is not None and mask.area():
            x, y = inner_point(mask.mask)
            area = float(mask.area())
            alignment = "center"
        else:
            return
        size = self._default_font_size
        if area < _SMALL_OBJECT_AREA and box is not None:
            size, y = size * 0.75, float(box[3])  # beside a small object, not on it
        bright = change_brightness(color, 0.7)
        self.draw_text(label, (x, y), color=bright, horizontal_alignment=alignment, font_size=size)

    def _connect_to_middle(
        self, visible: dict[str, tuple[float, float]], name: str, left: str, right: str
    ) -> None:
        center = middle(visible, left, right)
        if name in visible and center is not None:
            (x0, y0), (x1, y1) = visible[name], center
            self.draw_line([x0, x1], [y0, y1], color="red")

    def _grey_except(self, masks: list[GenericMask]) -> np.ndarray:
        grey = self.img.astype(np.float32).mean(axis=2, keepdims=True).repeat(3, axis=2)
        for one in masks:
            inside = one.mask.astype(bool)
            grey[inside] = self.img[inside]
        return grey
