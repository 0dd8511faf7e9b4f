"""Properties that the matching of names has for any names."""

import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2seg.core.checkpoint.c2_model_loading import align_and_update_state_dicts
from d2seg.core.checkpoint.formats.renamed import LEAVES, rename_back, rename_by_stem
from d2seg.core.checkpoint.formats.torchvision_detection import layer_names
from d2seg.core.checkpoint.formats.torchvision_resnet import (
    rename_torchvision_resnet,
    to_torchvision_resnet,
)

PARTS = st.sampled_from(["conv1", "conv", "my_conv1", "res2", "0", "1", "norm", "weight", "bias"])
NAMES = st.lists(PARTS, min_size=1, max_size=5).map(".".join)
LAYERS = layer_names({})
SUBSETS = st.sets(st.tuples(st.sampled_from(sorted(LAYERS)), st.sampled_from(LEAVES)), max_size=30)


def numbered(names: set[str]) -> dict[str, Tensor]:
    return {name: torch.tensor([float(index)]) for index, name in enumerate(sorted(names))}


@settings(deadline=None, max_examples=200)
@given(SUBSETS)
def test_any_part_of_a_detector_goes_there_and_back(chosen: set[tuple[str, str]]) -> None:
    weights = numbered({f"{layer}.{leaf}" for layer, leaf in chosen})
    renamed = rename_by_stem(weights, LAYERS, {})
    assert renamed.unknown == () and len(renamed.model) == len(weights)
    back, _ = rename_back(renamed.model, LAYERS)
    assert back == weights  # the very tensors


def test_no_two_layers_get_one_name() -> None:
    assert len(set(LAYERS.values())) == len(LAYERS)


@settings(deadline=None, max_examples=200)
@given(st.sets(NAMES, max_size=20))
def test_every_name_is_renamed_or_reported(names: set[str]) -> None:
    weights = numbered(names)
    renamed = rename_torchvision_resnet(weights)
    assert sorted([*renamed.origins.values(), *renamed.unknown]) == sorted(weights)
    back, _ = to_torchvision_resnet(renamed.model)
    assert all(back[name] is weights[name] for name in renamed.origins.values())


@settings(deadline=None, max_examples=300)
@given(st.sets(NAMES, min_size=1, max_size=12), st.sets(NAMES, min_size=1, max_size=12))
def test_matches_are_the_longest_suffixes_at_dots(ours: set[str], theirs: set[str]) -> None:
    model, checkpoint = numbered(ours), numbered(theirs)
    try:
        matched = align_and_update_state_dicts(model, checkpoint, c2_conversion=False)
    except ValueError as error:
        assert "is ambiguous" in str(error)
        return
    for name in ours:
        suffixes = [one for one in theirs if name == one or name.endswith(f".{one}")]
        if suffixes:
            assert matched[name] is checkpoint[max(suffixes, key=len)]
    found = {id(tensor) for tensor in matched.values()}
    assert found == {id(tensor) for tensor in checkpoint.values()}  # nothing is lost


@settings(deadline=None, max_examples=300)
@given(st.sets(NAMES, min_size=1, max_size=12), st.sets(NAMES, min_size=1, max_size=12))
def test_an_error_names_two_places_of_one_tensor(ours: set[str], theirs: set[str]) -> None:
    places: dict[str, list[str]] = {}
    for name in ours:
        suffixes = [one for one in theirs if name == one or name.endswith(f".{one}")]
        if suffixes:
            places.setdefault(max(suffixes, key=len), []).append(name)
    crowded = {name: found for name, found in places.items() if len(found) > 1}
    if not crowded:
        align_and_update_state_dicts(numbered(ours), numbered(theirs), c2_conversion=False)
        return
    with pytest.raises(ValueError, match="is ambiguous: it matches both") as caught:
        align_and_update_state_dicts(numbered(ours), numbered(theirs), c2_conversion=False)
    theirs_named, *ours_named = re.findall("'([^']+)'", str(caught.value))
    assert len(ours_named) == 2 and set(ours_named) <= set(crowded[theirs_named])


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(NAMES, st.integers(1, 3), min_size=1, max_size=12), st.data())
def test_another_shape_is_skipped_with_a_warning(
    caplog: pytest.LogCaptureFixture, sizes: dict[str, int], data: st.DataObject
) -> None:
    model = {name: torch.zeros(size) for name, size in sizes.items()}
    checkpoint = {
        name: torch.ones(data.draw(st.sampled_from([size, size + 1])))
        for name, size in sizes.items()
    }
    differ = {name for name in model if model[name].shape != checkpoint[name].shape}
    caplog.clear()
    matched = align_and_update_state_dicts(model, checkpoint, c2_conversion=False)
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert {str(record.args[0]) for record in warned if record.args} == differ  # type: ignore[index]
    assert all(matched[name] is checkpoint[name] for name in model)  # under its own name


@settings(deadline=None, max_examples=50)
@given(st.sets(NAMES, min_size=1, max_size=12))
def test_equal_names_match_themselves(names: set[str]) -> None:
    weights = numbered(names)
    try:
        matched = align_and_update_state_dicts(weights, weights, c2_conversion=False)
    except ValueError:  # a.conv and conv: the longer one's suffix is there, too, but longest wins
        raise AssertionError("a name is its own longest suffix") from None
    assert matched == weights
