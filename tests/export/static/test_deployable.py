"""The static model against the dynamic one and against the eager model in a padded batch."""

import pytest
import torch

from d2seg.export.deployable import DeployableRCNN
from d2seg.export.parity import Detections, compare_detections
from d2seg.export.static.deployable import StaticRCNN
from d2seg.export.static.settling import steps_taken
from tests.export.models import pictures, thin_config, thin_model
from tests.reference.cases import picture


def place(image: torch.Tensor, size_hw: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    canvas = torch.full((3, *size_hw), 77.0)  # what lies beside the image must not matter
    canvas[:, : image.shape[1], : image.shape[2]] = image
    return canvas, torch.tensor(image.shape[1:])


def check_same(want: Detections, found: tuple[torch.Tensor, ...]) -> None:
    count = int(found[-1])
    parity = compare_detections((1, 1), want, Detections(*(values[:count] for values in found[:4])))
    assert parity.num_matched == len(want.scores) == count > 10
    assert parity.box_difference < 2e-3
    assert parity.score_difference < 1e-5
    assert parity.mask_difference < 1e-4


@pytest.mark.parametrize("classes", [1, 5])
@pytest.mark.parametrize("agnostic", [False, True])
def test_a_full_canvas_is_what_the_dynamic_model_sees(classes: int, agnostic: bool) -> None:
    cfg = thin_config(
        MODEL__ROI_HEADS__NUM_CLASSES=classes,
        MODEL__ROI_BOX_HEAD__CLS_AGNOSTIC_BBOX_REG=agnostic,
        MODEL__ROI_MASK_HEAD__CLS_AGNOSTIC_MASK=agnostic,
    )
    dynamic = DeployableRCNN(thin_model(cfg), input_order="RGB")
    image = picture(1, 96, 160)
    with torch.inference_mode():
        want = dynamic(image)
        found = StaticRCNN(dynamic, (96, 160))(image, torch.tensor([96, 160]))
    check_same(Detections(*want[:4]), found)
    assert [len(values) for values in found[:4]] == [40] * 4
    count = int(found[-1])
    assert not found[0][count:].any()
    assert not found[3][count:].any()


def test_a_smaller_image_is_what_the_eager_model_sees_in_a_batch() -> None:
    model = thin_model()
    static = StaticRCNN(DeployableRCNN(model), (128, 160))
    for image in (one[:, :128, :160] for one in pictures()):
        batch = [{"image": image}, {"image": torch.zeros(3, 128, 160)}]
        with torch.inference_mode():
            want = model.inference(batch, do_postprocess=False)[0]
            found = static(*place(image, (128, 160)))
        check_same(
            Detections(want.pred_boxes.tensor, want.pred_classes, want.pred_masks, want.scores),
            found,
        )


def test_steps_of_the_suppression_are_counted() -> None:
    static = StaticRCNN(DeployableRCNN(thin_model()), (96, 160))
    inputs = [place(image[:, :96, :160], (96, 160)) for image in pictures()[:2]]
    steps = steps_taken(static, inputs)
    assert steps.keys() == {"detector.proposals.nms", "detector.boxes.nms"}
    assert all(0 < taken < allowed for taken, allowed in steps.values())
    assert [allowed for _, allowed in steps.values()] == [24, 16]


def test_sizes_that_do_not_fit_are_refused() -> None:
    dynamic = DeployableRCNN(thin_model())
    with pytest.raises(ValueError, match="width of the file's input is 100, .* multiple of 32"):
        StaticRCNN(dynamic, (96, 100))
    with pytest.raises(ValueError, match="height of the file's input is 0, .* such as 32"):
        StaticRCNN(dynamic, (0, 96))


def test_unlimited_detections_are_refused() -> None:
    dynamic = DeployableRCNN(thin_model(thin_config(TEST__DETECTIONS_PER_IMAGE=-1)))
    with pytest.raises(
        ValueError, match="TEST.DETECTIONS_PER_IMAGE is -1 here; set a limit above 0"
    ):
        StaticRCNN(dynamic, (96, 160))
