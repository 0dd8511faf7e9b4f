"""From a config to a trained model, with the usual choices made."""

import logging
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from d2seg.core.checkpoint import DetectionCheckpointer
from d2seg.core.config import CfgNode
from d2seg.core.data import build_detection_test_loader, build_detection_train_loader
from d2seg.core.engine import hooks
from d2seg.core.engine.loop import HookBase, TrainerBase
from d2seg.core.engine.startup import default_writers
from d2seg.core.engine.train_loop import AMPTrainer, SimpleTrainer
from d2seg.core.evaluation import (
    DatasetEvaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from d2seg.core.modeling import build_model
from d2seg.core.runtime import comm
from d2seg.core.runtime.logger import setup_logger
from d2seg.core.runtime.writers import EventWriter
from d2seg.core.solver import build_lr_scheduler, build_optimizer

logger = logging.getLogger(__name__)


class DefaultTrainer(TrainerBase):
    """A whole training as a config describes it; override the ``build_*`` methods to change parts.

        trainer = DefaultTrainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.train()

    Args:
        cfg: A config of a model, a solver and data sets. Not modified.

    Attributes:
        cfg: The config, scaled to the number of processes.
        scheduler: The learning-rate schedule.
        checkpointer: Saves and loads model and training.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        if not logging.getLogger("d2seg").handlers:
            setup_logger()
        self.cfg = cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        model = create_ddp_model(model, broadcast_buffers=False)
        trainer_class = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = trainer_class(model, data_loader, optimizer)
        self._trainer.register_hooks([_AfterBackward(self)])
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = DetectionCheckpointer(
            # The trainer saves itself with the model, but must not be kept alive by it.
            model,
            cfg.OUTPUT_DIR,
            trainer=weakref.proxy(self),
        )
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    @property
    def model(self) -> nn.Module:
        """The model that is trained, wrapped where there are several processes."""
        return self._trainer.model

    @model.setter
    def model(self, model: nn.Module) -> None:
        self._trainer.model = model

    @property
    def data_loader(self) -> Any:
        """Where the batches come from."""
        return self._trainer.data_loader

    @data_loader.setter
    def data_loader(self, data_loader: Any) -> None:
        self._trainer.data_loader = data_loader

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What updates the parameters."""
        return self._trainer.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self._trainer.optimizer = optimizer

    def resume_or_load(self, resume: bool = True) -> None:
        """Load the last checkpoint of ``OUTPUT_DIR``, or ``MODEL.WEIGHTS``.

        Args:
            resume: Go on from the last checkpoint, if there is one.
        """
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            # The checkpoint holds the last iteration that was finished.
            self.start_iter = self.iter + 1

    def build_hooks(self) -> list[HookBase | None]:
        """Return the hooks: timer, schedule, checkpoints, evaluation, writers."""
        cfg = self.cfg
        made: list[HookBase | None] = [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            self._precise_bn() if cfg.TEST.PRECISE_BN.ENABLED else None,
        ]
        if comm.is_main_process():
            period = cfg.SOLVER.CHECKPOINT_PERIOD
            made.append(hooks.PeriodicCheckpointer(self.checkpointer, period))
        # After the checkpoint: an evaluation that fails loses no weights.
        made.append(hooks.EvalHook(cfg.TEST.EVAL_PERIOD, self._test_and_keep_results))
        if comm.is_main_process():
            made.append(hooks.PeriodicWriter(self.build_writers(), period=20))
        return made

    def _precise_bn(self) -> HookBase | None:
        if not get_bn_modules(self.model):
            return None
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0  # a second set of workers would take as much memory again
        num_iter = cfg.TEST.PRECISE_BN.NUM_ITER
        loader = self.build_train_loader(cfg)
        return hooks.PreciseBN(cfg.TEST.EVAL_PERIOD, self.model, loader, num_iter)

    def _test_and_keep_results(self) -> Any:
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    def build_writers(self) -> list[EventWriter]:
        """Return what writes metrics."""
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def train(self) -> Any:  # type: ignore[override]
        """Train from ``start_iter`` to ``SOLVER.MAX_ITER``.

        Returns:
            The results of the last evaluation where ``TEST.EXPECTED_RESULTS`` is set, else None.
        """
        super().train(self.start_iter, self.max_iter)
        if self.cfg.TEST.EXPECTED_RESULTS and comm.is_main_process():
            verify_results(self.cfg, self._last_eval_results)
            return self._last_eval_results
        return None

    def run_step(self) -> None:
        """Do one step."""
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loop and of the steps."""
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of the loop and of the steps."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model."""
        model = build_model(cfg)
        logger.info("Model:\n%s", model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Build the optimizer."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
        """Build the learning-rate schedule."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """Build the endless loader of training batches."""
        return build_detection_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """Build the loader of a data set for evaluation."""
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Return the evaluator of a data set; a subclass defines it."""
        raise NotImplementedError(
            f"To evaluate '{dataset_name}', override {cls.__name__}.build_evaluator(cfg, "
            "dataset_name) to return an evaluator, such as COCOEvaluator(dataset_name)."
        )

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None,
    ) -> Any:
        """Evaluate a model on every data set of ``DATASETS.TEST``.

        Args:
            cfg: The whole config.
            model: In any mode; it is evaluated in evaluation mode.
            evaluators: One for each data set; by default those of ``build_evaluator``.

        Returns:
            Results by task, or by data set and task where there are several.
        """
        given = [evaluators] if isinstance(evaluators, DatasetEvaluator) else evaluators
        if given is not None and len(given) != len(cfg.DATASETS.TEST):
            raise ValueError(
                f"DATASETS.TEST has {len(cfg.DATASETS.TEST)} data sets, but there are "
                f"{len(given)} evaluators."
            )
        results: OrderedDict[str, Any] = OrderedDict()
        for index, name in enumerate(cfg.DATASETS.TEST):
            loader = cls.build_test_loader(cfg, name)
            try:
                evaluator = cls.build_evaluator(cfg, name) if given is None else given[index]
            except NotImplementedError as error:
                logger.warning("%s", error)
                results[name] = {}
                continue
            results[name] = inference_on_dataset(model, loader, evaluator)
            if comm.is_main_process():
                logger.info("Results of %s:", name)
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """Scale batch size, learning rate and schedule to another number of processes.

        Linear scaling (arXiv:1706.02677), where ``SOLVER.REFERENCE_WORLD_SIZE`` says for how many
        processes the config was written.

        Args:
            cfg: The whole config. Not modified.
            num_workers: How many processes there are.
        """
        reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
        if reference in (0, num_workers):
            return cfg
        if cfg.SOLVER.IMS_PER_BATCH % reference:
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} does not divide into "
                f"SOLVER.REFERENCE_WORLD_SIZE {reference} processes."
            )
        factor = num_workers / reference
        scaled = cfg.clone()
        scaled.defrost()
        solver = scaled.SOLVER
        solver.IMS_PER_BATCH = round(solver.IMS_PER_BATCH * factor)
        solver.BASE_LR *= factor
        solver.MAX_ITER = round(solver.MAX_ITER / factor)
        solver.WARMUP_ITERS = round(solver.WARMUP_ITERS / factor)
        solver.STEPS = tuple(round(step / factor) for step in solver.STEPS)
        scaled.TEST.EVAL_PERIOD = round(scaled.TEST.EVAL_PERIOD / factor)
        solver.CHECKPOINT_PERIOD = round(solver.CHECKPOINT_PERIOD / factor)
        solver.REFERENCE_WORLD_SIZE = num_workers
        if cfg.is_frozen():
            scaled.freeze()
        return scaled


def create_ddp_model(
    model: nn.Module, *, fp16_compression: bool = False, **kwargs: Any
) -> nn.Module:
    """Wrap a model for several processes; with one it stays as it is.

    Args:
        model: On its device.
        fp16_compression: Send gradients in half precision.
        **kwargs: As of ``DistributedDataParallel``.
    """
    if comm.get_world_size() == 1:
        return model
    if "device_ids" not in kwargs and next(model.parameters()).is_cuda:
        kwargs["device_ids"] = [comm.get_local_rank()]
    wrapped = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

        wrapped.register_comm_hook(state=None, hook=default_hooks.fp16_compress_hook)
    return wrapped


class _AfterBackward(HookBase):
    """Lets the hooks of a `DefaultTrainer` run between the gradients and their use."""

    def __init__(self, outer: DefaultTrainer) -> None:
        self._outer = weakref.proxy(outer)

    def after_backward(self) -> None:
        self._outer.after_backward()
