"""What single functions of detectron2 gave on the deterministic inputs."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

RECORD = Path(__file__).parents[1] / "data" / "functions.json.gz"


@cache
def recorded_functions() -> dict[str, Any]:
    """Return the record: inputs that cannot be rebuilt, and the outputs of each function."""
    with gzip.open(RECORD) as file:
        return json.load(file)


def unpack_bits(rows: list[str], size: int) -> np.ndarray:
    """Turn recorded masks, packed bits as hex, into (N, size, size) bool."""
    packed = np.stack([np.frombuffer(bytes.fromhex(row), np.uint8) for row in rows])
    return np.unpackbits(packed, axis=1).reshape(-1, size, size).astype(bool)
