from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def counting_calls(model: nn.Module) -> Iterator[Counter[str]]:
    """Count how often each part of the model runs."""
    calls: Counter[str] = Counter()
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
        for name, module in model.named_modules()
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
