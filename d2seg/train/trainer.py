"""From a config to a trained, evaluated model, in a way that survives being killed."""

import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn

from d2seg.core.runtime.files import read_json
from d2seg.datasets import CLASS_SECTIONS, register_datasets
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
    verify_results,
)
from d2seg.train.average import MovingAverage
from d2seg.train.best import KeepBest, StopTraining
from d2seg.train.checks import check_training_keys, half_precision
from d2seg.train.evaluators import build_evaluator, write_results
from d2seg.train.feature_dump import FeatureDumpHook
from d2seg.train.history import RecentMetrics
from d2seg.train.loader import TrainLoader
from d2seg.train.mapper import build_train_mapper
from d2seg.train.resuming import (
    drop_later_lines,
    was_evaluated_at_end,
    was_killed_after_checkpoint,
    write_period,
)
from d2seg.train.step import TrainStep
from d2seg.train.throughput import Throughput
from d2seg.train.validation import ValidationLoss

logger = logging.getLogger(__name__)

_AFTER_CHECKPOINT = (
    hooks.EvalHook,
    ValidationLoss,
    KeepBest,
    FeatureDumpHook,
    hooks.PeriodicWriter,
)


class ClassNames:
    """The classes of a model, saved in its checkpoints.

    Args:
        names: ``thing_classes``, ``stuff_classes`` or both, each in the order of the class indices.
    """

    def __init__(self, names: dict[str, list[str]]) -> None:
        self._names = names

    def state_dict(self) -> dict[str, list[str]]:
        """Return the names."""
        return self._names

    def load_state_dict(self, state_dict: Mapping[str, list[str]]) -> None:
        """Check that a run goes on with the classes it began with.

        Raises:
            ValueError: It does not.
        """
        if dict(state_dict) != self._names:
            raise ValueError(
                f"The checkpoint was trained on the classes {dict(state_dict)}, but DATASETS.TRAIN "
                f"has {self._names}; resume with the same data sets, or choose another OUTPUT_DIR."
            )


class Trainer(DefaultTrainer):
    """`DefaultTrainer` with the plugin's ``TRAIN`` keys, whose runs can be killed and resumed.

    Everything random follows from the seed and the iteration: a run that was killed and resumed has
    the losses of one that was not.

    Args:
        cfg: A config of a model, a solver and data sets, with the plugin's keys. Not modified.

    Attributes:
        has_open_step: The run that is resumed was killed after the checkpoint of an iteration, and
            before its evaluation was over and its metrics written.
        is_complete: The run that is resumed was at its end, and evaluated: nothing is left to do.

    Raises:
        ValueError: ``SOLVER.IMS_PER_BATCH`` does not divide into the processes and the parts.
    """

    def __init__(self, cfg: CfgNode) -> None:
        register_datasets(cfg)
        check_training_keys(self.auto_scale_workers(cfg, comm.get_world_size()))
        super().__init__(cfg)
        cfg = self.cfg
        loader = self.data_loader
        # What does not follow from the config must be the same in all processes.
        loader.seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        self._trainer: TrainStep = TrainStep(
            self.model,
            loader,
            self.optimizer,
            after_backward=self.after_backward,
            accumulation_steps=cfg.TRAIN.ACCUMULATION_STEPS,
            half=half_precision(cfg),
            nan_guard=cfg.TRAIN.NAN_GUARD,
        )
        self.has_open_step = self.is_complete = False
        self._classes = ClassNames(_class_names(cfg))
        self.checkpointer.add_checkpointable("classes", self._classes)
        self._check_evaluation()

    def _check_evaluation(self) -> None:
        """Find out now, not after a night, that the model cannot be evaluated."""
        for name in self.cfg.DATASETS.TEST:
            self.build_test_loader(self.cfg, name)
            self.build_evaluator(self.cfg, name)
            _check_class_count(self.cfg, name)
        if self.cfg.TEST.AUG.ENABLED and self.cfg.DATASETS.TEST:
            GeneralizedRCNNWithTTA(self.cfg, self.model)

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint of ``OUTPUT_DIR``, or load ``MODEL.WEIGHTS``.

        Args:
            resume: Go on, if there is a checkpoint.
        """
        super().resume_or_load(resume)
        self.data_loader.seed = self._trainer.seed
        self.data_loader.start_iteration = self.start_iter
        self.has_open_step = self.is_complete = False
        if resume:
            self.has_open_step, self.is_complete = comm.all_gather(self._tidy_metrics())[0]

    def _tidy_metrics(self) -> tuple[bool, bool]:
        """Drop metrics that come again; tell in the main process whether some never came, or all.

        Returns:
            What `has_open_step` and `is_complete` are to be.
        """
        if not comm.is_main_process():
            return False, False
        metrics = Path(self.cfg.OUTPUT_DIR) / "metrics.json"
        # Without a checkpoint, as after an early death, everything begins again.
        drop_later_lines(metrics, self.start_iter)
        period = write_period(self.cfg.TEST.EVAL_PERIOD)
        is_open = was_killed_after_checkpoint(metrics, self.start_iter, period, self.max_iter)
        is_at_end = self.start_iter == self.max_iter and self._results_file.is_file()
        is_complete = is_at_end and was_evaluated_at_end(metrics, self.max_iter)
        return is_open, is_complete and not is_open

    @property
    def _results_file(self) -> Path:
        return Path(self.cfg.OUTPUT_DIR) / "inference" / "results.json"

    def before_train(self) -> None:
        """Do what comes before the first step; first of all what the last one was killed in."""
        super().before_train()
        if self.has_open_step:
            self._close_step()

    def _close_step(self) -> None:
        """Do what comes after the checkpoint of a step: evaluate, look for the best, write."""
        last = self.start_iter - 1
        logger.info("Iteration %d was saved, but not evaluated and written: doing so.", last)
        self.iter = self.storage.iter = self.storage.start_iter = last
        for hook in self._hooks:
            if isinstance(hook, _AFTER_CHECKPOINT):
                hook.after_step()
        self.iter = self.storage.iter = self.start_iter
        self.has_open_step = False

    def build_hooks(self) -> list[HookBase | None]:
        """Return the hooks of the config, in the order in which they need each other."""
        cfg, period = self.cfg, self.cfg.TEST.EVAL_PERIOD
        keys = cfg.TRAIN
        self._average = self._moving_average() if keys.EMA_DECAY else None
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
            made.append(self._feature_dump() if cfg.FEATURES.DUMP_IMAGES else None)
            made.append(self._profiler() if keys.PROFILE_ITERS else None)
            # No evaluation waits to be written.
            made.append(hooks.PeriodicWriter(self.build_writers(), period=write_period(period)))
        return made

    def _moving_average(self) -> MovingAverage:
        classes = {"classes": _class_names(self.cfg)}
        return MovingAverage(self.model, self.cfg.TRAIN.EMA_DECAY, self.cfg.OUTPUT_DIR, classes)

    def _precise_bn(self) -> HookBase | None:
        cfg, model = self.cfg, self.evaluated_model()
        if not get_bn_modules(model):
            return None
        # A loader of its own without workers, which would take as much memory again.
        one_process = cfg.clone()
        one_process.defrost()
        one_process.DATALOADER.NUM_WORKERS = 0
        loader = self.build_train_loader(one_process)
        count = cfg.TEST.PRECISE_BN.NUM_ITER
        batches = self._precise_bn_batches(loader, count)
        return hooks.PreciseBN(cfg.TEST.EVAL_PERIOD, model, batches, count)

    def _precise_bn_batches(self, loader: TrainLoader, count: int) -> Iterator[list[Any]]:
        """Yield ``count`` batches for each time, which follow from the iteration alone."""
        while True:
            earlier = self.iter // self.cfg.TEST.EVAL_PERIOD if self.cfg.TEST.EVAL_PERIOD else 0
            loader.seed, loader.start_iteration = self.data_loader.seed, earlier * count
            yield from itertools.islice(loader, count)

    def _keep_best(self) -> HookBase:
        keys = self.cfg.TRAIN
        return KeepBest(
            self.evaluated_model,
            self.cfg.OUTPUT_DIR,
            period=self.cfg.TEST.EVAL_PERIOD,
            metric=keys.BEST_METRIC,
            mode=keys.BEST_MODE,
            patience=keys.PATIENCE,
            extra={"classes": _class_names(self.cfg)},
        )

    def _validation_loss(self) -> HookBase:
        cfg = self.cfg
        images = get_detection_dataset_dicts(
            cfg.DATASETS.TEST,
            filter_empty=True,
            proposal_files=cfg.DATASETS.PROPOSAL_FILES_TEST if cfg.MODEL.LOAD_PROPOSALS else None,
        )
        # Ground truth as for training, images as for testing.
        mapper = DatasetMapper(cfg, True, augmentations=build_augmentation(cfg, False))
        loader = build_detection_test_loader(
            dataset=images, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS
        )
        return ValidationLoss(cfg.TEST.EVAL_PERIOD, self.evaluated_model, loader)

    def _feature_dump(self) -> HookBase:
        folder = Path(self.cfg.OUTPUT_DIR) / "features"
        return FeatureDumpHook(self.cfg, self.model, folder)

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
        is_end = self.iter >= self.max_iter
        evaluate = self.evaluate_fully if is_end else self.test
        results = evaluate(self.cfg, self.evaluated_model())
        self._last_eval_results = results
        if comm.is_main_process():
            write_results(results, self._results_file)
        return results

    def train(self) -> Any:  # type: ignore[override]
        """Train up to ``SOLVER.MAX_ITER``, or until ``TRAIN.PATIENCE`` is over.

        Raises:
            ChildProcessError: A worker process of the data loader was killed.
        """
        if self.is_complete:
            return self._take_results()
        try:
            result = super().train()
        except StopTraining as reason:
            result = self._end_early(reason)
        except (RuntimeError, EOFError, ConnectionError) as error:
            if not _tells_of_dead_worker(error):
                raise
            raise ChildProcessError(
                f"A worker process that loads images died at iteration {self.iter}, as happens "
                "when memory runs out. Lower DATALOADER.NUM_WORKERS and go on with --resume."
            ) from error
        return result

    def _take_results(self) -> Any:
        """Return the results of a complete run, as they are in its folder."""
        logger.info(
            "The run is complete, and %s has its results: nothing is left to do. "
            "--eval-only --resume evaluates again.",
            self._results_file,
        )
        if not comm.is_main_process():
            return None
        self._last_eval_results = read_json(self._results_file)
        verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    def _end_early(self, reason: StopTraining) -> Any:
        """Do what comes at the end of a training."""
        logger.info("Training ended early: %s", reason)
        iteration = max(self.iter, self.start_iter - 1)
        self.checkpointer.save("model_final", iteration=iteration)
        if self._average is not None:
            self._average.save()
        if self.cfg.TEST.AUG.ENABLED or not hasattr(self, "_last_eval_results"):
            self.max_iter = self.iter  # this is the end now
            self.evaluate()
        if self.cfg.TEST.EXPECTED_RESULTS and comm.is_main_process():
            verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

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


def _check_class_count(cfg: CfgNode, name: str) -> None:
    part = CLASS_SECTIONS.get(cfg.MODEL.META_ARCHITECTURE)
    known = MetadataCatalog.get(name).get("thing_classes", None)
    if part is None or known is None:
        return
    number = cfg.MODEL[part].NUM_CLASSES
    if number != len(known):
        raise ValueError(
            f"Data set '{name}' has {len(known)} classes, but the model has {number}: set "
            f"MODEL.{part}.NUM_CLASSES to {len(known)}, or to -1 to take it from the data."
        )


def _tells_of_dead_worker(error: Exception) -> bool:
    if not isinstance(error, RuntimeError):
        return True  # a batch that was being sent broke off
    # torch tells of it wherever the training is.
    return "DataLoader worker" in str(error) and (
        "exited unexpectedly" in str(error) or "is killed by signal" in str(error)
    )


def _class_names(cfg: CfgNode) -> dict[str, list[str]]:
    """Return the names of the classes that the model tells apart, as far as they are known."""
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    architecture = cfg.MODEL.META_ARCHITECTURE
    kinds = {
        "SemanticSegmentor": ["stuff_classes"],
        "PanopticFPN": ["thing_classes", "stuff_classes"],
    }
    wanted = kinds.get(architecture, ["thing_classes"])
    known = {kind: metadata.get(kind, None) for kind in wanted}
    return {kind: list(names) for kind, names in known.items() if names is not None}


def _repeat_factors(cfg: CfgNode, images: list[dict[str, Any]]) -> torch.Tensor | None:
    keys = cfg.DATALOADER
    if keys.SAMPLER_TRAIN == "TrainingSampler":
        return None
    if keys.SAMPLER_TRAIN == "RepeatFactorTrainingSampler":
        compute = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency
        return compute(images, keys.REPEAT_THRESHOLD, sqrt=keys.get("REPEAT_SQRT", True))
    if keys.SAMPLER_TRAIN == "RandomSubsetTrainingSampler":
        if not 0 < keys.RANDOM_SUBSET_RATIO <= 1:
            raise ValueError(
                "DATALOADER.RANDOM_SUBSET_RATIO must be above 0 and at most 1; found "
                f"{keys.RANDOM_SUBSET_RATIO}."
            )
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        factors = torch.zeros(len(images))
        factors[chosen[: max(1, int(len(images) * keys.RANDOM_SUBSET_RATIO))]] = 1
        return factors
    raise ValueError(
        "DATALOADER.SAMPLER_TRAIN is TrainingSampler, RepeatFactorTrainingSampler or "
        f"RandomSubsetTrainingSampler; found '{keys.SAMPLER_TRAIN}'."
    )
