"""What a training program does first: its arguments, its output folder, its seed."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch

from d2seg.core.config import CfgNode, LazyConfig
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


def default_setup(cfg: Any, args: Any) -> None:
    """Prepare the output folder, the log, the seed, and keep the config beside the results.

    Args:
        cfg: The whole config; ``OUTPUT_DIR``, ``SEED``, ``CUDNN_BENCHMARK`` and
            ``FLOAT32_PRECISION`` are used. In a config written in Python they are named
            ``train.output_dir`` and so on.
        args: The parsed arguments; ``eval_only`` is used if it is there.
    """
    rank = comm.get_rank()
    output_dir = _setting(cfg, "OUTPUT_DIR", "")
    if comm.is_main_process() and output_dir:
        PathManager.mkdirs(output_dir)
    for name in ("fvcore", "d2seg"):
        setup_logger(output_dir or None, distributed_rank=rank, name=name)
    logger.info("Process %d of %d; arguments: %s", rank, comm.get_world_size(), args)
    logger.info("Environment:\n%s", collect_env_info())
    if comm.is_main_process() and output_dir:
        _save_config(cfg, Path(output_dir) / "config.yaml")
    seed = _setting(cfg, "SEED", -1)
    # Processes must not draw the same numbers.
    seed_all_rng(None if seed < 0 else seed + rank)
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = _setting(cfg, "CUDNN_BENCHMARK", False)
    precision = _setting(cfg, "FLOAT32_PRECISION", "")
    if precision:
        torch.set_float32_matmul_precision(precision)


def _setting(cfg: Any, name: str, default: Any) -> Any:
    """Return ``NAME`` of a CfgNode, or ``train.name`` (else ``name``) of a config in Python."""
    if isinstance(cfg, CfgNode):
        return cfg.get(name, default)
    for where in (cfg.get("train") or {}, cfg):
        if name.lower() in where:
            return where[name.lower()]
    return default


def _save_config(cfg: Any, path: Path) -> None:
    if isinstance(cfg, CfgNode):
        with replace_when_complete(path) as temporary:
            Path(temporary).write_text(cfg.dump(), encoding="utf-8")
    else:
        LazyConfig.save(cfg, str(path))
    logger.info("The full config is in %s", path)


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
