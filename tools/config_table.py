#!/usr/bin/env python
"""Write the table of configs/README.md: what each config is, costs, and what of it is verified."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from d2seg.core import model_zoo
from d2seg.core.config import CfgNode
from d2seg.core.modeling import build_model
from d2seg.core.runtime.files import replace_when_complete
from d2seg.core.structures import Boxes, Instances
from d2seg.core.utils.analysis import FlopCountAnalysis, parameter_count

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
CASES = ROOT / "tests" / "data" / "cases"
START, END = "<!-- table: tools/config_table.py -->", "<!-- end of table -->"
SIZE_HW = (800, 1333)
TITLES = {
    "COCO-Detection": "Boxes (COCO)",
    "COCO-InstanceSegmentation": "Boxes and masks (COCO)",
    "COCO-Keypoints": "Persons and their keypoints (COCO)",
    "COCO-PanopticSegmentation": "Objects and stuff (COCO)",
    "LVISv0.5-InstanceSegmentation": "Boxes and masks of 1230 classes (LVIS v0.5)",
    "LVISv1-InstanceSegmentation": "Boxes and masks of 1203 classes (LVIS v1)",
    "Cityscapes": "Boxes and masks (Cityscapes)",
    "PascalVOC-Detection": "Boxes (Pascal VOC)",
    "Misc": "Cascade, deformable, other norms, from scratch, stuff alone",
    "Detectron1-Comparisons": "As the first Detectron",
    "quick_schedules": "Short runs that test an installation",
}


def config_names(folder: str) -> list[str]:
    """Return the names, without suffix, of the configs of a folder that are not a base."""
    paths = sorted((CONFIGS / folder).glob("*.yaml"))
    return [f"{folder}/{path.stem}" for path in paths if not path.stem.startswith("Base-")]


class Workload(nn.Module):
    """All a model can have to do for one image, whatever is in the image.

    The backbone and the dense heads on the whole image; the box heads on as many proposals as they
    may get; masks and keypoints for as many detections as the model may return.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        # No detection passes, so that the second part counts all of them.
        cfg.merge_from_list(["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 2.0, "MODEL.DEVICE", "cpu"])
        self.model = build_model(cfg).eval()
        self.num_proposals = cfg.MODEL.RPN.POST_NMS_TOPK_TEST
        self.num_detections = cfg.TEST.DETECTIONS_PER_IMAGE

    def forward(self, inputs: list[dict[str, Tensor]]) -> list[Any]:
        """Run on one image."""
        model: Any = self.model
        images = model.preprocess_image(inputs)
        features = model.backbone(images.tensor)
        results: list[Any] = [features]
        if hasattr(model, "head"):
            results.append(model.head([features[name] for name in model.head_in_features]))
        if hasattr(model, "sem_seg_head"):
            results.append(model.sem_seg_head(features)[0])
        if getattr(model, "proposal_generator", None) is not None:
            results.append(model.proposal_generator(images, features)[0])
        if hasattr(model, "roi_heads"):
            proposals = Instances(SIZE_HW, proposal_boxes=spread_boxes(self.num_proposals))
            results.append(model.roi_heads(images, features, [proposals])[0])
            found = Instances(
                SIZE_HW,
                pred_boxes=spread_boxes(self.num_detections),
                pred_classes=torch.zeros(self.num_detections, dtype=torch.int64),
            )
            results.append(model.roi_heads.forward_with_given_boxes(features, [found]))
        return results


def spread_boxes(count: int) -> Boxes:
    """Make boxes of many sizes all over the image."""
    random = torch.rand(count, 4, generator=torch.Generator().manual_seed(0))
    limits = torch.tensor([SIZE_HW[1], SIZE_HW[0]], dtype=torch.float32)
    start = random[:, :2] * limits * 0.5
    return Boxes(torch.cat([start, start + 8 + random[:, 2:] ** 2 * limits * 0.45], dim=1))


def measure(cfg: CfgNode) -> tuple[float, float]:
    """Return millions of parameters and 1e9 multiply-adds for an image of 800x1333."""
    workload = Workload(cfg)
    with torch.no_grad():
        flops = FlopCountAnalysis(workload, [{"image": torch.zeros(3, *SIZE_HW)}]).total()
    return parameter_count(workload)[""] / 1e6, flops / 1e9


def row(name: str, costs: dict[str, tuple[float, float]]) -> str:
    """Return the line of one config; equal models are measured once."""
    cfg = model_zoo.get_config(f"{name}.yaml")
    key = "".join(cfg[part].dump() for part in ("MODEL", "TEST"))
    key = key.replace(cfg.MODEL.WEIGHTS, "") if cfg.MODEL.WEIGHTS else key
    if key not in costs:
        costs[key] = measure(cfg)
    parameters, flops = costs[key]
    trained = "yes" if model_zoo.is_trained(name) else "-"
    recorded = (CASES / f"{name.replace('/', '__')}.json.gz").exists()
    verified = "recorded" if recorded else "builds"
    return f"| `{name}` | {parameters:.1f} | {flops:.0f} | {trained} | {verified} |"


def table() -> str:
    """Return all sections."""
    costs: dict[str, tuple[float, float]] = {}
    lines = []
    for folder, title in TITLES.items():
        lines += [f"\n## {title}\n", "| Name | Parameters (M) | GFLOPs | Trained | Verified |"]
        lines.append("| --- | --: | --: | --- | --- |")
        for name in config_names(folder):
            print(name, file=sys.stderr)
            lines.append(row(name, costs))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Replace the table in the README."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    path = CONFIGS / "README.md"
    before, _, rest = path.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    if not after:
        raise SystemExit(f"{path} needs the lines '{START}' and '{END}' around the table.")
    text = f"{before}{START}\n{table()}\n{END}{after}"
    with replace_when_complete(path) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
