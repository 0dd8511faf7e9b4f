"""Callables that other processes can be given."""

import copy
import math
import pickle

import pytest

from d2seg.core.runtime.serialize import PicklableWrapper


def test_a_wrapper_behaves_like_what_it_holds() -> None:
    wrapper = PicklableWrapper(PicklableWrapper(math.hypot))
    assert wrapper(3, 4) == 5.0
    assert wrapper.__name__ == "hypot"
    assert copy.copy(wrapper)(3, 4) == pickle.loads(pickle.dumps(wrapper))(3, 4) == 5.0


def test_closures_are_sent_too() -> None:
    pytest.importorskip("cloudpickle", reason="closures are pickled by cloudpickle")
    offset = 2
    assert pickle.loads(pickle.dumps(PicklableWrapper(lambda x: x + offset)))(3) == 5
