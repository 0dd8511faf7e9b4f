"""Where the numbers of a storage go."""

import json
import logging
import math
from pathlib import Path

import pytest
import torch

from d2seg.core.runtime import writers
from d2seg.core.runtime.events import EventStorage
from d2seg.core.runtime.writers import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
)


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_iteration_that_something_was_recorded_at_has_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    writer = JSONWriter(str(path))
    with EventStorage() as storage:
        writer.write()
        assert not path.exists()
        for iteration in range(60):
            if iteration % 17 == 0:
                storage.put_scalar("rare", iteration, smoothing_hint=False)
            storage.put_scalar("each", iteration, smoothing_hint=False)
            if iteration % 20 == 19:
                writer.write()
            storage.step()
        writer.close()
    expected = [("rare", 17), ("each", 19), ("rare", 34), ("each", 39), ("rare", 51), ("each", 59)]
    assert lines(path) == [{name: value, "iteration": value} for name, value in expected]


def test_a_second_training_appends_and_a_closed_writer_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    with EventStorage() as storage:
        storage.put_scalar("a", 1.0)
        for writer in (JSONWriter(str(path)), JSONWriter(str(path))):
            writer.write()
            writer.close()
            writer.close()
        storage.put_scalar("a", 3.0, cur_iter=1)
        writer.write()
        writer.close()
    assert lines(path) == [
        {"iteration": 0, "a": 1.0},
        {"iteration": 0, "a": 1.0},
        {"iteration": 1, "a": 2.0},
    ]


def test_what_a_resumed_training_has_taken_over_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    writer = JSONWriter(str(path))
    with EventStorage(4) as storage:
        storage.put_scalar("time", 0.5, cur_iter=3)
        storage.put_scalar("loss", 2.0)
        writer.write()
    writer.close()
    assert lines(path) == [{"iteration": 4, "loss": 2.0}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it is closed full
def test_a_full_disk_is_told_with_the_name_of_the_file() -> None:
    writer = JSONWriter("/dev/full")
    with EventStorage(0) as storage, pytest.raises(OSError, match=r"No space left.*/dev/full"):
        storage.put_scalar("loss", 1.0)
        writer.write()


def test_numbers_that_are_not_finite_are_null_in_json(tmp_path: Path) -> None:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not JSON")

    path = tmp_path / "metrics.json"
    with EventStorage(3) as storage:
        storage.put_scalars(a=math.nan, b=math.inf, c=-math.inf, d=0.5)
        writer = JSONWriter(str(path))
        writer.write()
        writer.close()
    read = json.loads(path.read_text(), parse_constant=refuse)
    assert read == {"iteration": 3, "a": None, "b": None, "c": None, "d": 0.5}


def test_people_read_time_left_losses_times_and_rate(caplog: pytest.LogCaptureFixture) -> None:
    with EventStorage() as storage, caplog.at_level(logging.INFO, "detectron2.utils.events"):
        for seconds in (1.0, 3.0, 2.0):
            storage.put_scalars(total_loss=seconds / 3, time=seconds, accuracy=0.5)
            storage.step()
        storage.put_scalar("lr", 0.0125, smoothing_hint=False)
        CommonMetricPrinter(10).write()
        CommonMetricPrinter().write()
        storage.iter = 10
        CommonMetricPrinter(10).write()
    text = "iter: 3  total_loss: 0.6667  time: 2.0000  last_time: 2.0000  lr: 0.0125"
    with_time_left, without = (message.split("  max_mem")[0] for message in caplog.messages)
    assert with_time_left == f"eta: 0:00:12  {text}"
    assert without == text
    assert storage.latest()["eta_seconds"] == (12.0, 3)


def test_without_a_timer_the_time_left_comes_from_the_writes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([100.0, 120.0])
    monkeypatch.setattr(writers.time, "perf_counter", lambda: next(now))
    printer = CommonMetricPrinter(31)
    with EventStorage() as storage, caplog.at_level(logging.INFO, "detectron2.utils.events"):
        printer.write()
        storage.iter = 10
        printer.write()
    assert caplog.messages[0].startswith("iter: 0")
    assert caplog.messages[1].startswith("eta: 0:00:40  iter: 10")


def test_a_writer_defines_how_it_writes() -> None:
    with pytest.raises(NotImplementedError, match="EventWriter must define write"):
        EventWriter().write()


def test_tensorboard_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs the package tensorboard: pip install"):
        TensorboardXWriter(str(tmp_path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_can_be_asked_for_its_writer_before_a_training(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    writer = TensorboardXWriter(str(tmp_path))
    assert hasattr(writer._writer, "add_scalar")  # as detectron2's own tests do
    writer.close()


def test_tensorboard_gets_scalars_pictures_and_histograms(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer = TensorboardXWriter(str(tmp_path))
    writer.close()
    assert list(tmp_path.iterdir()) == []
    with EventStorage(7) as storage:
        storage.put_scalar("loss", 2.5)
        storage.put_image("input", torch.zeros(3, 2, 4))
        storage.put_histogram("weights", torch.arange(5.0), bins=5)
        writer.write()
        writer.close()
        assert storage.images() == storage.histograms() == []
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(7, 2.5)]
    assert (events.Images("input")[0].width, events.Images("input")[0].height) == (4, 2)
    assert events.Histograms("weights")[0].histogram_value.num == 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_resumed_training_has_each_step_once_in_tensorboard(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for run, (start, end) in enumerate([(0, 5), (3, 6)]):
        writer = TensorboardXWriter(str(tmp_path))
        with EventStorage(start) as storage:
            for iteration in range(start, end):
                storage.put_scalar("loss", 10.0 * run + iteration, smoothing_hint=False)
                writer.write()
                if iteration == 4:
                    writer.close()  # opens another file, and forgets nothing of this run
                storage.step()
        writer.close()
    # Names begin with the second they were made in, and end with a number that counts them.
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / f"events.out.tfevents.{int(path.suffix[1:]):06d}")
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    found = [(one.step, one.value) for one in events.Scalars("loss")]
    assert found == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 13.0), (4, 14.0), (5, 15.0)]


def test_scalars_marked_as_metrics_are_printed(caplog: pytest.LogCaptureFixture) -> None:
    with EventStorage() as storage, caplog.at_level(logging.INFO, "detectron2.utils.events"):
        storage.put_scalar("[metric]spread", 1.5)
        storage.put_scalar("other", 9.0)
        CommonMetricPrinter().write()
    assert "[metric]spread: 1.5" in caplog.messages[0]
    assert "other" not in caplog.messages[0]
