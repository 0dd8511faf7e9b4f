"""Where log lines go."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2seg.core.runtime.logger import setup_logger

NAME = "logger_test"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    logger = logging.getLogger(NAME)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


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
