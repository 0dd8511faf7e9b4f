"""What fails in a worker process is told as in this process."""

from collections.abc import Iterator
from typing import Any

import pytest
from torch.utils.data import IterableDataset

from d2seg.core.data import build_detection_test_loader, build_detection_train_loader
from d2seg.core.data.errors import InvalidArgumentError

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

IMAGES = [{"file_name": f"{index}.png", "width": 8, "height": 6} for index in range(4)]
SENTENCE = "There is no image file '2.png'."


def read(image: dict[str, Any]) -> dict[str, Any]:
    """A mapper that finds every file but one."""
    if image["file_name"] != "2.png":
        return image
    try:
        raise FileNotFoundError("an earlier trouble")
    except FileNotFoundError as error:
        raise FileNotFoundError(SENTENCE) from error


def fail_by_key(image: dict[str, Any]) -> None:
    raise KeyError("sem_seg_file_name is needed.")


def fail_by_argument(image: dict[str, Any]) -> None:
    raise InvalidArgumentError("This makes\nno sense.")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_is_not_there_is_one_sentence(workers: int) -> None:
    batches = iter(build_detection_test_loader(IMAGES, mapper=read, num_workers=workers))
    assert [next(batches), next(batches)] == [[IMAGES[0]], [IMAGES[1]]]
    with pytest.raises(FileNotFoundError) as caught:
        next(batches)
    assert str(caught.value) == SENTENCE
    if workers:
        assert "Original Traceback" in str(caught.value.__cause__)


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("workers", [0, 1])
def test_training_tells_it_too(workers: int, grouped: bool) -> None:
    loader = build_detection_train_loader(
        IMAGES, mapper=read, total_batch_size=2, num_workers=workers, aspect_ratio_grouping=grouped
    )
    with pytest.raises(FileNotFoundError) as caught:
        list(loader)
    assert str(caught.value) == SENTENCE


@pytest.mark.parametrize(
    ("mapper", "kind", "message"),
    [
        (fail_by_key, KeyError, "sem_seg_file_name is needed."),
        (fail_by_argument, InvalidArgumentError, "This makes\nno sense."),
    ],
)
def test_other_errors_keep_type_and_message(mapper: Any, kind: type, message: str) -> None:
    loader = build_detection_test_loader(IMAGES, mapper=mapper, num_workers=1)
    with pytest.raises(kind) as caught:
        list(loader)
    assert type(caught.value) is kind
    assert caught.value.args == (message,)


class Stream(IterableDataset):
    """Three numbers, then an error."""

    def __iter__(self) -> Iterator[int]:
        yield from range(3)
        raise ValueError("The stream ended too early.")


def test_a_stream_tells_it_too() -> None:
    batches = iter(build_detection_test_loader(Stream(), mapper=None, num_workers=1))
    assert [next(batches) for _ in range(3)] == [[0], [1], [2]]
    with pytest.raises(ValueError, match="^The stream ended too early.$"):
        next(batches)
