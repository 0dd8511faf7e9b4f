"""The table of Parquet parts: one row per object."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from d2seg.features.store.base import Features
from d2seg.features.store.extras import import_extra
from d2seg.features.store.object_rows import BOXES, CLASSES, SCORES, pixels_per_input_pixel


def import_pyarrow() -> tuple[Any, Any]:
    """Import pyarrow and pyarrow.parquet.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    pa, parquet = (import_extra(name, "Parquet files") for name in ("pyarrow", "pyarrow.parquet"))
    return pa, parquet


def make_table(
    image: str, tensors: Features, vectors: Features, description: Mapping[str, Any]
) -> Any:
    """Make the rows of one image.

    Args:
        image: Its name.
        tensors: Those of ``instances.*`` that there are: boxes, scores, classes of N objects.
        vectors: Column name to (N, D) float16 or float32.
        description: Of the image's features.

    Returns:
        A pyarrow table of N rows: image, object, x1, y1, x2, y2 (pixels of the original image),
        class, class_name, score, annotation_id and annotation_class (of annotated boxes), and a
        list of D numbers for each of ``vectors``.
    """
    pa, _ = import_pyarrow()
    boxes = tensors[BOXES].double() * pixels_per_input_pixel(description)
    number = len(boxes)
    nothing, about = [None] * number, description["image"]
    classes = tensors[CLASSES].tolist() if CLASSES in tensors else nothing
    scores = tensors[SCORES].tolist() if SCORES in tensors else nothing
    columns = {
        "image": pa.array([image] * number, pa.string()),
        "object": pa.array(range(number), pa.int32()),
        **{
            name: pa.array(boxes[:, index].float().numpy())
            for index, name in enumerate(("x1", "y1", "x2", "y2"))
        },
        "class": pa.array(classes, pa.int64()),
        "class_name": pa.array(_class_names(classes, description), pa.string()),
        "score": pa.array(scores, pa.float32()),
        "annotation_id": pa.array(about.get("annotation_ids", nothing), pa.int64()),
        "annotation_class": pa.array(about.get("annotation_classes", nothing), pa.string()),
    }
    fields = [pa.field(name, values.type) for name, values in columns.items()]
    for name, vector in vectors.items():
        values = pa.array(vector.reshape(-1).numpy())
        columns[name] = pa.FixedSizeListArray.from_arrays(values, vector.shape[1])
        meaning = description["tensors"][name].get("meaning", name)
        fields.append(pa.field(name, columns[name].type, metadata={"meaning": meaning}))
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def read_rows(table: Any, names: Sequence[str], description: Mapping[str, Any]) -> Features:
    """Make tensors of the rows of one image again.

    Args:
        table: The rows, as :func:`make_table` makes them.
        names: The tensors to make; ``instances.*`` or columns.
        description: Of the image, with its sizes.

    Returns:
        (N, 4) boxes in pixels of the network input, (N,) scores and classes, (N, D) vectors.
    """
    corners = [_column(table, name) for name in ("x1", "y1", "x2", "y2")]
    boxes = torch.stack(corners, dim=1).double() / pixels_per_input_pixel(description)
    readers = {
        BOXES: boxes.float,
        SCORES: lambda: _column(table, "score"),
        CLASSES: lambda: _column(table, "class"),
    }
    return {name: readers[name]() if name in readers else _vectors(table, name) for name in names}


def _class_names(classes: Sequence[int | None], description: Mapping[str, Any]) -> list[str | None]:
    names = dict(enumerate(description.get("class_names") or ()))
    return [None if index is None else names.get(index) for index in classes]


def _column(table: Any, name: str) -> Tensor:
    return torch.from_numpy(table.column(name).to_numpy().copy())


def _vectors(table: Any, name: str) -> Tensor:
    column = table.column(name)
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return torch.from_numpy(values.copy()).reshape(len(column), column.type.list_size)
