"""The whole model at its edges: images without objects, given boxes, wrong input and settings."""

from typing import Any

import pytest
import torch

from d2seg.core.config import get_cfg
from d2seg.core.modeling import build_model
from d2seg.core.runtime.events import EventStorage
from d2seg.core.structures import BitMasks, Boxes, ImageList, Instances
from tests.core.modeling.thin import thin_config, thin_model
from tests.reference.cases import ground_truth, picture


def test_the_partial_execution_recipe_runs_as_written() -> None:
    model = thin_model()
    normalised = [(picture(1, 70, 110) - model.pixel_mean) / model.pixel_std]
    with torch.no_grad():
        images = ImageList.from_tensors(normalised, model.backbone.size_divisibility)
        features = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features)
        instances, _ = model.roi_heads(images, features, proposals)
        mask_features = [features[f] for f in model.roi_heads.in_features]
        mask_features = model.roi_heads.mask_pooler(
            mask_features, [x.pred_boxes for x in instances]
        )
        whole = model([{"image": picture(1, 70, 110)}])[0]["instances"]
    assert mask_features.shape == (len(instances[0]), 32, 14, 14)
    assert len(whole) == len(instances[0]) > 0
    torch.testing.assert_close(whole.pred_boxes.tensor, instances[0].pred_boxes.tensor)


def test_masks_of_given_boxes() -> None:
    model = thin_model()
    inputs = [{"image": picture(1, 70, 110)}]
    given = Instances(
        (70, 110), pred_boxes=Boxes([[5.0, 6, 60, 50]]), pred_classes=torch.tensor([2])
    )
    with torch.no_grad():
        found = model.inference(inputs, [given], do_postprocess=False)[0]
    assert found.pred_masks.shape == (1, 1, 28, 28)
    assert found.pred_boxes.tensor.tolist() == [[5.0, 6.0, 60.0, 50.0]]


def test_training_on_an_image_without_objects() -> None:
    model = thin_model().train()
    nothing = Instances(
        (70, 110),
        gt_boxes=Boxes(torch.zeros(0, 4)),
        gt_classes=torch.zeros(0, dtype=torch.int64),
        gt_masks=BitMasks(torch.zeros(0, 70, 110)),
    )
    with EventStorage() as storage:
        alone = model([{"image": picture(1, 70, 110), "instances": nothing}])
        assert storage.latest()["rpn/num_pos_anchors"][0] == 0
    mixed = model(
        [
            {"image": picture(1, 70, 110), "instances": nothing},
            {"image": picture(2, 90, 60), "instances": ground_truth(2, 90, 60, 3)},
        ]
    )
    for losses in (alone, mixed):
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())
    assert alone["loss_mask"].item() == alone["loss_rpn_loc"].item() == 0.0
    assert mixed["loss_mask"].item() > 0


def test_training_on_predicted_boxes_changes_only_the_masks() -> None:
    inputs = [{"image": picture(2, 90, 60), "instances": ground_truth(2, 90, 60, 3)}]
    all_regions = {
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 10**6,
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 10**6,
    }
    on_proposals = thin_model(all_regions).train()(inputs)
    on_predicted = thin_model(
        all_regions | {"MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": True}
    ).train()(inputs)
    assert on_proposals["loss_cls"].item() == pytest.approx(on_predicted["loss_cls"].item())
    assert on_proposals["loss_mask"].item() != pytest.approx(on_predicted["loss_mask"].item())


def test_a_step_on_one_image_lowers_its_loss() -> None:
    torch.manual_seed(0)
    model = build_model(thin_config({"MODEL.PIXEL_STD": [60.0, 60.0, 60.0]})).train()
    inputs = [{"image": picture(2, 90, 60), "instances": ground_truth(2, 90, 60, 3)}]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    totals = []
    for _ in range(12):
        loss = sum(model(inputs).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert sum(totals[-3:]) < 0.8 * sum(totals[:3])


def test_diverged_training_says_so() -> None:
    model = thin_model().train()
    with torch.no_grad():
        model.proposal_generator.rpn_head.objectness_logits.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="training has diverged. Lower SOLVER.BASE_LR"):
        model([{"image": picture(2, 90, 60), "instances": ground_truth(2, 90, 60, 3)}])


@pytest.mark.parametrize("image", [None, torch.zeros(70, 110), torch.zeros(70, 110, 3), [1, 2]])
def test_an_image_of_another_shape_is_named(image: Any) -> None:
    with pytest.raises(ValueError, match=r"'image', a tensor \(3, height, width\).*found"):
        thin_model()([{"image": image}])


def test_training_without_annotations_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Training needs 'instances'.*call model.eval\(\)"):
        thin_model().train()([{"image": picture(1, 70, 110)}])


def test_precomputed_proposals_are_used_and_their_absence_is_named() -> None:
    model = thin_model({"MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals"})
    assert model.proposal_generator is None
    with pytest.raises(ValueError, match="every input needs 'proposals'"):
        model([{"image": picture(1, 70, 110)}])
    proposals = Instances(
        (70, 110), proposal_boxes=Boxes([[5.0, 6, 60, 50]]), objectness_logits=torch.ones(1)
    )
    with torch.no_grad():
        found = model([{"image": picture(1, 70, 110), "proposals": proposals}])[0]["instances"]
    assert found.pred_masks.shape[1:] == (70, 110)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ({"MODEL.PIXEL_STD": [1.0, 0.0, 1.0]}, "PIXEL_STD values above 0"),
        ({"MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p9"]}, "IN_FEATURES names 'p9', .* only p2, p3"),
        ({"MODEL.DEVICE": "gpu"}, "MODEL.DEVICE is 'gpu', which torch does not know"),
    ],
)
def test_settings_that_cannot_work_are_named(opts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(thin_config(opts))


def test_an_unknown_architecture_lists_the_known() -> None:
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "GeneralisedRCNN"
    with pytest.raises(KeyError, match="did you mean 'GeneralizedRCNN'"):
        build_model(cfg)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to use")
def test_without_a_gpu_the_model_is_on_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    model = build_model(thin_config({"MODEL.DEVICE": "cuda"}))
    assert model.device.type == "cpu"
    assert caplog.messages == ["MODEL.DEVICE is 'cuda' but torch sees 0 GPU(s); using the CPU."]
