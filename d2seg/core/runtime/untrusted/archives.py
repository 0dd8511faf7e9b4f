"""Zip archives that Python's reader and torch's take for the same.

What was checked through the one is what the other loads: they differ in where they look for the
directory of a strange file, and in what they take for the same name.
"""

import os
import struct
import zipfile
from typing import IO

ZIP_START = b"PK\x03\x04"
_ZIP_END, _ZIP_LOCATOR = b"PK\x05\x06", b"PK\x06\x07"
_END_LENGTH = 22
"""Bytes of an archive's last record, when it has no comment."""
_LOCATOR, _LONG_LENGTH = 56, 76
"""Bytes of the record with long numbers that may come before it, and with the one that finds it."""


def require_one_directory(file: IO[bytes]) -> int:
    """Refuse an archive whose directory is not right before its end.

    Returns:
        The length of the file.

    Raises:
        zipfile.BadZipFile: It is such a one, or cut off.
    """
    length = file.seek(0, os.SEEK_END)
    start = max(length - _END_LENGTH - _LONG_LENGTH, 0)
    file.seek(start)
    tail = file.read()
    end, long = tail[-_END_LENGTH:], tail[:_LONG_LENGTH]
    if len(end) < _END_LENGTH or end[:4] != _ZIP_END:
        raise zipfile.BadZipFile("the archive has no end")
    behind = length - _END_LENGTH
    size, offset = struct.unpack("<II", end[12:20])
    if long[_LOCATOR : _LOCATOR + 4] == _ZIP_LOCATOR:  # of more than 4 GB or 65,535 parts
        behind = start
        size, offset, place = (struct.unpack_from("<Q", long, at)[0] for at in (40, 48, 64))
        if place != start:
            raise zipfile.BadZipFile("the archive has two ends")
    if offset + size != behind:
        raise zipfile.BadZipFile("the archive has two directories")
    return length


def require_different_names(archive: zipfile.ZipFile) -> None:
    """Refuse two parts whose names differ in case at most; torch's reader finds either for both.

    Raises:
        zipfile.BadZipFile: There are two.
    """
    names = archive.namelist()
    if len({name.casefold() for name in names}) < len(names):
        raise zipfile.BadZipFile("two parts of the archive have one name")
