"""The catalogs of data sets."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.data.catalog import Metadata
from d2seg.core.runtime.errors import InvalidArgumentError, MetadataConflictError

NAME = "catalog_test_set"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


def test_promised_values_are_read_once_and_do_not_replace_others() -> None:
    calls = []

    def read() -> dict[str, Any]:
        calls.append("read")
        return {"thing_classes": ["a"], "counts": [3]}

    metadata = Metadata(name="x").promise(["thing_classes", "counts"], read)
    assert metadata.as_dict() == {"name": "x"} and metadata.get("colours") is None
    metadata.thing_classes = ["b"]
    copied = copy.deepcopy(metadata)
    assert calls == [] and copied.thing_classes == ["b"]
    assert metadata.counts == metadata.get("counts") == [3]
    assert metadata.thing_classes == ["b"]
    assert calls == ["read"]


def test_a_data_set_is_loaded_only_when_asked_for() -> None:
    calls = []
    DatasetCatalog.register(NAME, lambda: calls.append(1) or [{"image_id": 1}])
    assert NAME in DatasetCatalog and NAME in DatasetCatalog.list()
    assert not calls
    assert DatasetCatalog.get(NAME) == [{"image_id": 1}]
    DatasetCatalog.remove(NAME)
    assert NAME not in DatasetCatalog


def test_an_unknown_name_gets_a_suggestion() -> None:
    DatasetCatalog.register(NAME, list)
    with pytest.raises(KeyError, match=f"no data set 'catalog_test_st'; did you mean '{NAME}'"):
        DatasetCatalog.get("catalog_test_st")
    with pytest.raises(KeyError, match="no data set 'catalog_test_st'"):
        DatasetCatalog.remove("catalog_test_st")


def test_a_name_is_registered_once_and_with_a_function() -> None:
    DatasetCatalog.register(NAME, list)
    with pytest.raises(InvalidArgumentError, match="registered already"):
        DatasetCatalog.register(NAME, list)
    with pytest.raises(TypeError, match="function that loads it; found a list"):
        DatasetCatalog.register("other", [])  # type: ignore[arg-type]


def test_metadata_is_one_object_per_name() -> None:
    metadata = MetadataCatalog.get(NAME).set(thing_classes=["cell"])
    assert MetadataCatalog.get(NAME) is metadata
    assert metadata.thing_classes == ["cell"]
    assert metadata.get("colors", "none") == "none"
    assert metadata.as_dict() == {"name": NAME, "thing_classes": ["cell"]}
    assert NAME in MetadataCatalog.list()
    MetadataCatalog.remove(NAME)
    assert MetadataCatalog.get(NAME) is not metadata


def test_metadata_does_not_change_its_mind() -> None:
    metadata = MetadataCatalog.get(NAME).set(thing_classes=["cell"])
    metadata.set(thing_classes=["cell"])
    sentence = r"'thing_classes' .* cannot become \['nucleus'\]"
    with pytest.raises(MetadataConflictError, match=sentence):
        metadata.thing_classes = ["nucleus"]


def test_unknown_metadata_lists_what_is_known() -> None:
    metadata = MetadataCatalog.get(NAME).set(thing_classes=["cell"])
    with pytest.raises(AttributeError, match=f"'colors' of data set '{NAME}'.*thing_classes"):
        _ = metadata.colors
    with pytest.raises(KeyError, match="no data set 'nothing_like_it'"):
        MetadataCatalog.remove("nothing_like_it")


def test_errors_are_what_either_kind_of_program_catches() -> None:
    assert issubclass(InvalidArgumentError, ValueError)
    assert issubclass(MetadataConflictError, AttributeError)
    for error in (InvalidArgumentError, MetadataConflictError):
        assert issubclass(error, AssertionError)
