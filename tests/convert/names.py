"""The names and shapes of other toolboxes' files, written down from what those toolboxes do.

The modules that read such files have the same names in another form; nothing is shared with them.
"""

Shapes = dict[str, tuple[int, ...]]

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def caffe2_resnet(depth: int, groups: int = 1, width: int = 64, norm: str = "bn") -> Shapes:
    """List a ResNet of Detectron; ``norm`` is bn or gn."""
    stem = "res_conv1_bn" if norm == "bn" else "conv1_gn"
    shapes: Shapes = {"conv1_w": (64, 3, 7, 7), f"{stem}_s": (64,), f"{stem}_b": (64,)}
    before = 64
    for stage, blocks in enumerate(BLOCKS[depth], start=2):
        middle, after = groups * width * 2 ** (stage - 2), 256 * 2 ** (stage - 2)
        for block in range(blocks):
            name = f"res{stage}_{block}_branch"
            layers = {
                "2a": (middle, before, 1, 1),
                "2b": (middle, middle // groups, 3, 3),
                "2c": (after, middle, 1, 1),
            }
            if block == 0:
                layers["1"] = (after, before, 1, 1)
            for layer, shape in layers.items():
                shapes[f"{name}{layer}_w"] = shape
                shapes[f"{name}{layer}_{norm}_s"] = shapes[f"{name}{layer}_{norm}_b"] = shape[:1]
            before = after
    return shapes


def caffe2_mask_rcnn_fpn(
    depth: int, groups: int = 1, width: int = 64, norm: str = "bn", box_convs: int = 0
) -> Shapes:
    """List a Mask R-CNN of Detectron with a pyramid, 81 classes with the background."""
    gn = norm == "gn"
    shapes = caffe2_resnet(depth, groups, width, norm)
    last = {stage: count - 1 for stage, count in enumerate(BLOCKS[depth], start=2)}
    for stage, block in last.items():
        lateral = f"fpn_inner_res{stage}_{block}_sum" + ("" if stage == 5 else "_lateral")
        _layer(shapes, lateral, (256, 256 * 2 ** (stage - 2), 1, 1), gn)
        _layer(shapes, f"fpn_res{stage}_{block}_sum", (256, 256, 3, 3), gn)
    _layer(shapes, "conv_rpn_fpn2", (256, 256, 3, 3))
    _layer(shapes, "rpn_cls_logits_fpn2", (3, 256, 1, 1))
    _layer(shapes, "rpn_bbox_pred_fpn2", (12, 256, 1, 1))
    for index in range(1, box_convs + 1):
        _layer(shapes, f"head_conv{index}", (256, 256, 3, 3), gn)
    _layer(shapes, "fc6", (1024, 256 * 49))
    if not box_convs:
        _layer(shapes, "fc7", (1024, 1024))
    _layer(shapes, "cls_score", (81, 1024))
    _layer(shapes, "bbox_pred", (324, 1024))
    for index in range(1, 5):
        _layer(shapes, f"_{'mask' if gn else '[mask]'}_fcn{index}", (256, 256, 3, 3), gn)
    _layer(shapes, "conv5_mask", (256, 256, 2, 2))
    _layer(shapes, "mask_fcn_logits", (81, 256, 1, 1))
    return shapes


def caffe2_mask_rcnn_c4() -> Shapes:
    """List a Mask R-CNN of Detectron on the first four stages of a ResNet-50."""
    shapes = caffe2_resnet(50)
    _layer(shapes, "conv_rpn", (1024, 1024, 3, 3))
    _layer(shapes, "rpn_cls_logits", (15, 1024, 1, 1))
    _layer(shapes, "rpn_bbox_pred", (60, 1024, 1, 1))
    _layer(shapes, "cls_score", (81, 2048))
    _layer(shapes, "bbox_pred", (324, 2048))
    _layer(shapes, "conv5_mask", (2048, 256, 2, 2))
    _layer(shapes, "mask_fcn_logits", (81, 256, 1, 1))
    return shapes


def _layer(shapes: Shapes, name: str, shape: tuple[int, ...], gn: bool = False) -> None:
    channels = shape[1] if name == "conv5_mask" else shape[0]
    shapes[f"{name}_w"] = shape
    for suffix in ("_gn_s", "_gn_b") if gn else ("_b",):
        shapes[f"{name}{suffix}"] = (channels,)


def benchmark_resnet(
    body: str, depth: int, stages: tuple[int, ...], groups: int = 1, width: int = 64
) -> Shapes:
    """List stages of a ResNet of maskrcnn-benchmark with frozen batch norms."""
    shapes: Shapes = {}
    for stage in stages:
        middle, after = groups * width * 2 ** (stage - 1), 256 * 2 ** (stage - 1)
        before = 64 if stage == 1 else after // 2
        for block in range(BLOCKS[depth][stage - 1]):
            name = f"{body}layer{stage}.{block}"
            first = before if block == 0 else after
            for index, shape in enumerate(
                [(middle, first, 1, 1), (middle, middle // groups, 3, 3), (after, middle, 1, 1)],
                start=1,
            ):
                shapes[f"{name}.conv{index}.weight"] = shape
                shapes |= _norm(f"{name}.bn{index}", shape[0])
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (after, first, 1, 1)
                shapes |= _norm(f"{name}.downsample.1", after)
    return shapes


def benchmark_mask_rcnn_fpn(depth: int, groups: int = 1, width: int = 64) -> Shapes:
    """List a Mask R-CNN of maskrcnn-benchmark with a pyramid, anchors included."""
    stages = (1, 2, 3, 4)
    shapes = _benchmark_stem()
    shapes |= benchmark_resnet("backbone.body.", depth, stages, groups, width)
    for level in (1, 2, 3, 4):
        _plain(shapes, f"backbone.fpn.fpn_inner{level}", (256, 256 * 2 ** (level - 1), 1, 1))
        _plain(shapes, f"backbone.fpn.fpn_layer{level}", (256, 256, 3, 3))
    for level in range(5):
        shapes[f"rpn.anchor_generator.cell_anchors.{level}"] = (3, 4)
    _plain(shapes, "rpn.head.conv", (256, 256, 3, 3))
    _plain(shapes, "rpn.head.cls_logits", (3, 256, 1, 1))
    _plain(shapes, "rpn.head.bbox_pred", (12, 256, 1, 1))
    _plain(shapes, "roi_heads.box.feature_extractor.fc6", (1024, 256 * 49))
    _plain(shapes, "roi_heads.box.feature_extractor.fc7", (1024, 1024))
    _plain(shapes, "roi_heads.box.predictor.cls_score", (81, 1024))
    _plain(shapes, "roi_heads.box.predictor.bbox_pred", (324, 1024))
    for index in (1, 2, 3, 4):
        _plain(shapes, f"roi_heads.mask.feature_extractor.mask_fcn{index}", (256, 256, 3, 3))
    shapes["roi_heads.mask.predictor.conv5_mask.weight"] = (256, 256, 2, 2)
    shapes["roi_heads.mask.predictor.conv5_mask.bias"] = (256,)
    _plain(shapes, "roi_heads.mask.predictor.mask_fcn_logits", (81, 256, 1, 1))
    return shapes


def benchmark_mask_rcnn_gn() -> Shapes:
    """List a Mask R-CNN of maskrcnn-benchmark on a ResNet-50 with a pyramid and group norms.

    A convolution with its norm is a sequence there; the box head has four of them in one.
    """
    shapes: Shapes = {}
    for name, shape in benchmark_mask_rcnn_fpn(50).items():
        layer, _, leaf = name.rpartition(".")
        if leaf.startswith("running_") or ".fc7." in name:
            continue
        if (".fpn_" not in name and ".mask_fcn" not in name) or "logits" in name:
            shapes[name] = shape
        elif leaf == "weight":
            shapes[f"{layer}.0.weight"] = shape
            shapes[f"{layer}.1.weight"] = shapes[f"{layer}.1.bias"] = shape[:1]
    for index in range(4):
        convs = "roi_heads.box.feature_extractor.xconvs"
        shapes[f"{convs}.{3 * index}.weight"] = (256, 256, 3, 3)
        shapes[f"{convs}.{3 * index + 1}.weight"] = (256,)
        shapes[f"{convs}.{3 * index + 1}.bias"] = (256,)
    return shapes


def benchmark_mask_rcnn_c4() -> Shapes:
    """List a Mask R-CNN of maskrcnn-benchmark on the first four stages of a ResNet-50.

    The mask head has the box head's ``layer4`` under a name of its own.
    """
    shapes = _benchmark_stem() | benchmark_resnet("backbone.body.", 50, (1, 2, 3))
    for head in ("box", "mask"):
        shapes |= benchmark_resnet(f"roi_heads.{head}.feature_extractor.head.", 50, (4,))
    shapes["rpn.anchor_generator.cell_anchors.0"] = (15, 4)
    _plain(shapes, "rpn.head.conv", (1024, 1024, 3, 3))
    _plain(shapes, "rpn.head.cls_logits", (15, 1024, 1, 1))
    _plain(shapes, "rpn.head.bbox_pred", (60, 1024, 1, 1))
    _plain(shapes, "roi_heads.box.predictor.cls_score", (81, 2048))
    _plain(shapes, "roi_heads.box.predictor.bbox_pred", (324, 2048))
    shapes["roi_heads.mask.predictor.conv5_mask.weight"] = (2048, 256, 2, 2)
    shapes["roi_heads.mask.predictor.conv5_mask.bias"] = (256,)
    _plain(shapes, "roi_heads.mask.predictor.mask_fcn_logits", (81, 256, 1, 1))
    return shapes


def _benchmark_stem() -> Shapes:
    stem = {"backbone.body.stem.conv1.weight": (64, 3, 7, 7)}
    return stem | _norm("backbone.body.stem.bn1", 64)


def _norm(name: str, channels: int) -> Shapes:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (channels,) for leaf in leaves}


def _plain(shapes: Shapes, name: str, shape: tuple[int, ...]) -> None:
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
