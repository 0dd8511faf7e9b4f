from collections.abc import Callable
from typing import Any

import pytest
import torch

Example = tuple[dict[str, torch.Tensor], dict[str, Any]]


@pytest.fixture
def example() -> Callable[..., Example]:
    """Per-object features of an image of 200 x 100 pixels that the network sees at half size."""

    def make(objects: int = 3, seed: int = 0) -> Example:
        made = torch.Generator().manual_seed(seed)
        tensors = {
            "instances.boxes": torch.rand(objects, 4, generator=made) * 50,
            "instances.scores": torch.rand(objects, generator=made),
            "instances.classes": torch.arange(objects) % 2,
            "box_pooler": torch.randn(objects, 8, 7, 7, generator=made),
            "box_head": torch.randn(objects, 16, generator=made),
        }
        description = {
            "image": {"original_size_hw": [100, 200], "network_size_hw": [50, 100]},
            "tensors": {name: {"rows": "objects", "meaning": f"the {name}"} for name in tensors},
            "stages": ["box_pooler", "box_head"],
            "class_names": ["cell", "nucleus"],
        }
        return tensors, description

    return make
