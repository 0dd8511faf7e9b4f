"""Where log lines go."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from d2seg.core.runtime.logger import OWN_NAMES, setup_logger

NAME = "logger_test"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    for name in (NAME, *OWN_NAMES):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def test_lines_go_to_the_terminal_and_to_the_file_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        logger = setup_logger(tmp_path / "out", name=NAME)
    logging.getLogger(f"{NAME}.part").info("hello")
    assert len(logger.handlers) == 2
    assert capsys.readouterr().out.count("hello") == 1
    written = (tmp_path / "out/log.txt").read_text()
    assert written.count(f"{NAME}.part]: INFO hello") == 1


def test_other_processes_write_only_their_own_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logger(tmp_path / "run.log", 2, name=NAME).info("hello")
    assert capsys.readouterr().out == ""
    assert "hello" in (tmp_path / "run.log.rank2").read_text()


def test_programs_written_for_detectron2_are_heard_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert setup_logger() is logging.getLogger("d2seg")
    assert setup_logger(name="detectron2") is logging.getLogger("detectron2")
    logging.getLogger("detectron2.trainer").info("theirs")
    logging.getLogger("d2seg.core.engine").info("ours")
    out = capsys.readouterr().out
    assert out.count("detectron2.trainer]: INFO theirs") == 1
    assert out.count("d2seg.core.engine]: INFO ours") == 1


def test_names_can_be_short_and_the_terminal_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logger(tmp_path, name=NAME, abbrev_name="lt", configure_stdout=False)
    record = logging.getLogger(f"{NAME}.part")
    record.warning("hello")
    assert capsys.readouterr().out == ""
    assert "lt.part]: WARNING hello" in (tmp_path / "log.txt").read_text()
    assert record.name == f"{NAME}.part"


def test_a_terminal_gets_colours_unless_they_are_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    setup_logger(name=NAME).warning("hello")
    setup_logger(name=f"{NAME}.plain", color=False).warning("hello")
    colored, plain = capsys.readouterr().out.splitlines()
    assert "\x1b[31mWARNING\x1b[0m hello" in colored
    assert "\x1b" not in plain
    for handler in list(logging.getLogger(f"{NAME}.plain").handlers):
        logging.getLogger(f"{NAME}.plain").removeHandler(handler)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    logger = setup_logger(tmp_path, name=NAME)
    logger.info("first")
    logger.info("second")
    captured = capsys.readouterr()
    assert captured.err == f"'{tmp_path / 'log.txt'}' cannot be written: No space left on device.\n"
    assert "second" in captured.out
    for handler in logger.handlers:
        with suppress(OSError):
            handler.close()


def test_a_terminal_that_nobody_reads_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with suppress(BrokenPipeError), open(writing, "w", buffering=1) as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        setup_logger(tmp_path, name=NAME).info("still written")
        monkeypatch.undo()
    assert capsys.readouterr().err == ""
    assert "still written" in (tmp_path / "log.txt").read_text()
