"""What a training program does first: its arguments, its output folder, its seed."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch

from d2seg.core.config import CfgNode
from d2seg.core.runtime import comm
from d2seg.core.runtime.environment import collect_env_info
from d2seg.core.runtime.files import PathManager, replace_when_complete
from d2seg.core.runtime.logger import setup_logger
from d2seg.core.runtime.seed import seed_all_rng
from d2seg.core.runtime.writers import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
)

logger = logging.getLogger(__name__)


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Return a parser with the arguments of detectron2's training programs.

    Args:
        epilog: Text at the end of the help.
    """
    parser = argparse.ArgumentParser(
        epilog=epilog or f"Example: {sys.argv[0]} --config-file cfg.yaml SOLVER.BASE_LR 0.001",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to a config")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--eval-only", action="store_true", help="evaluate, do not train")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on each machine")
    parser.add_argument("--num-machines", type=int, default=1, help="number of machines")
    parser.add_argument("--machine-rank", type=int, default=0, help="number of this machine")
    port = 2**15 + 2**14 + hash(os.getuid() if hasattr(os, "getuid") else 1) % 2**14
    parser.add_argument(
        "--dist-url", default=f"tcp://127.0.0.1:{port}", help="where the processes meet"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for the config")
    return parser


def default_setup(cfg: CfgNode, args: Any) -> None:
    """Prepare the output folder, the log, the seed, and keep the config beside the results.

    Args:
        cfg: The whole config; ``OUTPUT_DIR``, ``SEED`` and ``CUDNN_BENCHMARK`` are used.
        args: The parsed arguments; ``config_file`` and ``eval_only`` are used if they are there.
    """
    rank = comm.get_rank()
    if comm.is_main_process() and cfg.OUTPUT_DIR:
        PathManager.mkdirs(cfg.OUTPUT_DIR)
    for name in ("fvcore", "d2seg"):
        setup_logger(cfg.OUTPUT_DIR or None, distributed_rank=rank, name=name)
    logger.info("Process %d of %d; arguments: %s", rank, comm.get_world_size(), args)
    logger.info("Environment:\n%s", collect_env_info())
    if comm.is_main_process() and cfg.OUTPUT_DIR:
        path = Path(cfg.OUTPUT_DIR) / "config.yaml"
        with replace_when_complete(path) as temporary:
            Path(temporary).write_text(cfg.dump(), encoding="utf-8")
        logger.info("The full config is in %s", path)
    # Processes must not draw the same numbers.
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    if cfg.FLOAT32_PRECISION:
        torch.set_float32_matmul_precision(cfg.FLOAT32_PRECISION)


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """Return writers for people, for JSON lines, and for TensorBoard where it is installed.

    Args:
        output_dir: Folder of ``metrics.json`` and of the event files.
        max_iter: Iterations of the training.
    """
    PathManager.mkdirs(output_dir)
    writers: list[EventWriter] = [
        CommonMetricPrinter(max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
    ]
    try:
        writers.append(TensorboardXWriter(output_dir))
    except ImportError as error:
        logger.info("No TensorBoard files are written: %s", error)
    return writers
