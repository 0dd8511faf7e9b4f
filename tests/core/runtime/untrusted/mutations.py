"""Damages files as a fuzzer does."""

import io
import random
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

PIECES = [
    b"cos\nsystem\n(S'touch made'\ntR",
    b"\x8c\x02os\x8c\x06system\x93\x8c\x0atouch made\x85R",
    b"(S'touch made'\nios\nsystem\n",
    b"c__builtin__\neval\n(S'1'\ntR",
    b"\xff\xff\xff\x7f",
    b"\xff" * 8,
    b"\0" * 8,
    b"r\xff\xff\xff\x7f",
    b"\x8e\0\0\0\0\0\x01\0\0",
    b"B\xff\xff\xff\xff",
    b"J\xff\xff\xff\x7f",
    b"\x8a\x06\0\0\0\0\0\x01",
    b"!!python/object/apply:os.system ['touch made']",
    b"&a [*a, *a]",
    b"99999999999999",
    b"(((((((",
    b"[[[[[[[",
    b"}])",
    b"2",
    b"b.",
    b"R",
    b"\x81",
    b"\x82\x77",
]


def _flip(data: bytearray, generator: random.Random) -> None:
    for _ in range(generator.choice([1, 1, 2, 8])):
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)


def _overwrite(data: bytearray, generator: random.Random) -> None:
    piece, start = generator.choice(PIECES), generator.randrange(len(data))
    data[start : start + len(piece)] = piece


def _insert(data: bytearray, generator: random.Random) -> None:
    start = generator.randrange(len(data))
    data[start:start] = generator.choice(PIECES)


def _delete(data: bytearray, generator: random.Random) -> None:
    start = generator.randrange(len(data))
    del data[start : start + generator.choice([1, 2, 8, 100])]


def _repeat(data: bytearray, generator: random.Random) -> None:
    start = generator.randrange(len(data))
    piece = data[start : start + generator.choice([1, 4, 50])]
    data[start:start] = piece * generator.choice([1, 2, 1000])


def _cut(data: bytearray, generator: random.Random) -> None:
    del data[generator.randrange(len(data)) :]


def _move(data: bytearray, generator: random.Random) -> None:
    start, target = generator.randrange(len(data)), generator.randrange(len(data))
    piece = data[start : start + 20]
    data[target : target + len(piece)] = piece


DAMAGES: list[Callable[[bytearray, random.Random], None]] = [
    *(_flip, _overwrite, _insert, _delete, _repeat, _cut, _move)
]


def damage(data: bytes, generator: random.Random) -> bytes:
    """Return the bytes with one to three damages."""
    changed = bytearray(data)
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        if changed:
            generator.choice(DAMAGES)(changed, generator)
    return bytes(changed)


def mutate(path: Path, generator: random.Random) -> bytes:
    """Return the content of a file with damages; half of the archives get them inside.

    Checksums would otherwise find nearly every damage of an archive before its reader does.
    """
    content, parts = _read(path)
    if not parts or generator.random() < 0.5:
        return damage(content, generator)
    chosen = generator.choice([next(iter(parts)), *parts])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, data in parts.items():
            target.writestr(name, damage(data, generator) if name == chosen else data)
    return buffer.getvalue()


@cache
def _read(path: Path) -> tuple[bytes, dict[str, bytes]]:
    """Return the content of a file, and of its parts if it is an archive, the pickle first."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes(), {}
    with zipfile.ZipFile(path) as archive:
        return path.read_bytes(), {name: archive.read(name) for name in archive.namelist()}
