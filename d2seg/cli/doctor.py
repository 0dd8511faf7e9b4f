"""``d2seg doctor``: what is installed, which framework serves and why, and whether it works."""

import argparse
import platform
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from typing import NamedTuple

from d2seg.cli import describe_error

MINIMUM_TORCH = (2, 4)

PACKAGES = (
    "fvcore",
    "iopath",
    "yacs",
    "pycocotools",
    "numpy",
    "pillow",
    "safetensors",
    "rich",
    "jinja2",
)
"""What d2seg needs beside torch and torchvision, which have checks of their own."""


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        subject: What was looked at.
        detail: What was found, in a few words or one sentence.
        usable: Whether d2seg can work like this.
    """

    subject: str
    detail: str
    usable: bool = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the doctor looks at everything."""


def run(args: argparse.Namespace) -> int:
    """Print the report; return 0 when d2seg can work here, else 1."""
    findings = examine()
    _print_report(findings)
    return 0 if all(finding.usable for finding in findings) else 1


def examine() -> list[Finding]:
    """Look at the installation. A check that fails is a finding, never an exception."""
    checks = {
        "torch": _check_torch,
        "torchvision": _check_torchvision,
        "framework": _check_framework,
        "GPU": _describe_gpu,
        "mobile files": _describe_mobile_support,
    }
    findings = [Finding("python", platform.python_version())]
    findings += [_try(subject, check) for subject, check in checks.items()]
    findings += [_check_package(name) for name in PACKAGES]
    findings += [Finding(f"extra '{name}'", detail) for name, detail in _extras().items()]
    return findings


def _try(subject: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, check())
    # A broken installation fails in many ways, and this command exists to say how.
    except Exception as error:
        return Finding(subject, describe_error(error), usable=False)


def _check_torch() -> str:
    import torch

    release = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if release < MINIMUM_TORCH:
        needed = ".".join(str(part) for part in MINIMUM_TORCH)
        raise ImportError(f"{torch.__version__} is too old; d2seg needs {needed} or newer.")
    return torch.__version__


def _check_torchvision() -> str:
    """Run a compiled operator; a torchvision built for another torch has none."""
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 2.0, 1.0]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.5, 0.6]), 0.5)
    if kept.tolist() != [1]:
        raise ImportError(f"{torchvision.__version__}: nms kept {kept.tolist()}, not [1].")
    return f"{torchvision.__version__}, its operators work"


def _check_framework() -> str:
    from d2seg.framework import FRAMEWORK, REASON

    name = "d2seg.core (embedded)" if FRAMEWORK == "core" else f"detectron2 {version(FRAMEWORK)}"
    return f"{name}: {REASON}"


def _check_package(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, f"not installed; run: pip install {name}", usable=False)


def _describe_gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none that torch can use; the CPU is used"
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _describe_mobile_support() -> str:
    import torch

    xnnpack = torch._C._is_xnnpack_enabled()
    interpreter = hasattr(torch._C, "_load_for_lite_interpreter")
    return (
        f"lite interpreter {'present' if interpreter else 'missing: exports cannot be verified'}, "
        f"XNNPACK {'present' if xnnpack else 'missing: files are written without prepacking'}"
    )


def _extras() -> dict[str, str]:
    """Return for each extra of the installed d2seg which of its packages are missing."""
    try:
        requirements = requires("d2seg") or []
    except PackageNotFoundError:  # a checkout that has not been installed
        return {}
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        package = re.match(r"[\w.-]+", requirement)
        if extra and package:
            absent = [] if _check_package(package[0]).usable else [package[0]]
            missing.setdefault(extra[1], []).extend(absent)
    return {
        name: f"not installed: {', '.join(absent)}" if absent else "installed"
        for name, absent in missing.items()
    }


def _print_report(findings: list[Finding]) -> None:
    """Print a table on a terminal, plain ``subject: detail`` lines elsewhere."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        for finding in findings:
            print(f"{finding.subject}: {finding.detail}{'' if finding.usable else '  [PROBLEM]'}")
        return
    table = Table("", "", "found", show_edge=False)
    for finding in findings:
        mark = "[green]ok[/]" if finding.usable else "[red]problem[/]"
        table.add_row(mark, finding.subject, finding.detail)
    console.print(table)
