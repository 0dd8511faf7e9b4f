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


def test_samples_are_counted_up_to_the_last_one() -> None:
    storage = EventStorage()
    for iteration in range(20):
        storage.put_scalar("each", iteration)
        if iteration % 2:
            storage.put_scalar("second", iteration)
        if iteration % 5 == 4:
            storage.put_scalar("fifth", iteration)
        storage.step()
    assert [storage.count_samples(name, 10) for name in ("each", "second", "fifth")] == [10, 5, 2]
    smoothed = {name: value for name, (value, _) in storage.latest_with_smoothing_hint(10).items()}
    assert smoothed == {"each": 14.5, "second": 15.0, "fifth": 16.5}


def test_a_loss_with_gradients_is_recorded_without_them() -> None:
    storage = EventStorage()
    storage.put_scalar("loss", torch.ones(1, requires_grad=True) * 3)
    assert storage.latest() == {"loss": (3.0, 0)}


def test_histograms_count_values_in_equal_intervals() -> None:
    storage = EventStorage(start_iter=4)
    storage.put_histogram("weights", torch.tensor([[0.0, 1.0], [1.5, 4.0]]), bins=4)
    (histogram,) = storage.histograms()
    assert histogram == {
        "tag": "weights",
        "min": 0.0,
        "max": 4.0,
        "num": 4,
        "sum": 6.5,
        "sum_squares": 19.25,
        "bucket_limits": [1.0, 2.0, 3.0, 4.0],
        "bucket_counts": [1.0, 2.0, 0.0, 1.0],
        "global_step": 4,
    }
    storage.clear_histograms()
    assert storage.histograms() == []
    with pytest.raises(ValueError, match="'weights' needs a tensor with values"):
        storage.put_histogram("weights", torch.zeros(0))
