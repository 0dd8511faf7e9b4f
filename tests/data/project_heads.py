"""A project written for detectron2 alone: heads of its own, registered and trained."""

from typing import Any

import detectron2
import torch
from detectron2.config import configurable, get_cfg
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads import (
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    FastRCNNOutputLayers,
    StandardROIHeads,
)
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage, get_event_storage
from torch import nn


@ROI_BOX_HEAD_REGISTRY.register()
class ProjectBoxHead(nn.Module):
    def __init__(self, cfg: Any, input_shape: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(input_shape.channels * input_shape.height * input_shape.width, 12)

    @property
    def output_shape(self) -> Any:
        return ShapeSpec(channels=12)

    def forward(self, x: Any) -> Any:
        return self.fc(x.flatten(start_dim=1)).relu()


class ProjectOutputLayers(FastRCNNOutputLayers):
    @configurable
    def __init__(self, input_shape: Any, *, factor: float, **kwargs: Any) -> None:
        super().__init__(input_shape=input_shape, **kwargs)
        self.factor = factor

    @classmethod
    def from_config(cls, cfg: Any, input_shape: Any) -> Any:
        arguments = super().from_config(cfg, input_shape)
        arguments["factor"] = cfg.PROJECT_FACTOR
        return arguments

    def losses(self, predictions: Any, proposals: Any) -> Any:
        gt_classes = cat([x.gt_classes for x in proposals], dim=0)
        get_event_storage().put_scalar("project/regions", len(gt_classes))
        losses = super().losses(predictions, proposals)
        return {"loss_project": losses["loss_cls"] * self.factor, **losses}


@ROI_HEADS_REGISTRY.register()
class ProjectHeads(StandardROIHeads):
    @classmethod
    def _init_box_head(cls, cfg: Any, input_shape: Any) -> Any:
        arguments = super()._init_box_head(cfg, input_shape)
        head = arguments["box_head"]
        arguments["box_predictor"] = ProjectOutputLayers(cfg, head.output_shape)
        return arguments

    def _forward_box(self, features: Any, proposals: Any) -> Any:
        features = [features[f] for f in self.box_in_features]
        pooled = self.box_pooler(features, [x.proposal_boxes for x in proposals])
        predictions = self.box_predictor(self.box_head(pooled))
        if self.training:
            return self.box_predictor.losses(predictions, proposals)
        return self.box_predictor.inference(predictions, proposals)[0]


def build() -> Any:
    cfg = get_cfg()
    cfg.PROJECT_FACTOR = 3.0
    cfg.merge_from_list(
        ["MODEL.DEVICE", "cpu", "MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16]
        + ["MODEL.RESNETS.STEM_OUT_CHANNELS", 16, "MODEL.ROI_HEADS.NAME", "ProjectHeads"]
        + ["MODEL.ROI_BOX_HEAD.NAME", "ProjectBoxHead"]
        + ["MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 4, "MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlign"]
        + ["MODEL.ROI_HEADS.NUM_CLASSES", 2, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 50]
    )
    return build_model(cfg)


def picture_with_objects() -> Any:
    boxes = Boxes(torch.tensor([[8.0, 8.0, 50.0, 40.0], [60.0, 20.0, 90.0, 60.0]]))
    targets = Instances((64, 96))
    targets.gt_boxes = boxes
    targets.gt_classes = torch.tensor([0, 1])
    return [{"image": torch.rand(3, 64, 96) * 255, "instances": targets}]


def main() -> None:
    torch.manual_seed(0)
    model, inputs = build().train(), picture_with_objects()
    before = model.roi_heads.box_head.fc.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    with EventStorage() as storage:
        losses = model(inputs)
        sum(losses.values()).backward()
        optimizer.step()
    found = model.eval()(inputs)[0]["instances"]
    print(detectron2.__name__, *sorted(losses))
    print(round((losses["loss_project"] / losses["loss_cls"]).item(), 5))  # of float32
    print(storage.latest()["project/regions"][0] > len(inputs[0]["instances"]))
    print(bool((model.roi_heads.box_head.fc.weight != before).any()))
    print(found.image_size)


if __name__ == "__main__":
    main()
