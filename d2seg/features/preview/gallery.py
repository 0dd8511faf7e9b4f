"""Objects and those most like them, as the page shows them."""

from collections.abc import Sequence
from typing import NamedTuple

from d2seg.features.preview.neighbours import Neighbour, choose_queries, nearest_objects
from d2seg.features.preview.objects import KeptObject

QUERIES = 24
NEIGHBOURS = 8


class ObjectFigure(NamedTuple):
    """An object: its crop, its image's name, its class and score in words, and how alike it is.

    ``similarity`` is empty for the object that the others are compared with; ``elsewhere`` says
    whether the image is another than that one's.
    """

    uri: str
    image_name: str
    what: str
    similarity: str = ""
    elsewhere: bool = False


class Row(NamedTuple):
    """An object and those most like it."""

    query: ObjectFigure
    neighbours: list[ObjectFigure]


def gallery(objects: Sequence[KeptObject]) -> list[Row]:
    """Choose objects and show those most like each.

    Args:
        objects: Highest score first.
    """
    queries = choose_queries(objects, QUERIES)
    found = nearest_objects(objects, queries, NEIGHBOURS)
    return [
        _row(objects[query], neighbours) for query, neighbours in zip(queries, found, strict=True)
    ]


def _row(query: KeptObject, neighbours: Sequence[Neighbour]) -> Row:
    return Row(
        ObjectFigure(query.crop_uri, query.image_name, _in_words(query)),
        [
            ObjectFigure(
                item.crop_uri,
                item.image_name,
                _in_words(item),
                f"{similarity:.3f}",
                item.image != query.image,
            )
            for item, similarity in neighbours
        ],
    )


def _in_words(item: KeptObject) -> str:
    score = "" if item.score is None else f"{item.score:.2f}"
    return " ".join(filter(None, (item.class_name, score)))
