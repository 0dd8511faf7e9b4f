"""Writing weights where there is no room for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from d2seg.convert.files import write_checkpoint, write_tensors

resource = pytest.importorskip("resource")


@pytest.fixture
def little_room() -> Iterator[None]:
    """Let no file become larger than 100 kB, which is told as a full disk is."""
    earlier = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, earlier[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, earlier)


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
def test_the_file_is_named_and_nothing_is_left(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"weights{suffix}"
    weights = {"layer.weight": torch.zeros(300, 200)}
    with pytest.raises(OSError, match=rf"File too large: .*new/weights{suffix}'"):
        write_checkpoint(path, weights, {}, is_backbone=False, class_names=[])
    if suffix != ".pkl":
        with pytest.raises(OSError, match=rf"File too large: .*new/weights{suffix}'"):
            write_tensors(path, weights)
    assert not list(tmp_path.iterdir())
