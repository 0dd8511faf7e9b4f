"""How a model computes when it predicts: ``MODEL.INFERENCE``."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch

from d2seg.core.layers.conv import fusing

_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class InferenceOptions(NamedTuple):
    """What changes the speed of prediction.

    Attributes:
        fuse: Compute masks for the predicted class alone; on a CPU, run convolutions with their
            norms, sums and ReLUs in one go and linear layers by oneDNN, and pool regions by
            gathering pixels. The results are the same up to rounding. Training always uses the
            faster operators.
        precision: ``float32``; or ``bfloat16``, ``float16``: convolutions and matrix products
            compute in that, by automatic mixed precision.
        num_threads: Of torch, on a CPU; 0 leaves them as they are.
    """

    fuse: bool = True
    precision: str = "float32"
    num_threads: int = 0

    @classmethod
    def from_config(cls, cfg: Any) -> "InferenceOptions":
        """Read the keys of a config; one without them has the defaults.

        Raises:
            ValueError: A value is not known.
        """
        keys = cfg.MODEL.get("INFERENCE", {})
        options = cls(
            bool(keys.get("FUSE", True)),
            keys.get("PRECISION", "float32"),
            int(keys.get("NUM_THREADS", 0)),
        )
        if options.precision not in _PRECISIONS:
            raise ValueError(
                f"MODEL.INFERENCE.PRECISION is '{options.precision}', but must be one of "
                f"{', '.join(_PRECISIONS)}."
            )
        if options.num_threads < 0:
            raise ValueError(
                f"MODEL.INFERENCE.NUM_THREADS is {options.num_threads}, but must be 0 or more."
            )
        return options

    @contextmanager
    def applied(self, device: torch.device) -> Iterator[None]:
        """Compute in this way inside the block; afterwards all is as before.

        Args:
            device: Where the model is.
        """
        precision = _PRECISIONS[self.precision]
        with ExitStack() as stack:
            if not self.fuse:
                stack.enter_context(fusing(False))
            if precision is not None:
                stack.enter_context(torch.autocast(device.type, precision))
            if self.num_threads:
                stack.callback(torch.set_num_threads, torch.get_num_threads())
                torch.set_num_threads(self.num_threads)
            yield
