import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torchvision

from d2seg import __version__, cli
from d2seg.cli import describe_error, doctor
from d2seg.cli.arguments import move_overrides, output_file, output_folder
from tests.conftest import ROOT, RunPython

IMAGES = ROOT / "d2seg" / "assets" / "images"
DOCTOR = ("-c", "import sys; from d2seg.cli import main; sys.exit(main(['doctor']))")


def replace_command(
    monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException | None = None
) -> None:
    """Put a command in place of ``name`` that takes ``--count`` and returns it, or fails."""
    module = ModuleType(name)

    def run(args: argparse.Namespace) -> int:
        if error is not None:
            raise error
        return int(args.count)

    module.run = run  # type: ignore[attr-defined]
    module.add_arguments = lambda p: p.add_argument(  # type: ignore[attr-defined]
        "--count", type=int, default=0
    )
    monkeypatch.setitem(sys.modules, f"d2seg.cli.{name}", module)


def test_the_command_gets_its_arguments_and_gives_the_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_command(monkeypatch, "export")
    assert cli.main(["export", "--count", "3"]) == 3
    monkeypatch.setattr(sys, "argv", ["d2seg", "export", "--count=4"])
    assert cli.main() == 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["exprot"], "invalid choice: 'exprot' (choose from"),
        (["doctor", "--colour"], "unrecognized arguments: --colour"),
        (["doctor", "MODEL.DEVICE", "cpu"], "unrecognized arguments: MODEL.DEVICE cpu"),
        (
            ["train", "--config-file", "a", "SEED", "1", "--resume", "MODEL.DEVICE", "cpu"],
            "overrides go together, at the end: move SEED and what follows it to MODEL.DEVICE",
        ),
    ],
)
def test_wrong_usage_is_code_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"d2seg {__version__}\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_ends_quietly(unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "d2seg", "zoo", "list"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in cli.COMMANDS)])
def test_help_imports_no_torch(run_python: RunPython, arguments: list[str]) -> None:
    code = (
        "import sys; from d2seg.cli import main\n"
        f"try: main({arguments})\n"
        "except SystemExit as stop: print('code', stop.code, 'torch' in sys.modules)"
    )
    done = run_python("-c", code)
    assert done.stdout.startswith("usage: d2seg"), done.stderr
    assert done.stdout.endswith("code 0 False\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("Two\nlines."), "Two lines."),
        (KeyError("MODEL.WEIGTHS is no key"), "MODEL.WEIGTHS is no key"),
        (FileNotFoundError(2, "No such file or directory", "a.yaml"), "a.yaml: No such file or"),
        (FileNotFoundError("a.yaml is missing."), "a.yaml is missing."),
        (TypeError(), "TypeError"),
    ],
)
def test_user_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    line: str,
) -> None:
    replace_command(monkeypatch, "export", error)
    assert cli.main(["export"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"d2seg: error: {line}")
    assert printed.count("\n") == 1


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_command(monkeypatch, "export", ValueError("seen"))
    monkeypatch.setenv("D2SEG_DEBUG", "1")
    with pytest.raises(ValueError, match="seen"):
        cli.main(["export"])


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_command(monkeypatch, "export", AssertionError("a defect"))
    with pytest.raises(AssertionError, match="a defect"):
        cli.main(["export"])


def test_an_interrupt_is_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_command(monkeypatch, "export", KeyboardInterrupt())
    assert cli.main(["export"]) == 130
    assert capsys.readouterr().err == "d2seg: interrupted\n"


TERMINATED = """
import sys, time, types
from pathlib import Path
from d2seg import cli
from d2seg.core.runtime.files import replace_when_complete

def run(args):
    with replace_when_complete(sys.argv[1]) as temporary:
        temporary.write_text("half of it")
        print("begin", flush=True)
        time.sleep(60)

sys.modules["d2seg.cli.export"] = types.SimpleNamespace(add_arguments=lambda parser: None, run=run)
sys.exit(cli.main(["export"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="the system has no such signals")
@pytest.mark.parametrize(
    ("number", "line"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")]
)
def test_a_signal_ends_a_command_in_one_line_and_leaves_nothing(
    number: signal.Signals, line: str, tmp_path: Path
) -> None:
    target = tmp_path / "made" / "model.ptl"
    started = subprocess.Popen(
        [sys.executable, "-c", TERMINATED, str(target)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "begin\n"
    assert list(target.parent.iterdir())
    started.send_signal(number)
    assert started.communicate(timeout=60) == ("", f"d2seg: {line}\n")
    assert started.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_answers_sigterm_itself_goes_on_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(number: int, frame: object) -> None:
        raise ValueError("the answer of the program")

    module = ModuleType("d2seg.cli.export")
    module.add_arguments = lambda parser: None  # type: ignore[attr-defined]
    module.run = lambda args: signal.raise_signal(signal.SIGTERM)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert cli.main(["export"]) == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    before = signal.signal(signal.SIGTERM, answer)
    try:
        assert cli.main(["export"]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "the answer of the program" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tool", "command"),
    [
        ("extract_features.py", "features"),
        ("export_model.py", "export"),
        ("benchmark.py", "benchmark"),
    ],
)
def test_tools_find_the_package_beside_them(run_python: RunPython, tool: str, command: str) -> None:
    # -I ignores PYTHONPATH and the working directory.
    done = run_python("-I", str(ROOT / "tools" / tool), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: d2seg {command}")


@pytest.mark.parametrize(
    ("config", "opts", "complaint"),
    [
        ("nowhere.yaml", [], "Config 'nowhere.yaml' is neither a file nor a published config."),
        ("nuclei", ["MODEL.WEIGTHS", "x.pth"], "MODEL.WEIGHTS"),
        ("nuclei", ["MODEL.WEIGHTS", "x.pth"], "x.pth"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [["features", "--input", str(IMAGES), "--stages", "backbone"], ["export", "--format", "ptl"]],
    ids=["features", "export"],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: list[str],
    config: str,
    opts: list[str],
    complaint: str,
) -> None:
    config_file = str(ROOT / "d2seg/assets/nuclei.yaml") if config == "nuclei" else config
    output = tmp_path / "output"
    code = cli.main([*command, "--config-file", config_file, "--output", str(output), *opts])
    printed = capsys.readouterr().err
    assert code == 1
    assert printed.startswith("d2seg: error: ")
    assert complaint in printed
    assert printed.count("\n") == 1
    assert not output.exists()


def test_doctor_finds_this_installation_usable(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for expected in ("torchvision: ", "its operators work", "framework: ", "XNNPACK", "GPU: "):
        assert expected in printed
    assert "PROBLEM" not in printed


def test_doctor_draws_a_table_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    doctor._print_report([doctor.Finding("torch", "9.9"), doctor.Finding("GPU", "gone", False)])
    printed = capsys.readouterr().out
    assert "│" in printed
    assert "problem" in printed


def test_doctor_reports_a_torchvision_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision.ops, "nms", fail)
    assert cli.main(["doctor"]) == 1
    assert "torchvision: operator torchvision::nms does not exist  [PROBLEM]" in (
        capsys.readouterr().out
    )


def test_doctor_reports_an_old_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.__version__", "2.3.1+cpu")
    finding = next(finding for finding in doctor.examine() if finding.subject == "torch")
    assert finding == ("torch", "2.3.1+cpu is too old; d2seg needs 2.4 or newer.", False)


def test_doctor_reports_a_wrong_choice_of_framework(run_python: RunPython) -> None:
    done = run_python(*DOCTOR, D2SEG_FRAMEWORK="d3")
    assert done.returncode == 1
    assert "framework: D2SEG_FRAMEWORK is 'd3'; use one of auto, core, detectron2." in done.stdout


def test_doctor_reads_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = [
        "torch>=2.4",
        'numpy; extra == "dev"',
        'surely-not-installed>=1; extra == "dev"',
        'pillow; extra == "viz"',
    ]
    monkeypatch.setattr(doctor, "requires", lambda name: requirements)
    extras = {f.subject: f.detail for f in doctor.examine() if f.subject.startswith("extra")}
    assert extras == {
        "extra 'dev'": "not installed: surely-not-installed",
        "extra 'viz'": "installed",
    }


@pytest.mark.parametrize("option", ["--input", "--stages"])
def test_overrides_may_follow_a_list_option_directly(option: str) -> None:
    parsed = argparse.Namespace(input=["photos"], stages=["backbone"], opts=["A.B", "1"])
    name = option.removeprefix("--")
    setattr(parsed, name, [*getattr(parsed, name), "MODEL.WEIGHTS", "model.pth"])
    move_overrides(parsed)
    assert parsed.opts == ["MODEL.WEIGHTS", "model.pth", "A.B", "1"]
    assert (parsed.input, parsed.stages) == (["photos"], ["backbone"])


def test_a_file_that_is_named_like_a_key_stays_an_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MODEL.PNG").touch()
    parsed = argparse.Namespace(input=["photos", "MODEL.PNG"], opts=[])
    move_overrides(parsed)
    assert parsed.input == ["photos", "MODEL.PNG"]


def test_an_output_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(FileExistsError) as caught:
        (tmp_path / "taken").mkdir()
    assert "taken' is a file, but a folder is needed" in describe_error(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "check-data --json none.json --images none",
        "evaluate --json none.json --images none",
        "predict --input none",
        "report --json none.json --detections none.json --images none",
        "export --config-file none.yaml",
        "features --config-file none.yaml --input none --stages p2",
    ],
)
def test_outputs_are_checked_before_inputs(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    for output in ("taken", "taken/below"):
        assert cli.main([*command.split(), "--output", str(tmp_path / output)]) == 1
        captured = capsys.readouterr()
        assert captured.err == (
            f"d2seg: error: '{tmp_path / 'taken'}' is a file, but a folder is needed there; name "
            "another.\n"
        )
        assert not captured.out


def test_a_file_to_write_is_checked_before_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", "none.pth", "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"d2seg: error: {tmp_path}: is a folder; name a file.\n"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="nothing is unwritable to root")
@pytest.mark.parametrize("parse", [output_folder, output_file])
def test_a_place_that_takes_no_files(parse: Callable[[str], Path]) -> None:
    with pytest.raises(OSError) as caught:
        parse("/proc/x/y")
    assert "nothing can be written there (" in describe_error(caught.value)


def test_an_output_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    assert output_folder(str(tmp_path / "a/b")) == tmp_path / "a/b"
    assert output_file(str(tmp_path / "a/b.json")) == tmp_path / "a/b.json"
    assert not list(tmp_path.iterdir())
