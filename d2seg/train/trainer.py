"""From a config to a trained, evaluated model, in a way that survives being killed."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2seg.core.runtime.files import replace_when_complete
from d2seg.framework import (
    CfgNode,
    DatasetFromList,
    DatasetMapper,
    DefaultTrainer,
    GeneralizedRCNNWithTTA,
    HookBase,
    MetadataCatalog,
    RepeatFactorTrainingSampler,
    build_augmentation,
    build_detection_test_loader,
    comm,
    get_detection_dataset_dicts,
    hooks,
)
from d2seg.train.average import MovingAverage
from d2seg.train.best import KeepBest, StopTraining, WeightsWriter
from d2seg.train.evaluators import build_evaluator, write_results
from d2seg.train.history import RecentMetrics
from d2seg.train.loader import TrainLoader
from d2seg.train.mapper import build_train_mapper
from d2seg.train.step import TrainStep
from d2seg.train.throughput import Throughput
from d2seg.train.validation import ValidationLoss

logger = logging.getLogger(__name__)


class ClassNames:
    """The classes of a model, saved in its checkpoints.

    Args:
        names: In the order of the class indices.
    """

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def state_dict(self) -> dict[str, list[str]]:
        """Return the names under ``thing_classes``."""
        return {"thing_classes": self._names}

    def load_state_dict(self, state_dict: Mapping[str, list[str]]) -> None:
        """Check that a run goes on with the classes it began with.

        Raises:
            ValueError: It does not.
        """
        saved = state_dict["thing_classes"]
        if saved != self._names:
            raise ValueError(
                f"The checkpoint was trained on the classes {saved}, but DATASETS.TRAIN has "
                f"{self._names}; resume with the same data sets, or choose another OUTPUT_DIR."
            )


class Trainer(DefaultTrainer):
    """`DefaultTrainer` with the plugin's ``TRAIN`` keys, whose runs can be killed and resumed.

    Everything random follows from the seed and the iteration: a run that was killed and resumed has
    the losses of one that was not.

    Args:
        cfg: A config of a model, a solver and data sets, with the plugin's keys. Not modified.

    Raises:
        ValueError: ``SOLVER.IMS_PER_BATCH`` does not divide into the processes and the parts.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(cfg)
        cfg = self.cfg
        self._check_parts(cfg)
        loader = self.data_loader
        # What does not follow from the config must be the same in all processes.
        loader.seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        self._trainer: TrainStep = TrainStep(
            self.model,
            loader,
            self.optimizer,
            after_backward=self.after_backward,
            accumulation_steps=cfg.TRAIN.ACCUMULATION_STEPS,
            amp=cfg.SOLVER.AMP.ENABLED,
            nan_guard=cfg.TRAIN.NAN_GUARD,
        )
        if cfg.TEST.AUG.ENABLED and cfg.DATASETS.TEST:
            GeneralizedRCNNWithTTA(
                cfg, self.model
            )  # refuses an unsuitable model now, not at the end
        self._classes = ClassNames(_class_names(cfg))
        self.checkpointer.add_checkpointable("classes", self._classes)

    @staticmethod
    def _check_parts(cfg: CfgNode) -> None:
        parts = cfg.TRAIN.ACCUMULATION_STEPS
        size = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
        if parts < 1 or size % parts:
            raise ValueError(
                f"TRAIN.ACCUMULATION_STEPS is {parts}, but must divide the {size} images that "
                "SOLVER.IMS_PER_BATCH gives each process."
            )

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint of ``OUTPUT_DIR``, or load ``MODEL.WEIGHTS``.

        Args:
            resume: Go on, if there is a checkpoint.
        """
        super().resume_or_load(resume)
        self.data_loader.seed = self._trainer.seed
        self.data_loader.start_iteration = self.start_iter
        if comm.is_main_process() and self.start_iter > 0:
            _drop_later_lines(Path(self.cfg.OUTPUT_DIR) / "metrics.json", self.start_iter)

    def build_hooks(self) -> list[HookBase | None]:
        """Return the hooks of the config, in the order in which they need each other."""
        cfg, period = self.cfg, self.cfg.TEST.EVAL_PERIOD
        keys = cfg.TRAIN
        self._average = MovingAverage(self.model, keys.EMA_DECAY) if keys.EMA_DECAY else None
        made: list[HookBase | None] = [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            self._average,
            self._precise_bn() if cfg.TEST.PRECISE_BN.ENABLED else None,
            Throughput(cfg.SOLVER.IMS_PER_BATCH),
            hooks.TorchMemoryStats() if torch.cuda.is_available() else None,
            RecentMetrics(),
        ]
        if comm.is_main_process():
            made.append(hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD))
        # After the checkpoint: an evaluation that fails loses no weights.
        made.append(hooks.EvalHook(period, self.evaluate) if cfg.DATASETS.TEST else None)
        made.append(self._validation_loss() if keys.VALIDATION_LOSS else None)
        made.append(self._keep_best() if keys.BEST_METRIC else None)
        if comm.is_main_process():
            made.append(self._profiler() if keys.PROFILE_ITERS else None)
            made.append(hooks.PeriodicWriter(self.build_writers(), period=20))
        return made

    def _precise_bn(self) -> HookBase:
        cfg = self.cfg
        # A loader of its own without workers, which would take as much memory again.
        one_process = cfg.clone()
        one_process.defrost()
        one_process.DATALOADER.NUM_WORKERS = 0
        loader = self.build_train_loader(one_process)
        return hooks.PreciseBN(
            cfg.TEST.EVAL_PERIOD, self.model, loader, cfg.TEST.PRECISE_BN.NUM_ITER
        )

    def _keep_best(self) -> HookBase:
        keys = self.cfg.TRAIN
        return KeepBest(
            self.evaluated_model,
            self.cfg.OUTPUT_DIR,
            period=self.cfg.TEST.EVAL_PERIOD,
            metric=keys.BEST_METRIC,
            mode=keys.BEST_MODE,
            patience=keys.PATIENCE,
            extra={"classes": {"thing_classes": _class_names(self.cfg)}},
        )

    def _validation_loss(self) -> HookBase:
        cfg = self.cfg
        images = get_detection_dataset_dicts(cfg.DATASETS.TEST, filter_empty=True)
        # Ground truth as for training, images as for testing.
        mapper = DatasetMapper(cfg, True, augmentations=build_augmentation(cfg, False))
        loader = build_detection_test_loader(
            dataset=images, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS
        )
        return ValidationLoss(cfg.TEST.EVAL_PERIOD, self.model, loader)

    def _profiler(self) -> HookBase:
        chosen = set(self.cfg.TRAIN.PROFILE_ITERS)
        return hooks.TorchProfiler(
            lambda trainer: trainer.iter in chosen, self.cfg.OUTPUT_DIR, save_tensorboard=False
        )

    def evaluated_model(self) -> nn.Module:
        """Return the model that is evaluated: with averaged weights where there are such."""
        return self.model if self._average is None else self._average.model

    def evaluate(self) -> dict[str, Any]:
        """Evaluate on ``DATASETS.TEST`` and keep the results in ``OUTPUT_DIR/inference``.

        Test-time augmentation takes long and is left for the end.
        """
        is_end = self.iter + 1 >= self.max_iter
        evaluate = self.evaluate_fully if is_end else self.test
        results = evaluate(self.cfg, self.evaluated_model())
        self._last_eval_results = results
        if comm.is_main_process():
            write_results(results, Path(self.cfg.OUTPUT_DIR) / "inference" / "results.json")
        return results

    def train(self) -> Any:  # type: ignore[override]
        """Train up to ``SOLVER.MAX_ITER``, or until ``TRAIN.PATIENCE`` is over.

        Raises:
            ChildProcessError: A worker process of the data loader was killed.
        """
        try:
            result = super().train()
        except StopTraining as reason:
            logger.info("Training ended early: %s", reason)
            self.checkpointer.save("model_final", iteration=self.iter)
            result = getattr(self, "_last_eval_results", None)
        except (RuntimeError, EOFError, ConnectionError) as error:
            # torch tells of it wherever the training is; a batch that is being sent breaks off.
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise ChildProcessError(
                f"A worker process that loads images died at iteration {self.iter}, as happens "
                "when memory runs out. Lower DATALOADER.NUM_WORKERS and go on with --resume."
            ) from error
        if self._average is not None:
            writer = WeightsWriter(self._average.model, self.cfg.OUTPUT_DIR)
            writer.save("model_ema", classes=self._classes.state_dict())
        return result

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> TrainLoader:
        """Build the endless loader of training batches."""
        images = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN,
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            min_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE
            if cfg.MODEL.KEYPOINT_ON
            else 0,
            proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None,
        )
        factors = _repeat_factors(cfg, images)
        # Held as bytes: one copy for all worker processes.
        held: Any = DatasetFromList(images, copy=False)
        return TrainLoader(
            held,
            build_train_mapper(cfg, held),
            cfg.SOLVER.IMS_PER_BATCH,
            max(cfg.SEED, 0),
            repeat_factors=factors,
            group_by_aspect_ratio=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """Return the evaluator that the data set's metadata asks for."""
        return build_evaluator(cfg, dataset_name, Path(cfg.OUTPUT_DIR) / "inference" / dataset_name)

    @classmethod
    def evaluate_fully(cls, cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
        """Evaluate, with ``TEST.AUG.ENABLED`` a second time with test-time augmentation.

        Returns:
            What `test` returns. Tasks of the second time end in ``_TTA``; its predictions are in
            ``OUTPUT_DIR/TTA``.
        """
        results = dict(cls.test(cfg, model))
        if not cfg.TEST.AUG.ENABLED:
            return results
        logger.info("Evaluating with test-time augmentation ...")
        apart = cfg.clone()
        apart.defrost()
        apart.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / "TTA")
        augmented = cls.test(apart, GeneralizedRCNNWithTTA(cfg, model))
        if len(cfg.DATASETS.TEST) == 1:
            return {**results, **_renamed(augmented)}
        return {name: {**results[name], **_renamed(augmented[name])} for name in results}


def _renamed(results: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{task}_TTA": metrics for task, metrics in results.items()}


def _class_names(cfg: CfgNode) -> list[str]:
    """Return the names of the classes trained on; none for a model without instances."""
    names = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("thing_classes", None)
    return list(names) if names is not None else []


def _repeat_factors(cfg: CfgNode, images: list[dict[str, Any]]) -> torch.Tensor | None:
    keys = cfg.DATALOADER
    if keys.SAMPLER_TRAIN == "TrainingSampler":
        return None
    if keys.SAMPLER_TRAIN == "RepeatFactorTrainingSampler":
        compute = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency
        return compute(images, keys.REPEAT_THRESHOLD, sqrt=keys.get("REPEAT_SQRT", True))
    if keys.SAMPLER_TRAIN == "RandomSubsetTrainingSampler":
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        factors = torch.zeros(len(images))
        factors[chosen[: max(1, int(len(images) * keys.RANDOM_SUBSET_RATIO))]] = 1
        return factors
    raise ValueError(
        "DATALOADER.SAMPLER_TRAIN is TrainingSampler, RepeatFactorTrainingSampler or "
        f"RandomSubsetTrainingSampler; found '{keys.SAMPLER_TRAIN}'."
    )


def _drop_later_lines(path: Path, start_iter: int) -> None:
    """Remove what a killed run wrote after its last checkpoint: it will be written again."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if _iteration(line) < start_iter]
    if len(kept) < len(lines):
        with replace_when_complete(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")


def _iteration(line: str) -> float:
    try:
        return json.loads(line)["iteration"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # half a line
