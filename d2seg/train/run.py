"""Starting a training in one process, in several, or under torchrun."""

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from d2seg.config import read_config
from d2seg.core.runtime.files import require_writable
from d2seg.datasets import fill_num_classes, register_datasets
from d2seg.framework import (
    CfgNode,
    DatasetCatalog,
    DetectionCheckpointer,
    comm,
    default_setup,
    launch,
    verify_results,
)
from d2seg.train.checks import check_training_keys
from d2seg.train.evaluators import write_results
from d2seg.train.trainer import Trainer

logger = logging.getLogger(__name__)

TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
"""What torchrun tells each process that it starts."""


@dataclass(frozen=True)
class TrainingJob:
    """What is to be done, as the command line says it.

    Attributes:
        config_file: A file, or a name of the model zoo.
        overrides: Keys and values in turn.
        resume: Go on from the last checkpoint of ``OUTPUT_DIR``.
        eval_only: Evaluate ``MODEL.WEIGHTS``, or with ``resume`` the last checkpoint.
    """

    config_file: str
    overrides: Sequence[str] = ()
    resume: bool = False
    eval_only: bool = False


def prepare_config(job: TrainingJob) -> CfgNode:
    """Return the frozen config of a job, its data sets registered and ``NUM_CLASSES`` filled in.

    Raises:
        ValueError, KeyError, FileNotFoundError: The config or a data set of it is not sound.
        OSError: Nothing can be written to ``OUTPUT_DIR``, which is found out before data is read.
    """
    cfg = read_config(job.config_file, job.overrides)
    require_writable(cfg.OUTPUT_DIR)  # data sets take long to read
    register_datasets(cfg)
    fill_num_classes(cfg)
    if not job.eval_only and not cfg.DATASETS.TRAIN:
        raise ValueError("DATASETS.TRAIN is empty; name a data set to train on.")
    if job.eval_only and not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty; name a data set to evaluate on.")
    for name in (*cfg.DATASETS.TEST, *(() if job.eval_only else cfg.DATASETS.TRAIN)):
        if name not in DatasetCatalog.list():
            DatasetCatalog.get(name)  # raises, before OUTPUT_DIR is touched
    cfg.freeze()
    return cfg


def run_job(job: TrainingJob) -> Any:
    """Train, or evaluate, in this process, which may be one of several.

    Returns:
        The results of the last evaluation in the main process; None without one.
    """
    cfg = prepare_config(job)
    if not job.eval_only:
        # Before OUTPUT_DIR is touched.
        check_training_keys(Trainer.auto_scale_workers(cfg, comm.get_world_size()))
    default_setup(cfg, argparse.Namespace(config_file=job.config_file, eval_only=job.eval_only))
    if job.eval_only:
        return evaluate(cfg, resume=job.resume)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=job.resume)
    trainer.train()
    return getattr(trainer, "_last_eval_results", None)


def evaluate(cfg: CfgNode, resume: bool = False) -> Any:
    """Evaluate the weights of a config on ``DATASETS.TEST`` and keep the results.

    Args:
        cfg: The whole config.
        resume: Take the last checkpoint of ``OUTPUT_DIR`` in place of ``MODEL.WEIGHTS``.
    """
    if not cfg.MODEL.WEIGHTS and not resume:
        logger.warning("MODEL.WEIGHTS is empty: a model with random weights is evaluated.")
    model = Trainer.build_model(cfg)
    checkpointer = DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    results = Trainer.evaluate_fully(cfg, model)
    if comm.is_main_process():
        write_results(results, Path(cfg.OUTPUT_DIR) / "inference" / "results.json")
        verify_results(cfg, results)
    return results


def run_training(
    job: TrainingJob,
    *,
    num_gpus: int = 1,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> None:
    """Run a job in so many processes; under torchrun, in those it has started.

    Args:
        job: What to do.
        num_gpus: Processes on each machine, one to a GPU; on the CPU where there is none.
        num_machines: How many machines there are.
        machine_rank: The number of this machine.
        dist_url: Where the processes meet; ``auto`` for one machine.

    Raises:
        ChildProcessError: A process ended with an error, whose message this is.
        ValueError: There is no such number of processes or machines.
    """
    for name, number in (("--num-gpus", num_gpus), ("--num-machines", num_machines)):
        if number < 1:
            raise ValueError(f"{name} is {number}, but must be 1 or more.")
    if not 0 <= machine_rank < num_machines:
        raise ValueError(
            f"--machine-rank is {machine_rank}, but must be from 0 to {num_machines - 1}, below "
            "--num-machines."
        )
    if all(variable in os.environ for variable in TORCHRUN_VARIABLES):
        _run_under_torchrun(job)
        return
    if num_gpus * num_machines == 1:
        run_job(job)
        return
    prepare_config(job)  # bad input is told once, here, and not by every process
    with TemporaryDirectory() as folder:
        try:
            launch(
                _run_and_tell, num_gpus, num_machines, machine_rank, dist_url, args=(job, folder)
            )
        except (ProcessExitedException, ProcessRaisedException) as error:
            told = sorted(Path(folder).iterdir())
            reason = told[0].read_text(encoding="utf-8") if told else _last_line(str(error))
            raise ChildProcessError(reason) from error


def _run_and_tell(job: TrainingJob, folder: str) -> None:
    """Run a job and leave its error in a file.

    When one process stops, the others lose their connection to it: which of them is noticed first
    is chance, and only one can say what happened.
    """
    try:
        run_job(job)
    except (OSError, ValueError, KeyError, TypeError, FloatingPointError) as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        Path(folder, str(comm.get_rank())).write_text(text, encoding="utf-8")
        raise


def _last_line(traceback: str) -> str:
    """Return the last line of a traceback, without the name of the exception."""
    return traceback.strip().splitlines()[-1].split(": ", 1)[-1]


def _run_under_torchrun(job: TrainingJob) -> None:
    on_gpu = torch.cuda.is_available()
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        if on_gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
        run_job(job)
        comm.synchronize()
    finally:
        dist.destroy_process_group()
