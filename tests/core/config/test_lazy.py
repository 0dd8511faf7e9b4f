"""Configs written in Python, and descriptions of calls."""

import pickle
from itertools import count
from pathlib import Path

import pytest

from d2seg.core.config import LazyCall, LazyConfig, instantiate
from d2seg.core.layers import ShapeSpec
from d2seg.core.utils.testing import reload_lazy_config

pytest.importorskip("omegaconf", reason="configs written in Python need omegaconf")


class Adder:
    """Keeps its arguments and adds when it is called."""

    def __init__(self, amount: int, items: object = None, other: object = None) -> None:
        self.amount, self.items, self.other = amount, items, other

    def __call__(self, value: int) -> int:
        return value + self.amount


def test_descriptions_are_calls_with_arguments_that_may_refer_to_each_other() -> None:
    cfg = LazyCall(Adder)(
        amount=3, items=[10], other=LazyCall(Adder)(amount="${..amount}", items="${..items}")
    )
    made = instantiate(cfg)
    assert isinstance(made.other, Adder)
    assert (made.amount, made.other.amount, made.other.items) == (3, 3, [10])
    cfg.amount = 4
    assert instantiate(cfg).other.amount == 4


def test_anything_else_is_returned_as_it_is() -> None:
    adder, plain = Adder(1), {"x": "y"}
    assert instantiate(5) == 5
    assert instantiate([3, 4]) == [3, 4]
    assert instantiate(adder) is adder
    assert instantiate(plain) is plain


def test_lists_names_and_described_targets_work() -> None:
    (first, second) = instantiate(LazyCall(Adder)(amount=[1, LazyCall(Adder)(amount=2)])).amount
    assert (first, second.amount) == (1, 2)
    assert instantiate({"_target_": "itertools.count", "start": 5, "step": 2}).__next__() == 5
    assert instantiate(LazyCall(LazyCall(Adder)(amount=3))(value=4)) == 7


def test_dataclasses_stay_dataclasses_through_a_file() -> None:
    for described in (
        LazyCall(ShapeSpec)(channels=1, width=3),
        LazyCall(dict)(shape=ShapeSpec(channels=1, width=3)),
    ):
        for cfg in (described, reload_lazy_config(described)):
            made = instantiate(cfg)
            shape = made if isinstance(made, ShapeSpec) else made["shape"]
            assert shape == ShapeSpec(channels=1, width=3)


def test_what_cannot_be_called_is_named() -> None:
    with pytest.raises(TypeError, match="LazyCall needs something to call, or its name; found 3"):
        LazyCall(3)
    with pytest.raises(ImportError, match="no object 'itertools.counts'"):
        instantiate({"_target_": "itertools.counts"})
    with pytest.raises(TypeError, match="_target_ must be something to call; found 3"):
        instantiate({"_target_": 3})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A config that imports another one twice, and changes it in between."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "base.py").write_text("word = 'base'\nvalues = {'a': 1, 'b': 2}\n")
    (tmp_path / "inner" / "second.py").write_text(
        "from .base import values, word\nword = word + ' again'\n"
    )
    path = tmp_path / "root.py"
    path.write_text(
        "from itertools import count\n"
        "from d2seg.core.config import LazyCall as L\n"
        "from .inner.base import values, word\n"
        "values.a = 'modified'\n"
        "from .inner.second import values as others, word as more\n"
        "counter = L(count)(start=word, step=more)\n"
    )
    return path


def test_imports_between_configs_are_fresh_each_time(root: Path) -> None:
    cfg = LazyConfig.load(str(root))
    assert set(cfg) == {"values", "others", "counter"}
    assert (cfg["values"].a, cfg.others.a) == ("modified", 1)
    assert (cfg.counter.start, cfg.counter.step) == ("base", "base again")
    cfg.counter.start = "new"
    assert LazyConfig.load(str(root)).counter.start == "base"
    assert LazyConfig.load(str(root), "counter")._target_ is count
    assert LazyConfig.load_rel(str(root), ("values", "others"))[1].b == 2


def test_a_saved_config_names_its_targets(root: Path, tmp_path: Path) -> None:
    cfg = LazyConfig.load(str(root))
    path = tmp_path / "saved.yaml"
    LazyConfig.save(cfg, str(path))
    again = LazyConfig.load(str(path))
    assert again.counter.pop("_target_") == "itertools.count"
    cfg.counter.pop("_target_")
    assert cfg == again
    with pytest.raises(ValueError, match="neither a .py nor a .yaml file"):
        LazyConfig.load("config.json")


def test_overrides_are_yaml_and_must_lead_somewhere(root: Path) -> None:
    cfg = LazyConfig.load(str(root))
    LazyConfig.apply_overrides(cfg, ["counter.start=123", 'others.a="123"', "new.deep=[1, 2]"])
    assert (cfg.counter.start, cfg.others.a, cfg.new.deep[1]) == (123, "123", 2)
    with pytest.raises(KeyError, match="Cannot set 'counter.step.x': 'counter.step' is 'base"):
        LazyConfig.apply_overrides(cfg, ["counter.step.x=1"])
    with pytest.raises(ValueError, match="'counter' is not of the form key=value"):
        LazyConfig.apply_overrides(cfg, ["counter"])


def test_a_config_can_be_read_as_python(root: Path) -> None:
    text = LazyConfig.to_py(LazyConfig.load(str(root)))
    assert text.replace('"', "'").splitlines()[:2] == [
        "cfg.values.a = 'modified'",
        "cfg.values.b = 2",
    ]
    assert "cfg.counter = itertools.count(start='base', step='base again')" in text.replace(
        '"', "'"
    )


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "root.py").write_text("from .missing import values\n")
    sentence = r"root.py' imports 'missing', but .*missing.py' does not exist"
    with pytest.raises(ImportError, match=sentence):
        LazyConfig.load(str(tmp_path / "root.py"))


def test_a_relative_import_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root.py").write_text("from . import values\n")
    with pytest.raises(ImportError, match=r"relative import of a folder, 'from \. import x'"):
        LazyConfig.load(str(tmp_path / "root.py"))


def test_what_yaml_cannot_hold_is_pickled_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("cloudpickle", reason="lambdas need it")
    cfg = LazyCall(dict)(double=lambda x: 2 * x, path=tmp_path)
    path = tmp_path / "config.yaml"
    LazyConfig.save(cfg, str(path))
    assert "cannot hold <function" in caplog.text
    assert LazyConfig.load(str(path)).path == str(tmp_path)
    again = pickle.loads((tmp_path / "config.yaml.pkl").read_bytes())
    assert again.double(4) == 8
    assert again.path == tmp_path
