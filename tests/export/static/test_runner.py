"""A static model on images of any size, and how it is described."""

import torch

from d2seg.export.deployable import DeployableRCNN
from d2seg.export.description import ModelDescription, describe
from d2seg.export.parity import compare_file
from d2seg.export.static.canvas import OnCanvas, default_canvas, fit_canvas
from d2seg.export.static.deployable import StaticRCNN
from d2seg.export.static.export import describe_static
from d2seg.export.static.runner import Letterboxed
from tests.export.models import pictures, thin_config, thin_model


def letterboxed() -> Letterboxed:
    static = StaticRCNN(DeployableRCNN(thin_model()), (128, 160))
    inputs = (torch.zeros(3, 128, 160), torch.tensor([100, 160]))
    description = describe(thin_config(), "pte", True, "BGR")
    return Letterboxed(static, describe_static(description, static, inputs))


def test_shapes_of_the_file_are_described() -> None:
    found = letterboxed().description
    assert [(one.name, one.shape) for one in found.inputs] == [
        ("image", [3, 128, 160]),
        ("image_size", [2]),
    ]
    assert [(one.name, one.shape, one.dtype) for one in found.outputs] == [
        ("boxes", [40, 4], "float32"),
        ("classes", [40], "int64"),
        ("masks", [40, 1, 28, 28], "float32"),
        ("scores", [40], "float32"),
        ("image_size", [2], "int64"),
        ("count", [1], "int64"),
    ]
    assert (found.resize_short, found.resize_longest) == (0, 0)
    assert ModelDescription.from_json(found.to_json()) == found


def test_images_of_any_size_give_what_the_model_finds_on_the_canvas() -> None:
    run = letterboxed()
    names = [one.name for one in run.description.outputs]
    placed = [fit_canvas(image, (128, 160)) for image in pictures()]
    assert [tuple(image.shape[1:]) for image in placed] == [(103, 160), (128, 69), (84, 160)]
    report = compare_file(OnCanvas(thin_model(), (128, 160)), run, placed, False, names)
    assert report.passed
    assert sum(image.num_matched for image in report.images) > 60


def test_an_image_may_be_placed_as_it_is() -> None:
    run = letterboxed()
    names = [one.name for one in run.description.outputs]
    images = pictures()[::2]
    assert [tuple(image.shape[1:]) for image in images] == [(97, 150), (21, 40)]
    model = OnCanvas(thin_model(), (128, 160))
    report = compare_file(model, run.run_placed, images, False, names)
    assert report.passed
    assert min(image.num_matched for image in report.images) > 5
    assert not compare_file(model, run, images, False, names).passed  # which enlarges them


def test_boxes_come_in_pixels_of_the_image() -> None:
    run = letterboxed()
    image = pictures()[1]  # 130 x 70
    large = torch.nn.functional.interpolate(image[None], scale_factor=2.0)[0]
    for one in (image, large):
        outputs = dict(
            zip([schema.name for schema in run.description.outputs], run(one), strict=True)
        )
        height, width = one.shape[1:]
        assert outputs["image_size"].tolist() == [height, width]
        assert outputs["boxes"][:, 2].max() <= width
        assert height / 2 < outputs["boxes"][:, 3].max() <= height
        assert int(outputs["count"]) == len(outputs["boxes"]) == len(outputs["masks"]) > 5


def test_default_canvas_is_a_square_that_the_network_divides() -> None:
    assert default_canvas(800, 32) == (800, 800)
    assert default_canvas(250, 32) == (256, 256)
    assert default_canvas(10, 32) == (32, 32)
