"""Packages that only some formats need, imported when they are used."""

import importlib
from typing import Any

INSTALL = 'pip install "d2seg[features]"'


def import_extra(module: str, purpose: str) -> Any:
    """Import a module of the extra ``features``.

    Args:
        module: Such as ``pyarrow.parquet``.
        purpose: Starts the sentence of the error, such as ``Parquet files``.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ModuleNotFoundError(
            f"{purpose} need the package {package}: {INSTALL}.", name=package
        ) from error


def import_zarr() -> Any:
    """Import zarr.

    Raises:
        ModuleNotFoundError: It is not installed, or older than version 3.
    """
    zarr = import_extra("zarr", "Zarr stores")
    if int(zarr.__version__.partition(".")[0]) < 3:
        raise ModuleNotFoundError(
            f"Zarr stores need the package zarr from version 3 on, found {zarr.__version__}: "
            f"{INSTALL}, with Python 3.11 or newer.",
            name="zarr",
        )
    return zarr
