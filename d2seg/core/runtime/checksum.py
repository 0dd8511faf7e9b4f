"""Checksums of files."""

import hashlib
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 2**20


class Checksum(NamedTuple):
    """What the file must have: a hash, or its first digits.

    Attributes:
        algorithm: ``sha256`` or ``md5``.
        digits: Lower-case hexadecimal; how many there are decides how much is compared.
    """

    algorithm: str
    digits: str

    def check(self, path: Path, what: str) -> None:
        """Make sure that a file has it.

        Args:
            path: The file.
            what: Begins the sentence of the error.

        Raises:
            ValueError: It has another one.
        """
        found = hash_of(path, self.algorithm)
        if not found.startswith(self.digits):
            found = found[: len(self.digits)]
            raise ValueError(
                f"{what} has the {self.algorithm} {found}, expected {self.digits}: it was changed, "
                "or is damaged."
            )


def hash_of(path: Path, algorithm: str = "sha256") -> str:
    """Return the hash of a file in hexadecimal."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
