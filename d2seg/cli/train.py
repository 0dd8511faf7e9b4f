"""``d2seg train``: train a model, and evaluate it."""

import argparse
import os

from d2seg.cli.arguments import add_config_file, add_overrides

EPILOG = """\
examples:
  d2seg train --config-file config.yaml
  d2seg train --config-file config.yaml --num-gpus 8 SOLVER.BASE_LR 0.01
  d2seg train --config-file config.yaml --resume
  d2seg train --config-file config.yaml --eval-only MODEL.WEIGHTS output/model_final.pth
  torchrun --nproc-per-node 2 tools/train_net.py --config-file config.yaml

Without a GPU, --num-gpus counts processes on the CPU. A run that was killed goes on with --resume
from its last checkpoint as if nothing had happened. OUTPUT_DIR gets the checkpoints, config.yaml,
log.txt, metrics.json (a JSON object a line), TensorBoard files, inference/results.json and a
page about the last evaluation.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg train``, which are those of detectron2's train_net.py."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_config_file(parser)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in OUTPUT_DIR"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate, do not train")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on each machine")
    parser.add_argument("--num-machines", type=int, default=1, help="number of machines")
    parser.add_argument(
        "--machine-rank", type=int, default=0, help="number of this machine, from 0"
    )
    parser.add_argument(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="where processes meet, tcp://HOST:PORT (default: a free port of this machine)",
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Train or evaluate; return the exit code."""
    from d2seg.report.training import write_training_reports
    from d2seg.train import run_training
    from d2seg.train.run import TrainingJob, prepare_config

    job = TrainingJob(args.config_file, tuple(args.opts), args.resume, args.eval_only)
    run_training(
        job,
        num_gpus=args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
    )
    if args.machine_rank == 0 and os.environ.get("RANK", "0") == "0":
        for page in write_training_reports(prepare_config(job)):
            print(f"{page}: the last evaluation as a page")
    return 0
