"""A whole training from a config, on the microscope images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from d2seg.core.config import CfgNode
from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets import register_coco_instances
from d2seg.core.engine import DefaultTrainer, HookBase
from d2seg.core.evaluation import COCOEvaluator
from d2seg.core.runtime.seed import seed_all_rng
from tests.core.modeling.thin import thin_config

DATA = Path(__file__).parents[2] / "data" / "nuclei"
NAME = "default_trainer_set"


@pytest.fixture(autouse=True)
def small_data_set(tmp_path: Path) -> Iterator[None]:
    """Six images of the validation set, and the same random weights each time."""
    seed_all_rng(1)
    content = json.loads((DATA / "instances_val.json").read_text())
    content["images"] = content["images"][:6]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    (tmp_path / "small.json").write_text(json.dumps(content))
    names = {path.name: path for path in DATA.rglob("*.png")}
    folder = names[Path(content["images"][0]["file_name"]).name].parent
    register_coco_instances(NAME, {}, str(tmp_path / "small.json"), str(folder))
    yield
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def config(folder: Path, **opts: Any) -> CfgNode:
    return thin_config(
        {
            "DATASETS.TRAIN": (NAME,),
            "DATASETS.TEST": (NAME,),
            "DATALOADER.NUM_WORKERS": 0,
            "INPUT.MIN_SIZE_TRAIN": (96,),
            "INPUT.MIN_SIZE_TEST": 96,
            "MODEL.ROI_HEADS.NUM_CLASSES": 1,
            "SOLVER.IMS_PER_BATCH": 2,
            "SOLVER.BASE_LR": 1e-6,  # random weights give large losses
            "SOLVER.WARMUP_ITERS": 2,
            "SOLVER.STEPS": (),
            "SOLVER.MAX_ITER": 4,
            "SOLVER.CHECKPOINT_PERIOD": 2,
            "OUTPUT_DIR": str(folder / "run"),
            "SEED": 1,
            **{key.replace("__", "."): value for key, value in opts.items()},
        }
    )


class Trainer(DefaultTrainer):
    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> COCOEvaluator:
        return COCOEvaluator(dataset_name, output_dir=cfg.OUTPUT_DIR)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_training_writes_metrics_checkpoints_and_results(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    assert trainer.model is trainer._trainer.model
    trainer.train()
    folder = tmp_path / "run"
    assert {"model_0000001.pth", "model_final.pth", "last_checkpoint"} <= {
        path.name for path in folder.iterdir()
    }
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert lines[0]["iteration"] == 3
    assert {"total_loss", "loss_mask", "lr", "roi_head/num_fg_samples"} <= lines[0].keys()
    assert lines[-1]["iteration"] == 4
    assert "bbox/AP" in lines[-1]

    longer = Trainer(config(tmp_path, SOLVER__MAX_ITER=6))
    longer.resume_or_load(resume=True)
    assert longer.start_iter == 4
    longer.train()
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines[-2:]] == [5, 6]


def test_hooks_see_gradients_and_batch_norms_get_precise_statistics(tmp_path: Path) -> None:
    class Gradients(HookBase):
        def after_backward(self) -> None:
            parameters = self.trainer.model.parameters()
            seen.append(any(one.grad is not None and one.grad.any() for one in parameters))

    seen: list[bool] = []
    cfg = config(
        tmp_path,
        MODEL__RESNETS__NORM="BN",
        MODEL__BACKBONE__FREEZE_AT=0,
        TEST__PRECISE_BN__ENABLED=True,
        TEST__PRECISE_BN__NUM_ITER=2,
        DATASETS__TEST=(),
        SOLVER__MAX_ITER=2,
    )
    trainer = Trainer(cfg)
    assert [type(hook).__name__ for hook in trainer._hooks] == [
        *["IterationTimer", "LRScheduler", "PreciseBN"],
        *["PeriodicCheckpointer", "EvalHook", "PeriodicWriter"],
    ]
    trainer.register_hooks([Gradients()])
    trainer.train()
    assert seen == [True, True]


def test_results_that_are_not_as_expected_end_the_program(tmp_path: Path) -> None:
    cfg = config(tmp_path, TEST__EXPECTED_RESULTS=[["bbox", "AP", 99.0, 0.1]], SOLVER__MAX_ITER=1)
    with pytest.raises(SystemExit):
        Trainer(cfg).train()


def test_an_evaluator_has_to_be_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = config(tmp_path)
    with pytest.raises(NotImplementedError, match="override DefaultTrainer.build_evaluator"):
        DefaultTrainer.build_evaluator(cfg, NAME)
    with pytest.raises(ValueError, match="has 1 data sets, but there are 2 evaluators"):
        DefaultTrainer.test(cfg, torch.nn.Identity(), [Trainer.build_evaluator(cfg, NAME)] * 2)


def test_a_config_scales_to_the_number_of_processes(tmp_path: Path) -> None:
    cfg = config(tmp_path, SOLVER__IMS_PER_BATCH=8, SOLVER__MAX_ITER=100, SOLVER__STEPS=(60, 80))
    assert DefaultTrainer.auto_scale_workers(cfg, 2) is cfg
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 4
    cfg.freeze()
    scaled = DefaultTrainer.auto_scale_workers(cfg, 2)
    assert scaled.is_frozen()
    assert scaled.SOLVER.IMS_PER_BATCH == 4
    assert pytest.approx(5e-7) == scaled.SOLVER.BASE_LR
    assert (scaled.SOLVER.MAX_ITER, scaled.SOLVER.STEPS) == (200, (120, 160))
    assert scaled.SOLVER.REFERENCE_WORLD_SIZE == 2
    cfg.defrost()
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 3
    with pytest.raises(ValueError, match="8 does not divide into .* 3 processes"):
        DefaultTrainer.auto_scale_workers(cfg, 2)
