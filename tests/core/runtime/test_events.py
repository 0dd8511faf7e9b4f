"""The event stack."""

import pytest
import torch

from d2seg.core.runtime.events import EventStorage, get_event_storage, has_event_storage


def test_the_innermost_storage_is_active() -> None:
    assert not has_event_storage()
    with EventStorage() as outer:
        with EventStorage() as inner:
            assert get_event_storage() is inner
        assert get_event_storage() is outer
    assert not has_event_storage()


def test_the_stack_unwinds_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), EventStorage():
        _ = 1 / 0
    assert not has_event_storage()


def test_asking_without_a_storage_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="with EventStorage"):
        get_event_storage()


def test_scalars_keep_value_and_iteration() -> None:
    storage = EventStorage(start_iter=5)
    storage.put_scalar("loss", torch.tensor([2.0]))
    storage.step()
    storage.put_scalars(loss=4.0, rpn=1.0)
    storage.put_scalar("late", 7.0, cur_iter=3)
    assert storage.iter == 6
    assert storage.latest() == {"loss": (4.0, 6), "rpn": (1.0, 6), "late": (7.0, 3)}
    assert storage.history("loss").values() == [(2.0, 5), (4.0, 6)]
    assert set(storage.histories()) == {"loss", "rpn", "late"}


def test_only_noisy_scalars_are_smoothed() -> None:
    storage = EventStorage()
    for value in (1.0, 2.0, 9.0):
        storage.put_scalar("loss", value)
        storage.put_scalar("lr", value, smoothing_hint=False)
        storage.step()
    assert storage.latest_with_smoothing_hint() == {"loss": (2.0, 2), "lr": (9.0, 2)}


def test_the_median_is_over_iterations_not_over_values() -> None:
    storage = EventStorage()
    for iteration, value in [(0, 100.0), (50, 200.0), (99, 3.0)]:
        storage.put_scalar("rare", value, cur_iter=iteration)
    storage.iter = 100
    assert storage.count_samples("rare", 20) == 1
    assert storage.latest_with_smoothing_hint(20) == {"rare": (3.0, 99)}


def test_one_name_has_one_smoothing_hint() -> None:
    storage = EventStorage()
    storage.put_scalar("lr", 1.0, smoothing_hint=False)
    with pytest.raises(ValueError, match="'lr' was recorded with smoothing_hint=False"):
        storage.put_scalar("lr", 1.0)


def test_an_unknown_history_lists_the_known_names() -> None:
    storage = EventStorage()
    storage.put_scalar("loss", 1.0)
    with pytest.raises(KeyError, match=r"'los'.*loss"):
        storage.history("los")


def test_a_name_scope_prefixes_and_ends() -> None:
    storage = EventStorage()
    with storage.name_scope("val/"):
        storage.put_scalar("loss", 1.0)
    storage.put_scalar("loss", 2.0)
    assert {name: value for name, (value, _) in storage.latest().items()} == {
        "val/loss": 1.0,
        "loss": 2.0,
    }


def test_images_are_kept_until_cleared() -> None:
    storage = EventStorage(start_iter=2)
    picture = torch.zeros(3, 2, 4)
    storage.put_image("input", picture)
    assert storage.images() == [("input", picture, 2)]
    storage.clear_images()
    assert storage.images() == []
