"""What a training with the plugin's keys does, and that it can be interrupted."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from d2seg import cli
from d2seg.class_names import class_names
from d2seg.config import load_config
from d2seg.framework import CfgNode, DatasetMapper, DetectionCheckpointer, build_model
from d2seg.train import Trainer, run_training
from d2seg.train.run import TrainingJob, prepare_config, run_job
from tests.train.conftest import VALIDATION, WriteConfig, read_metrics

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:.*SwigPy:DeprecationWarning")


def train(config: Path, *overrides: str, resume: bool = False, eval_only: bool = False) -> None:
    run_training(TrainingJob(str(config), overrides, resume, eval_only))


def test_a_training_leaves_weights_classes_metrics_and_results(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    train(write_config())
    run = tmp_path / "run"
    final = torch.load(run / "model_final.pth", weights_only=True)
    assert final["classes"] == {"thing_classes": ["nucleus"]}
    assert final["iteration"] == 5
    assert load_config(run / "config.yaml").MODEL.ROI_HEADS.NUM_CLASSES == 1
    results = json.loads((run / "inference" / "results.json").read_text())
    assert set(results) == {"bbox", "segm"}
    assert 0 <= results["segm"]["AP"] <= 100
    assert (run / "inference" / VALIDATION / "coco_instances_results.json").is_file()
    cfg = load_config(run / "config.yaml", ["MODEL.WEIGHTS", str(run / "model_final.pth")])
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    assert class_names(cfg) == ["nucleus"]


def test_a_metric_that_is_not_there_yet_ends_nothing(
    write_config: WriteConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"TEST__EVAL_PERIOD": 2, "TRAIN__BEST_METRIC": "segm/AP", "TRAIN__PATIENCE": 1}
    train(write_config(MODEL__ROI_HEADS__SCORE_THRESH_TEST=1.0, **options))  # nothing is found
    assert not (tmp_path / "run" / "model_best.pth").exists()
    assert torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["iteration"] == 5
    assert "The evaluation gives no segm/AP" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize("metric", ["nosuch/AP", "val_total_loss"])
def test_a_metric_that_never_comes_ends_the_training_at_once(
    write_config: WriteConfig, tmp_path: Path, metric: str
) -> None:
    options = {"TEST__EVAL_PERIOD": 2, "TRAIN__BEST_METRIC": metric}
    with pytest.raises(ValueError, match=rf"no {metric} \(TRAIN.BEST_METRIC\); it gives bbox/AP, "):
        train(write_config(**options))
    assert (tmp_path / "run" / "model_0000001.pth").is_file()
    assert not (tmp_path / "run" / "model_final.pth").exists()


def test_an_extended_run_remembers_its_best(write_config: WriteConfig, tmp_path: Path) -> None:
    options = {"TEST__EVAL_PERIOD": 2, "TRAIN__VALIDATION_LOSS": True, "TRAIN__BEST_MODE": "max"}
    # Unlike the sum, which hangs on the boxes that are drawn, this one falls from the beginning.
    config = write_config(TRAIN__BEST_METRIC="val_loss_cls", **options)
    train(config)
    best = torch.load(tmp_path / "run" / "model_best.pth", weights_only=True)
    assert best["iteration"] == 1  # the greatest is asked for
    results = [line for line in read_metrics(tmp_path / "run").values() if "segm/AP" in line]
    train(config, "SOLVER.MAX_ITER", "8", resume=True)
    again = torch.load(tmp_path / "run" / "model_best.pth", weights_only=True)
    assert (again["iteration"], again["value"]) == (best["iteration"], best["value"])
    after = [line for line in read_metrics(tmp_path / "run").values() if "segm/AP" in line]
    assert len(after) > len(results) > 0


def test_resumed_losses_are_those_without_the_interruption(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    options = {
        "TRAIN__EMA_DECAY": 0.5,
        "TRAIN__VALIDATION_LOSS": True,
        "TEST__EVAL_PERIOD": 3,
        "TEST__PRECISE_BN": {"ENABLED": True, "NUM_ITER": 2},
        "DATALOADER__ASPECT_RATIO_GROUPING": True,
    }
    train(write_config(OUTPUT_DIR=str(tmp_path / "whole"), **options))
    config = write_config(OUTPUT_DIR=str(tmp_path / "parts"), **options)

    class Killed(Exception):
        pass

    def stop(trainer: Trainer) -> None:
        if trainer.iter == 4:
            raise Killed

    from d2seg.framework import default_setup, hooks

    cfg = prepare_config(TrainingJob(str(config)))
    default_setup(cfg, None)
    trainer = Trainer(cfg)
    trainer.register_hooks([hooks.CallbackHook(before_step=stop)])
    with pytest.raises(Killed):
        trainer.train()
    train(config, resume=True)
    whole, parts = (read_metrics(tmp_path / name) for name in ("whole", "parts"))
    for iteration, metrics in whole.items():
        # The interrupted run wrote more: what there was when it stopped.
        assert {name: parts[iteration].get(name) for name in metrics} == metrics
    assert len(whole[5]) > 10
    for name in ("model_final.pth", "model_ema.pth"):
        first, second = (
            torch.load(tmp_path / run / name, weights_only=True)["model"]
            for run in ("whole", "parts")
        )
        assert all(torch.equal(first[key], second[key]) for key in first), name


def test_a_complete_run_is_evaluated_once(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[int] = []
    evaluate = Trainer.evaluate

    def count(trainer: Trainer) -> Any:
        evaluated.append(trainer.iter)
        return evaluate(trainer)

    monkeypatch.setattr(Trainer, "evaluate", count)
    config, results = write_config(), tmp_path / "run" / "inference" / "results.json"
    train(config)
    metrics = (tmp_path / "run" / "metrics.json").read_bytes()
    stored = json.loads(results.read_text())
    assert run_job(TrainingJob(str(config), resume=True)) == stored
    assert evaluated == [6]
    assert (tmp_path / "run" / "metrics.json").read_bytes() == metrics
    with pytest.raises(SystemExit):  # the results are compared with what is expected as ever
        train(config, "TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 500, 1]]", resume=True)
    train(config, "SOLVER.MAX_ITER", "7", resume=True)
    results.unlink()
    train(config, "SOLVER.MAX_ITER", "7", resume=True)
    assert evaluated == [6, 7, 7]


def test_a_run_that_died_before_its_first_checkpoint_begins_again(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    metrics = tmp_path / "run" / "metrics.json"
    metrics.parent.mkdir()
    died = '{"iteration": 0, "total_loss": 3.0}\n{"iteration": 1, "total_lo'
    for resume, left in ((False, died), (True, "")):
        metrics.write_text(died)
        Trainer(prepare_config(TrainingJob(str(write_config())))).resume_or_load(resume)
        assert metrics.read_text() == left


def kill_at_some_moment(command: list[str], run: Path, chance: random.Random) -> bool:
    """Start a run, wait for a new checkpoint, kill it a moment later; tell whether it was alive."""
    before = set(run.glob("model_*.pth"))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and set(run.glob("model_0*.pth")) <= before:
        time.sleep(0.05)
    time.sleep(chance.uniform(0, 2))
    alive = process.poll() is None
    process.kill()
    process.wait()
    return alive


@pytest.mark.slow
def test_an_evaluation_that_a_run_was_killed_in_is_done_when_it_is_resumed(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    options = {
        "TEST__EVAL_PERIOD": 2,
        "TRAIN__VALIDATION_LOSS": True,
        "TRAIN__BEST_METRIC": "val_total_loss",
        "TRAIN__BEST_MODE": "min",
        "TRAIN__PATIENCE": 1,  # without the evaluation this would be over
    }
    train(write_config(OUTPUT_DIR=str(tmp_path / "whole"), **options))
    config = write_config(OUTPUT_DIR=str(tmp_path / "killed"), **options)
    dies = (
        "import os, sys; from d2seg.cli import main; from d2seg.train import Trainer;"
        "evaluate = Trainer.evaluate;"
        "Trainer.evaluate = lambda t: os.kill(os.getpid(), 9) if t.iter == 3 else evaluate(t);"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", dies, "train", "--config-file", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "killed" / "last_checkpoint").read_text() == "model_0000003.pth"
    train(config, resume=True)
    whole, killed = read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "killed")
    assert {"val_total_loss", "total_loss"} <= set(whole[3])
    assert killed == whole
    first, second = (
        torch.load(tmp_path / run / "model_best.pth", weights_only=True)
        for run in ("whole", "killed")
    )
    assert (first["iteration"], first["value"]) == (second["iteration"], second["value"])


@pytest.mark.slow
def test_a_killed_process_is_resumed_with_the_same_losses(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    options = {
        "SOLVER__MAX_ITER": 40,
        "SOLVER__CHECKPOINT_PERIOD": 3,
        "TEST__EVAL_PERIOD": 10,
        "TRAIN__VALIDATION_LOSS": True,
        "TRAIN__BEST_METRIC": "val_total_loss",
        "TRAIN__BEST_MODE": "min",
        "TRAIN__EMA_DECAY": 0.9,
        "DATALOADER__NUM_WORKERS": 1,
    }
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(write_config(OUTPUT_DIR=str(whole), **options))
    config = write_config(OUTPUT_DIR=str(killed), **options)
    command = [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file", str(config)]
    chance = random.Random(time.time_ns())
    assert sum(kill_at_some_moment([*command, "--resume"], killed, chance) for _ in range(3)) > 0
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    starts = re.findall(r"Starting training from iteration (\d+)", (killed / "log.txt").read_text())
    assert starts[0] == "0"
    assert int(starts[-1]) > 0
    expected, found = read_metrics(whole), read_metrics(killed)
    assert {i: found[i] for i in expected} == expected
    for name in ("model_final.pth", "model_best.pth", "model_ema.pth"):
        first, second = (torch.load(run / name, weights_only=True) for run in (whole, killed))
        assert all(torch.equal(v, second["model"][k]) for k, v in first["model"].items()), name
        assert first.get("iteration") == second.get("iteration")


def test_parts_of_a_batch_give_the_gradients_of_the_batch(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    # A proposal network's losses are means over images, so that parts and whole are the same.
    options = {
        "MODEL__META_ARCHITECTURE": "ProposalNetwork",
        "MODEL__MASK_ON": False,
        "MODEL__RESNETS__NORM": "FrozenBN",
        "MODEL__FPN__NORM": "",
        "MODEL__RPN__BATCH_SIZE_PER_IMAGE": 100_000,  # nothing is sampled
        "INPUT__MIN_SIZE_TRAIN": [64],  # padding would have anchors too
        "SOLVER__IMS_PER_BATCH": 4,
        "SOLVER__MAX_ITER": 3,
        "DATASETS__TEST": [],
    }
    states = []
    for parts in (1, 2):
        run = tmp_path / f"parts{parts}"
        train(write_config(OUTPUT_DIR=str(run), TRAIN__ACCUMULATION_STEPS=parts, **options))
        states.append(torch.load(run / "model_final.pth", weights_only=True)["model"])
    start = build_model(load_config(tmp_path / "parts1" / "config.yaml")).state_dict()
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, atol=1e-6, rtol=1e-4, msg=key)
    assert any(not torch.equal(states[0][key], start[key]) for key in start)


def test_the_best_weights_are_kept_and_hopeless_training_ends(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    train(
        write_config(
            SOLVER__MAX_ITER=40,
            SOLVER__BASE_LR=0.0,  # it cannot get better
            TEST__EVAL_PERIOD=1,
            TRAIN__VALIDATION_LOSS=True,
            TRAIN__BEST_METRIC="val_total_loss",
            TRAIN__BEST_MODE="min",
            TRAIN__PATIENCE=2,
            MODEL__RESNETS__NORM="FrozenBN",
            MODEL__FPN__NORM="",
        )
    )
    run = tmp_path / "run"
    best = torch.load(run / "model_best.pth", weights_only=True)
    assert best["iteration"] == 0
    assert (best["metric"], best["classes"]) == ("val_total_loss", {"thing_classes": ["nucleus"]})
    assert best["value"] == pytest.approx(read_metrics(run)[2]["val_total_loss"])
    assert torch.load(run / "model_final.pth", weights_only=True)["iteration"] == 2
    assert (run / "last_checkpoint").read_text() == "model_final.pth"


def test_losses_that_are_not_finite_stop_the_run_and_name_the_images(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    config = write_config(SOLVER__BASE_LR=1e12, TRAIN__NAN_GUARD=True, SOLVER__MAX_ITER=20)
    with pytest.raises(FloatingPointError, match=r"not finite: .*The images are .*\.png, .*\.png"):
        train(config, "SOLVER.CLIP_GRADIENTS.ENABLED", "False")


def test_a_vanished_image_stops_the_run_with_its_name(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    config = write_config()
    content = json.loads((tmp_path / "small_train.json").read_text())
    content["images"][0]["file_name"] = "gone.png"
    (tmp_path / "small_train.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"Image '.*gone.png' cannot be used for training: .*gone"):
        train(config, "SOLVER.CHECKPOINT_PERIOD", "1")


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_good_checkpoint(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    config = write_config(DATASETS__TEST=[], SOLVER__MAX_ITER=4)
    train(config)
    run = tmp_path / "run"
    before = {path.name: path.read_bytes() for path in run.glob("model_*.pth")}
    # A process that may write no file above 1 MB: what a disk does that is nearly full.
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20));"
        "from d2seg.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", limited, "train", "--config-file", str(config), "--resume"]
    done = subprocess.run(
        [*command, "SOLVER.MAX_ITER", "8"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "model_0000005.pth' cannot be written" in last
    assert "earlier checkpoints are as they were" in last
    assert {path.name: path.read_bytes() for path in run.glob("model_*.pth")} == before
    assert not list(run.glob(".*"))
    train(config, "SOLVER.MAX_ITER", "8", resume=True)
    assert sorted(read_metrics(run))[-1] == 7


# torch leaves the dead worker's connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.slow
def test_a_dead_worker_is_told_in_a_sentence(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mapper_that_dies(cfg: CfgNode, images: Any) -> Any:
        mapper = DatasetMapper(cfg, True)

        def load(image: dict[str, Any]) -> Any:
            if int(image["image_id"]) == images[3]["image_id"]:
                os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
            return mapper(image)

        return load

    monkeypatch.setattr("d2seg.train.trainer.build_train_mapper", mapper_that_dies)
    with pytest.raises(ChildProcessError, match="worker process that loads images died at iter"):
        train(write_config(DATALOADER__NUM_WORKERS=1, SOLVER__CHECKPOINT_PERIOD=1))


def test_evaluation_alone_gives_the_same_results(write_config: WriteConfig, tmp_path: Path) -> None:
    config = write_config()
    train(config)
    path = tmp_path / "run" / "inference" / "results.json"
    trained = json.loads(path.read_text())
    path.unlink()
    train(config, "MODEL.WEIGHTS", str(tmp_path / "run" / "model_final.pth"), eval_only=True)
    assert json.loads(path.read_text()) == trained


def test_test_time_augmentation_is_a_second_evaluation(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    train(
        write_config(
            TEST__AUG={"ENABLED": True, "MIN_SIZES": [96, 128], "FLIP": True},
            MODEL__ROI_HEADS__NUM_CLASSES=1,
            INPUT__MIN_SIZE_TEST=128,
        ),
        "MODEL.WEIGHTS",
        "d2seg://nuclei.safetensors",
        eval_only=True,
    )
    run = tmp_path / "run"
    results = json.loads((run / "inference" / "results.json").read_text())
    assert list(results) == ["bbox", "segm", "bbox_TTA", "segm_TTA"]
    assert results["segm"]["AP"] > 10
    assert results["segm_TTA"]["AP"] > results["segm"]["AP"] - 5
    assert results["segm_TTA"] != results["segm"]
    for folder in (run, run / "TTA"):
        assert (folder / "inference" / VALIDATION / "coco_instances_results.json").is_file()


# A loss scale that begins too high skips the first update.
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("dtype", ["", "float16"])
def test_half_precision_trains(write_config: WriteConfig, tmp_path: Path, dtype: str) -> None:
    train(write_config(SOLVER__AMP__ENABLED=True, TRAIN__AMP_DTYPE=dtype, DATASETS__TEST=[]))
    state = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)
    assert all(v.dtype in (torch.float32, torch.int64) for v in state["model"].values())
    assert bool(state["trainer"]["_trainer"]["grad_scaler"]) == (dtype == "float16")
    losses = read_metrics(tmp_path / "run")[5]
    assert all(torch.tensor(list(losses.values())).isfinite())


def test_other_classes_cannot_be_resumed(write_config: WriteConfig, tmp_path: Path) -> None:
    train(write_config(DATASETS__TEST=[]))
    path = tmp_path / "run" / "model_final.pth"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["classes"] = {"thing_classes": ["cell"]}
    torch.save(checkpoint, path)
    with pytest.raises(
        ValueError, match=r"trained on the classes .*\['cell'\]\}, but DATASETS.TRAIN"
    ):
        train(write_config(DATASETS__TEST=[]), resume=True)


def test_a_misspelt_data_set_is_told_before_anything_is_written(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    with pytest.raises(KeyError, match="There is no data set 'small_trian'; did you mean"):
        train(write_config(DATASETS__TRAIN=["small_trian"]))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TRAIN__ACCUMULATION_STEPS": 3}, "ACCUMULATION_STEPS is 3, but must divide the 2 images"),
        ({"TRAIN__BEST_METRIC": "segm/AP"}, "BEST_METRIC needs evaluations: set TEST.EVAL_PERIOD"),
        (
            {"TRAIN__VALIDATION_LOSS": True},
            "VALIDATION_LOSS needs evaluations: set TEST.EVAL_PERIOD",
        ),
        ({"TRAIN__AMP_DTYPE": "half"}, "AMP_DTYPE is 'half', but must be float16, bfloat16, or"),
        ({"TRAIN__EMA_DECAY": 1.5}, "EMA_DECAY is 1.5, but must be"),
        ({"DATASETS__TRAIN": []}, "DATASETS.TRAIN is empty"),
        ({"DATASETS__TEST": ["nuclei_vla"]}, "There is no data set 'nuclei_vla'"),
        ({"MODEL__ROI_HEADS__NUM_CLASSES": 3}, "small_val' has 1 classes, but the model has 3"),
        ({"TRAIN__PATIENCE": 2}, "PATIENCE needs TRAIN.BEST_METRIC"),
        ({"DATASETS__TEST": [], "TRAIN__BEST_METRIC": "a"}, "BEST_METRIC needs a data set in"),
        ({"DATASETS__TEST": [], "TRAIN__VALIDATION_LOSS": True}, "VALIDATION_LOSS needs a data"),
        (
            {"MODEL__KEYPOINT_ON": True, "MODEL__ROI_KEYPOINT_HEAD__NUM_KEYPOINTS": 5},
            "KEYPOINT_OKS_SIGMAS has 0 numbers, but must have one for each of the 5",
        ),
        (
            {
                "DATALOADER__SAMPLER_TRAIN": "RandomSubsetTrainingSampler",
                "DATALOADER__RANDOM_SUBSET_RATIO": 1.5,
            },
            "RANDOM_SUBSET_RATIO must be above 0 and at most 1; found 1.5",
        ),
        (
            {"TEST__AUG__ENABLED": True, "MODEL__META_ARCHITECTURE": "ProposalNetwork"},
            "[Tt]est-time augmentation",
        ),
        ({"DATALOADER__SAMPLER_TRAIN": "Best"}, "SAMPLER_TRAIN is .*found 'Best'"),
    ],
)
def test_bad_keys_are_told_before_the_training(
    write_config: WriteConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        train(write_config(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"TRAIN__ACCUMULATION_STEPS": 3},
        {"TRAIN__BEST_METRIC": "segm/AP"},
        {"TRAIN__BEST_MODE": "most"},
        {"TRAIN__PATIENCE": 2},
        {"TRAIN__EMA_DECAY": 1.5},
        {"SOLVER__MAX_ITER": 0},
    ],
)
def test_bad_keys_leave_no_folder(
    write_config: WriteConfig, tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=next(iter(changes)).replace("__", ".")):
        train(write_config(**changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("folder", "complaint"),
    [
        ("small_val.json", "is a file, but a folder is needed there; name another.\n"),
        pytest.param(
            "/proc/x/y",
            "nothing can be written there (",
            marks=pytest.mark.skipif(
                not Path("/proc/self").exists(), reason="nothing is unwritable to root"
            ),
        ),
    ],
)
def test_a_place_that_takes_no_files_is_told_before_data_is_read(
    write_config: WriteConfig,
    tmp_path: Path,
    folder: str,
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_config(OUTPUT_DIR=str(tmp_path / folder))
    (tmp_path / "small_train.json").write_text("no JSON")  # told, if it were read
    assert cli.main(["train", "--config-file", str(config)]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / folder) in error
    assert complaint in error


@pytest.mark.parametrize("number", ["-1", "0"])
def test_there_is_at_least_one_process(
    write_config: WriteConfig, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    assert cli.main(["train", "--config-file", str(write_config()), "--num-gpus", number]) == 1
    assert f"--num-gpus is {number}, but must be 1 or more." in capsys.readouterr().err


def test_weights_of_a_checkpoint_load_without_the_rest(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    train(write_config(DATASETS__TEST=[]))
    cfg = load_config(tmp_path / "run" / "config.yaml")
    model = build_model(cfg)
    DetectionCheckpointer(model).load(tmp_path / "run" / "model_final.pth")
    saved = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["model"]
    assert all(torch.equal(saved[key], value) for key, value in model.state_dict().items())
