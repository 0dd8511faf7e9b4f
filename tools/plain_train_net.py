#!/usr/bin/env python
"""A training loop in one file, for those who want to see it or write their own.

It trains the model of a config on one device, keeps checkpoints and metrics, resumes and evaluates.
``tools/train_net.py`` does the same and more: several processes, the TRAIN keys of the config,
half precision, and runs that are exactly the same after a restart.

    python tools/plain_train_net.py --config-file config.yaml [--resume] [--eval-only] [KEY VALUE]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from d2seg.cli import USER_ERRORS, describe_error
from d2seg.framework import (
    CfgNode,
    DetectionCheckpointer,
    EventStorage,
    build_detection_test_loader,
    build_detection_train_loader,
    build_lr_scheduler,
    build_model,
    build_optimizer,
    default_setup,
    default_writers,
    hooks,
    inference_on_dataset,
    print_csv_format,
)
from d2seg.train.evaluators import build_evaluator
from d2seg.train.run import TrainingJob, prepare_config

WRITE_PERIOD = 20


def evaluate(cfg: CfgNode, model: torch.nn.Module) -> None:
    """Evaluate on every data set of DATASETS.TEST."""
    for name in cfg.DATASETS.TEST:
        evaluator = build_evaluator(cfg, name, Path(cfg.OUTPUT_DIR) / "inference" / name)
        loader = build_detection_test_loader(cfg, name)
        print_csv_format(inference_on_dataset(model, loader, evaluator))


def train(cfg: CfgNode, model: torch.nn.Module, resume: bool) -> None:
    """Train from the last checkpoint, or from MODEL.WEIGHTS, to SOLVER.MAX_ITER."""
    model.train()
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    checkpointer = DetectionCheckpointer(
        model, cfg.OUTPUT_DIR, optimizer=optimizer, scheduler=scheduler
    )
    # Weights to start from may carry the iteration of their own training.
    goes_on = resume and checkpointer.has_checkpoint()
    loaded = checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    start = loaded.get("iteration", -1) + 1 if goes_on else 0
    periodic = hooks.PeriodicCheckpointer(
        checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.MAX_ITER
    )
    writers = default_writers(cfg.OUTPUT_DIR, cfg.SOLVER.MAX_ITER)
    batches = iter(build_detection_train_loader(cfg))

    with EventStorage(start) as storage:
        for iteration in range(start, cfg.SOLVER.MAX_ITER):
            storage.iter = iteration
            losses = model(next(batches))
            total = torch.stack(list(losses.values())).sum()
            if not total.isfinite():
                raise FloatingPointError(f"The losses of iteration {iteration} are {losses}.")
            optimizer.zero_grad()
            total.backward()
            optimizer.step()

            storage.put_scalars(total_loss=total, **losses)
            storage.put_scalar("lr", optimizer.param_groups[0]["lr"], smoothing_hint=False)
            scheduler.step()
            if (iteration + 1) % WRITE_PERIOD == 0 or iteration + 1 == cfg.SOLVER.MAX_ITER:
                for writer in writers:
                    writer.write()
            periodic.step(iteration)
            done, period = iteration + 1, cfg.TEST.EVAL_PERIOD
            if period > 0 and done % period == 0 and done < cfg.SOLVER.MAX_ITER:
                evaluate(cfg, model)
        for writer in writers:
            writer.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and evaluate, or evaluate only."""
    parser = argparse.ArgumentParser(description="Train the model of a config, in a plain loop.")
    parser.add_argument("--config-file", required=True, help="a file or a name of the model zoo")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--eval-only", action="store_true", help="evaluate, do not train")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides")
    args = parser.parse_args(arguments)

    cfg = prepare_config(TrainingJob(args.config_file, args.opts, args.resume, args.eval_only))
    default_setup(cfg, args)
    model = build_model(cfg)
    if args.eval_only:
        checkpointer = DetectionCheckpointer(model, cfg.OUTPUT_DIR)
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
    else:
        train(cfg, model, args.resume)
    evaluate(cfg, model)


if __name__ == "__main__":
    try:
        main()
    except USER_ERRORS as error:
        sys.exit(f"error: {describe_error(error)}")
