import json
from pathlib import Path

import numpy as np
import pytest
import torch

from d2seg import cli
from d2seg.assets import BENCHMARK_CONFIG_FILE, DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.benchmark import Rounds, alone, contestants
from d2seg.benchmark.alone import can_measure_memory, measure_alone
from d2seg.benchmark.contestants import Entry, list_entries, open_entry
from d2seg.benchmark.predict import benchmark_predict
from d2seg.benchmark.subject import Subject, make_subject, read_images, read_images_of
from d2seg.benchmark.torchvision_model import torchvision_model, why_not_torchvision
from d2seg.config import load_config
from d2seg.framework import DefaultPredictor
from d2seg.images import find_images
from tests.export.models import thin_config

SMALL = ("INPUT.MIN_SIZE_TEST", "96", "MODEL.RPN.POST_NMS_TOPK_TEST", "50")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    cfg = thin_config(MODEL__WEIGHTS="")
    images = read_images(find_images([DEMO_IMAGES])[:2], (96, 150))
    return make_subject(cfg, images, tmp_path_factory.mktemp("subject"), objects=7)


def test_the_stored_model_finds_as_many_objects_as_asked(subject: Subject) -> None:
    assert [image.shape for image in subject.images] == [(96, 150, 3)] * 2
    assert subject.network_sizes_hw == [(96, 150)] * 2
    assert subject.weights == ""
    predictor = DefaultPredictor(load_config(subject.config_file))
    assert [len(predictor(image)["instances"]) for image in subject.images] == [7, 7]
    stored = read_images_of(subject.folder)
    assert all(map(np.array_equal, stored, subject.images))


def test_everyone_predicts_all_images(subject: Subject) -> None:
    (entry, *others), left_out = list_entries(subject.config_file, [])
    assert entry.name == "core"
    assert [one.name for one in others] == ["core, unfused", "core, bfloat16"]
    assert "cannot express MODEL.RESNETS.STEM_OUT_CHANNELS 16" in dict(left_out)["torchvision"]
    again = entry._replace(name="again")
    found = benchmark_predict(subject, [entry, again], Rounds(2, warmup=0))
    assert found.objects == {"core": 14, "again": 14}
    assert [one.name for one in found.comparisons] == ["core", "again"]
    assert found.comparisons[0].speedup == (1.0, 1.0, 1.0)


def test_a_process_of_its_own_tells_its_memory(subject: Subject) -> None:
    (entry, *_), _ = list_entries(subject.config_file, [])
    measured = measure_alone(entry, subject.folder, threads=1)
    assert measured.load_s > 0
    if can_measure_memory():
        assert measured.loaded_mib > 50
        assert 0 < measured.working_mib < measured.loaded_mib
    lost = Entry("lost", "file", str(subject.folder / "lost.ptl"))
    with pytest.raises(RuntimeError, match="'lost' failed in a process of its own: .*No model"):
        measure_alone(lost, subject.folder, threads=1)


def test_a_process_of_its_own_finds_the_package_from_anywhere(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    (entry, *_), _ = list_entries(subject.config_file, [])
    assert measure_alone(entry, subject.folder, threads=1).load_s > 0


def test_on_a_gpu_its_memory_is_measured(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    mib = 2**20
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: 40 * mib * index)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda index: 100 * mib * index)
    reset: list[int] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    (entry, *_), _ = list_entries(subject.config_file, [])
    measured = alone._run(entry, subject.folder, torch.get_num_threads())
    assert measured[1:] == (40, 60, alone.GPU)
    assert reset == [0, 1]


def test_runtimes_are_imported_before_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr(contestants, "import_module", imported.append)
    contestants.import_runtime(Entry("one", "file", "a.ONNX"))
    contestants.import_runtime(Entry("two", "detectron2", "a.yaml"))
    contestants.import_runtime(Entry("three", "framework", "a.yaml"))
    assert imported[-3:] == ["onnxruntime", "detectron2.config", "detectron2.engine"]


def test_who_fails_alone_is_left_out_and_the_times_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_but_first(entry: Entry, folder: Path, threads: int) -> alone.Alone:
        if entry.name == "core":
            return alone.Alone(1.0, 100.0, 10.0, alone.PROCESS)
        raise RuntimeError(f"'{entry.name}' failed in a process of its own: killed")

    monkeypatch.setattr(alone, "measure_alone", fail_but_first)
    path = tmp_path / "speed.json"
    options = ["--config-file", str(DEMO_CONFIG_FILE), "--rounds", "1", "--warmup", "0"]
    arguments = ["benchmark", "--task", "predict", *options, "--json", str(path), *SMALL]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert (
        "left out of the memory: 'core, unfused' failed in a process of its own: killed" in printed
    )
    document = json.loads(path.read_text())
    assert len(document["results"]) == 3
    assert document["alone"].keys() == {"core"}

    def stop(*_: object) -> None:
        raise OSError("no processes left")

    path.unlink()
    monkeypatch.setattr(alone, "measure_alone", stop)
    assert cli.main(arguments) == 1
    assert len(json.loads(path.read_text())["results"]) == 3


def test_settings_that_torchvision_lacks_are_named() -> None:
    assert why_not_torchvision(load_config(BENCHMARK_CONFIG_FILE)) == ""
    reason = why_not_torchvision(load_config(DEMO_CONFIG_FILE))
    assert "cannot express MODEL.RESNETS.STEM_OUT_CHANNELS 16: its detectors" in reason
    of_detectron2 = ["MODEL.ROI_MASK_HEAD.POOLER_TYPE", "ROIAlignV2"]
    reason = why_not_torchvision(load_config(BENCHMARK_CONFIG_FILE, of_detectron2))
    assert "cannot express MODEL.ROI_MASK_HEAD.POOLER_TYPE 'ROIAlignV2'" in reason
    reason = why_not_torchvision(load_config(BENCHMARK_CONFIG_FILE, ["MODEL.MASK_ON", "False"]))
    assert reason == "MODEL.MASK_ON is False, and its masks are measured"


def test_wrong_arguments_are_named(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image to measure with"):
        read_images([])
    with pytest.raises(ValueError, match="must be positive, got 0x9"):
        read_images(find_images([DEMO_IMAGES]), (0, 9))
    with pytest.raises(ValueError, match="objects must be at least 1, got 0"):
        make_subject(subject.cfg, subject.images, tmp_path, objects=0)
    with pytest.raises(ValueError, match="ask for fewer, or raise MODEL.RPN.POST_NMS_TOPK_TEST"):
        make_subject(subject.cfg, subject.images, tmp_path, objects=10**6)


@pytest.mark.slow
@torch.no_grad()
def test_torchvision_gets_the_same_weights(tmp_path: Path) -> None:
    # torchvision lays anchors by the number of cells: as we do where 64 divides the image.
    cfg = load_config(BENCHMARK_CONFIG_FILE, SMALL)
    cfg.INPUT.MIN_SIZE_TEST = 128
    images = read_images(find_images([DEMO_IMAGES])[:1], (128, 192))
    subject = make_subject(cfg, images, tmp_path, objects=8)
    entries, _ = list_entries(subject.config_file, [])
    assert [open_entry(entry)(images[0]) for entry in entries] == [8, 8, 8, 8]
    ours = DefaultPredictor(subject.cfg)
    instances = ours(images[0])["instances"]
    theirs = torchvision_model(subject.cfg, ours.model.state_dict())
    rgb = torch.from_numpy(images[0][:, :, ::-1].copy()).permute(2, 0, 1).float() / 255
    (found,) = theirs([rgb])
    distance = (instances.pred_boxes.tensor[:, None] - found["boxes"]).abs().amax(dim=2)
    nearest = distance.argmin(dim=1)
    assert float(distance.amin(dim=1).max()) < 0.01
    assert torch.equal(instances.pred_classes + 1, found["labels"][nearest])
    assert float((instances.scores - found["scores"][nearest]).abs().max()) < 1e-5


@pytest.mark.slow
def test_the_command_compares_torchvision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, kept = tmp_path / "speed.json", tmp_path / "kept"
    options = ["--rounds", "1", "--warmup", "0", "--size", "96", "150", "--objects", "5"]
    arguments = ["benchmark", "--task", "predict", *options, "--json", str(path)]
    assert cli.main([*arguments, "--keep", str(kept), *SMALL]) == 0
    assert "objects: torchvision 5, core 5, core, unfused 5" in capsys.readouterr().out
    document = json.loads(path.read_text())
    assert document["task"] == "predict"
    assert document["baseline"] == "torchvision"
    names = {"torchvision", "core", "core, unfused", "core, bfloat16"}
    assert document["work"]["objects"] == dict.fromkeys(names, 5)
    assert document["alone"].keys() == names
    assert sorted(one.name for one in kept.iterdir()) == ["config.yaml", "images.npz", "model.pth"]
