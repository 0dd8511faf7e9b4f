import json
from pathlib import Path

import pytest
import torch

from d2seg.benchmark import limit_threads, machine_facts
from d2seg.benchmark.machine import _cpu_name


def test_facts_state_the_threads_in_use() -> None:
    with limit_threads(2):
        facts = machine_facts()
    assert facts["threads"] == 2
    assert facts["torch"] == torch.__version__
    assert facts["cores"] >= 1
    assert facts["cpu"]
    assert "gpu" not in facts
    assert json.loads(json.dumps(facts)) == facts


def test_threads_are_limited_inside_the_block_only() -> None:
    before = torch.get_num_threads()
    with limit_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with limit_threads(None):
        assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="must be at least 1, got 0"), limit_threads(0):
        pass


def test_the_processor_is_named(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast CPU: 9 GHz\nflags\t: a b\n")
    assert _cpu_name(cpuinfo) == "Fast CPU: 9 GHz"
    cpuinfo.write_text("processor\t: 0\n")  # as on ARM
    assert _cpu_name(cpuinfo)
    assert _cpu_name(tmp_path / "gone") == _cpu_name(cpuinfo)
