"""A trained Mask R-CNN as one module with tensors in and tensors out."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.ops.anchors import grid_anchors
from d2seg.core.ops.box_coding import decode_boxes
from d2seg.core.ops.detections import select_detections
from d2seg.core.ops.masks import mask_probabilities
from d2seg.core.ops.proposals import flatten_deltas, flatten_logits, select_proposals
from d2seg.export.layers import Pooler, fold_all
from d2seg.export.pyramid import Pyramid
from d2seg.export.support import check_supported


class DeployableRCNN(nn.Module):
    """Detects and segments the objects of one image; normalisation and padding are inside.

    Composed of the same functions as the eager model, without its classes for boxes and instances,
    so that TorchScript and the runtimes of phones can take it. Sizes and counts stay dynamic.

    Args:
        model: A ``GeneralizedRCNN`` of either framework, see
            :func:`d2seg.export.support.check_supported`. Its weights are copied.
        aten_only: Use no torchvision operator, which stock phone runtimes do not have.
        input_order: Order of the input's channels, ``RGB`` or ``BGR``; by default the model's own.

    Raises:
        ValueError: The model is of another family, or the order is unknown.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, model: Any, *, aten_only: bool = True, input_order: str = "") -> None:
        super().__init__()
        check_supported(model)
        self.flip_channels = needs_flip(model, input_order)
        self.size_divisibility: int = max(model.backbone.size_divisibility, 1)
        self.register_buffer("pixel_mean", model.pixel_mean.detach().clone())
        self.register_buffer("pixel_std", model.pixel_std.detach().clone())
        self.pyramid = Pyramid(model.backbone)
        names = self.pyramid.level_names
        self.proposals = ProposalStage(model.proposal_generator, names, aten_only)
        self.boxes = BoxStage(model.roi_heads, names, aten_only)
        self.masks = MaskStage(model.roi_heads, names, aten_only)
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Find the objects of an image.

        Args:
            image: (3, H, W), raw values 0..255, any H and W.

        Returns:
            boxes (N, 4) float, XYXY pixels of the input; classes (N,) int64; masks (N, 1, h, w)
            float probabilities within the boxes; scores (N,) float, falling; image_size (2,) int64,
            height and width of the input.
        """
        if image.dim() != 3 or image.shape[0] != self.pixel_mean.shape[0]:
            raise ValueError(f"the image must be one (3, H, W) tensor, but is {image.shape}")
        size_hw = (image.shape[1], image.shape[2])
        features = self.pyramid(self._prepare(image))
        regions = self.proposals(features, size_hw)
        boxes, scores, classes = self.boxes(features, regions, size_hw)
        masks = self.masks(features, boxes, classes)
        return boxes, classes, masks, scores, torch.tensor([size_hw[0], size_hw[1]])

    def _prepare(self, image: Tensor) -> Tensor:
        """Normalise (3, H, W) and pad at the bottom and the right: (1, 3, H', W')."""
        if self.flip_channels:
            image = image.flip(0)
        normalised = (image.to(torch.float32) - self.pixel_mean) / self.pixel_std
        bottom = -image.shape[1] % self.size_divisibility
        right = -image.shape[2] % self.size_divisibility
        return torch.constant_pad_nd(normalised[None], [0, right, 0, bottom], 0.0)


class ProposalStage(nn.Module):
    """The region proposal network.

    Args:
        rpn: detectron2's ``RPN``.
        level_names: Names of the pyramid's levels.
        aten_only: Use no torchvision operator.
    """

    def __init__(self, rpn: Any, level_names: list[str], aten_only: bool) -> None:
        super().__init__()
        head = rpn.rpn_head
        convs = [head.conv] if isinstance(head.conv, nn.Conv2d) else list(head.conv)
        self.hidden = nn.Sequential(*fold_all(convs))
        self.logits, self.deltas = fold_all([head.objectness_logits, head.anchor_deltas])
        self.levels: list[int] = [level_names.index(name) for name in rpn.in_features]
        self.cells: list[Tensor] = [cell.clone() for cell in rpn.anchor_generator.cell_anchors]
        self.strides: list[int] = list(rpn.anchor_generator.strides)
        self.offset = float(rpn.anchor_generator.offset)
        self.weights = [float(weight) for weight in rpn.box2box_transform.weights]
        self.scale_clamp = float(rpn.box2box_transform.scale_clamp)
        self.nms_thresh = float(rpn.nms_thresh)
        self.pre_nms_topk: int = rpn.pre_nms_topk[False]
        self.post_nms_topk: int = rpn.post_nms_topk[False]
        self.min_box_size = float(rpn.min_box_size)
        self.aten_only = aten_only

    def forward(self, features: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Propose regions: (P, 4) XYXY pixels, by falling objectness."""
        logits: list[Tensor] = []
        deltas: list[Tensor] = []
        anchors: list[Tensor] = []
        for index, level in enumerate(self.levels):
            hidden = self.hidden(features[level])
            logits.append(flatten_logits(self.logits(hidden))[0])
            deltas.append(flatten_deltas(self.deltas(hidden))[0])
            grid_hw = (hidden.shape[2], hidden.shape[3])
            anchors.append(
                grid_anchors(self.cells[index], grid_hw, self.strides[index], self.offset)
            )
        boxes, _ = select_proposals(
            logits,
            deltas,
            anchors,
            size_hw,
            self.weights,
            self.scale_clamp,
            self.nms_thresh,
            self.pre_nms_topk,
            self.post_nms_topk,
            self.min_box_size,
            self.aten_only,
        )
        return boxes


class BoxStage(nn.Module):
    """Classification and refinement of the proposals.

    Args:
        heads: detectron2's ``StandardROIHeads``.
        level_names: Names of the pyramid's levels.
        aten_only: Use no torchvision operator.
    """

    def __init__(self, heads: Any, level_names: list[str], aten_only: bool) -> None:
        super().__init__()
        head, predictor = heads.box_head, heads.box_predictor
        levels = [level_names.index(name) for name in heads.box_in_features]
        self.pooler = Pooler(heads.box_pooler, levels, aten_only)
        layers = fold_all(head.conv_norm_relus) + [nn.Flatten()]
        for linear in head.fcs:
            layers += [copy.deepcopy(linear), nn.ReLU()]
        self.head = nn.Sequential(*layers)
        self.cls_score = copy.deepcopy(predictor.cls_score)
        self.bbox_pred = copy.deepcopy(predictor.bbox_pred)
        self.weights = [float(weight) for weight in predictor.box2box_transform.weights]
        self.scale_clamp = float(predictor.box2box_transform.scale_clamp)
        self.score_thresh = float(predictor.test_score_thresh)
        self.nms_thresh = float(predictor.test_nms_thresh)
        self.topk: int = predictor.test_topk_per_image
        self.independent_classes: bool = predictor.use_sigmoid_ce
        self.aten_only = aten_only

    def forward(
        self, features: list[Tensor], regions: Tensor, size_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Turn regions (P, 4) into boxes (N, 4), scores (N,) and classes (N,)."""
        hidden = self.head(self.pooler(features, regions))
        logits = self.cls_score(hidden)
        probs = logits.sigmoid() if self.independent_classes else logits.softmax(dim=1)
        boxes = decode_boxes(self.bbox_pred(hidden), regions, self.weights, self.scale_clamp)
        chosen, scores, classes, _ = select_detections(
            boxes, probs, size_hw, self.score_thresh, self.nms_thresh, self.topk, self.aten_only
        )
        return chosen, scores, classes


class MaskStage(nn.Module):
    """Masks of the detected boxes.

    Args:
        heads: detectron2's ``StandardROIHeads``.
        level_names: Names of the pyramid's levels.
        aten_only: Use no torchvision operator.
    """

    def __init__(self, heads: Any, level_names: list[str], aten_only: bool) -> None:
        super().__init__()
        head = heads.mask_head
        levels = [level_names.index(name) for name in heads.mask_in_features]
        self.pooler = Pooler(heads.mask_pooler, levels, aten_only)
        self.head = nn.Sequential(
            *fold_all(head.conv_norm_relus),
            copy.deepcopy(head.deconv),
            nn.ReLU(),
            *fold_all([head.predictor]),
        )

    def forward(self, features: list[Tensor], boxes: Tensor, classes: Tensor) -> Tensor:
        """Segment boxes (N, 4) of classes (N,): probabilities (N, 1, h, w)."""
        return mask_probabilities(self.head(self.pooler(features, boxes)), classes)


def needs_flip(model: Any, input_order: str = "") -> bool:
    """Tell whether channels in ``input_order`` must be reversed for the model.

    Args:
        model: Its ``input_format`` is the order it was trained with.
        input_order: ``RGB`` or ``BGR``; empty for the model's own.

    Raises:
        ValueError: One of the orders is neither.
    """
    for name, order in (
        ("input_order", input_order or "BGR"),
        ("INPUT.FORMAT", model.input_format),
    ):
        if order not in ("RGB", "BGR"):
            raise ValueError(f"{name} is '{order}', but a file takes images in RGB or BGR order.")
    return bool(input_order) and input_order != model.input_format
