"""Arguments and defaults that programs written for detectron2 rely on."""

import inspect
from typing import Any

import pytest

from d2seg.core import engine, solver
from d2seg.core.engine import hooks
from d2seg.core.runtime import comm, events, writers

SIGNATURES = [
    (engine.SimpleTrainer, "model, data_loader, optimizer, gather_metric_period=1, "
     "zero_grad_before_forward=False, async_write_metrics=False"),
    (engine.AMPTrainer, "model, data_loader, optimizer, gather_metric_period=1, "
     "zero_grad_before_forward=False, grad_scaler=None, precision=torch.float16, "
     "log_grad_scaler=False, async_write_metrics=False"),
    (engine.DefaultTrainer, "cfg"),
    (engine.DefaultTrainer.test, "cfg, model, evaluators=None"),
    (engine.DefaultTrainer.resume_or_load, "self, resume=True"),
    (engine.DefaultTrainer.auto_scale_workers, "cfg, num_workers"),
    (engine.create_ddp_model, "model, *, fp16_compression=False, **kwargs"),
    (engine.default_argument_parser, "epilog=None"),
    (engine.default_setup, "cfg, args"),
    (engine.default_writers, "output_dir, max_iter=None"),
    (engine.launch, "main_func, num_gpus_per_machine, num_machines=1, machine_rank=0, "
     "dist_url=None, args=(), timeout=datetime.timedelta(seconds=1800)"),
    (hooks.AutogradProfiler, "enable_predicate, output_dir, *, use_cuda=True"),
    (hooks.BestCheckpointer, "eval_period, checkpointer, val_metric, mode='max', "
     "file_prefix='model_best'"),
    (hooks.CallbackHook, "*, before_train=None, after_train=None, before_step=None, "
     "after_step=None"),
    (hooks.EvalHook, "eval_period, eval_function, eval_after_train=True"),
    (hooks.IterationTimer, "warmup_iter=3"),
    (hooks.LRScheduler, "optimizer=None, scheduler=None"),
    (hooks.PeriodicCheckpointer, "checkpointer, period, max_iter=None, max_to_keep=None, "
     "file_prefix='model'"),
    (hooks.PeriodicWriter, "writers, period=20"),
    (hooks.PreciseBN, "period, model, data_loader, num_iter"),
    (hooks.TorchMemoryStats, "period=20, max_runs=10"),
    (hooks.TorchProfiler, "enable_predicate, output_dir, *, activities=None, "
     "save_tensorboard=True"),
    (solver.LRMultiplier, "optimizer, multiplier, max_iter, last_iter=-1"),
    (solver.WarmupParamScheduler, "scheduler, warmup_factor, warmup_length, "
     "warmup_method='linear', rescale_interval=False"),
    (solver.WarmupMultiStepLR, "optimizer, milestones, gamma=0.1, warmup_factor=0.001, "
     "warmup_iters=1000, warmup_method='linear', last_epoch=-1"),
    (solver.WarmupCosineLR, "optimizer, max_iters, warmup_factor=0.001, warmup_iters=1000, "
     "warmup_method='linear', last_epoch=-1"),
    (solver.get_default_optimizer_params, "model, base_lr=None, weight_decay=None, "
     "weight_decay_norm=None, bias_lr_factor=1.0, weight_decay_bias=None, lr_factor_func=None, "
     "overrides=None"),
    (events.EventStorage, "start_iter=0"),
    (events.EventStorage.put_scalar, "self, name, value, smoothing_hint=True, cur_iter=None"),
    (events.EventStorage.put_histogram, "self, hist_name, hist_tensor, bins=1000"),
    (writers.JSONWriter, "json_file, window_size=20"),
    (writers.CommonMetricPrinter, "max_iter=None, window_size=20"),
    (writers.TensorboardXWriter, "log_dir, window_size=20, **kwargs"),
    (comm.all_gather, "data, group=None"),
    (comm.gather, "data, dst=0, group=None"),
    (comm.reduce_dict, "input_dict, average=True"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "expected"), SIGNATURES)
def test_arguments_are_those_of_detectron2(what: Any, expected: str) -> None:
    signature = inspect.signature(what)
    plain = [
        one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()
    ]
    found = signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)
    assert str(found) == f"({expected})"
