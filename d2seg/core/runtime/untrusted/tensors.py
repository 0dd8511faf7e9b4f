"""What names in a file of ``torch.save`` stand for, while it is checked: sizes, not numbers."""

import math
import pickle
from collections import Counter
from typing import Any, NamedTuple

from d2seg.core.runtime.untrusted.arrays import PLAIN_NAMES, make_ordered_dict, named_only
from d2seg.core.runtime.untrusted.parts import Names, OversizedError, Unfinished, amount, as_key

_ITEM_SIZES = {
    "Bool": 1,
    "Byte": 1,
    "Char": 1,
    "Short": 2,
    "Half": 2,
    "BFloat16": 2,
    "Int": 4,
    "Float": 4,
    "Long": 8,
    "Double": 8,
    "ComplexFloat": 8,
    "ComplexDouble": 16,
}
"""Kinds of storages and the bytes of one number."""

_DTYPES = ["bool", "uint8", *(f"int{bits}" for bits in (8, 16, 32, 64)), "bfloat16"]
_DTYPES += [*(f"float{bits}" for bits in (16, 32, 64)), "complex64", "complex128"]


class Storage(NamedTuple):
    """The numbers of one or several tensors, somewhere else in the file.

    Attributes:
        key: Its name.
        num_items: How many numbers it promises.
        item_size: Bytes of each.
    """

    key: str
    num_items: int
    item_size: int


class Storages:
    """The storages that a file refers to, by their keys."""

    def __init__(self) -> None:
        self.found: dict[str, Storage] = {}

    def refer(self, identity: Any) -> Storage:
        """Return the storage of a persistent id: ``("storage", kind, key, location, count)``.

        Raises:
            pickle.UnpicklingError: The id is of another form, or the key stands for two storages.
        """
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise pickle.UnpicklingError("an object outside of the pickle is no storage")
        kind, key, _, count, *view = identity[1:]
        item_size = _ITEM_SIZES.get(kind.name[len("torch.") : -len("Storage")])
        if type(key) is not str or item_size is None:
            raise pickle.UnpicklingError("a storage is of no kind")
        storage = Storage(key, _whole(count), item_size)
        if self.found.setdefault(key, storage) != storage:
            raise OversizedError(f"gives the storage '{key[:40]}' two sizes")
        return _view(storage, *view)


def _view(storage: Storage, metadata: Any = None) -> Storage:
    """Return the part of a storage that files of torch before 1.6 may refer to."""
    if metadata is None:
        return storage
    _, start, count = metadata
    if _whole(start) + _whole(count) > storage.num_items:
        raise OversizedError(f"has a view beyond the end of the storage '{storage.key[:40]}'")
    return storage._replace(num_items=count)


class _Tensor(NamedTuple):
    """Stands for a tensor whose storage is large enough."""

    shape: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
    """Check that a tensor lies in its storage, which torch would enlarge to what it says."""
    if not isinstance(storage, Storage) or not type(shape) is type(stride) is tuple:
        raise pickle.UnpicklingError("a tensor has no storage or no shape")
    sizes, steps = [_whole(size) for size in shape], [_whole(step) for step in stride]
    last = sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    count = math.prod(sizes)
    if count and max(count, _whole(offset) + last + 1) > storage.num_items:
        raise OversizedError(
            f"has a tensor of {amount(count)} numbers in a storage of {storage.num_items:,}"
        )
    return _Tensor(tuple(sizes))


def _rebuild_parameter(data: Any, *_: Any) -> _Tensor:
    if not isinstance(data, _Tensor):
        raise pickle.UnpicklingError("a parameter is no tensor")
    return data


def _size(sizes: Any) -> tuple[int, ...]:
    return tuple(_whole(size) for size in sizes)


def _counter(counts: Any = ()) -> Counter[Any]:
    return Counter({as_key(key): _whole(count) for key, count in dict(counts).items()})


def _device(*text: Any) -> tuple[Any, ...]:
    return text


def _whole(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise pickle.UnpicklingError("a size is no whole number")
    return number


class _Namespace(Unfinished):
    """Arguments of a program; its state is the dict of them."""

    def finish(self, state: Any) -> Any:
        return make_ordered_dict(list(dict(state).items()))


TORCH_NAMES: Names = {
    **PLAIN_NAMES,
    "argparse.Namespace": _Namespace,  # torchvision's training program keeps its arguments
    "collections.Counter": _counter,
    "torch.Size": _size,
    "torch.device": _device,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    **{f"torch.{kind}Storage": named_only for kind in _ITEM_SIZES},
    **{f"torch.{name}": named_only for name in _DTYPES},
}
"""The names in a file of tensors, numbers, texts and containers."""
