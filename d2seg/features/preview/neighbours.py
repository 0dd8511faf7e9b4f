"""Which objects to show in the gallery, and which are the most like them."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from d2seg.features.preview.objects import KeptObject

CHUNK = 256


class Neighbour(NamedTuple):
    """An object and the cosine similarity -1..1 of its features to those of another."""

    item: KeptObject
    similarity: float


def choose_queries(objects: Sequence[KeptObject], number: int) -> list[int]:
    """Choose objects to look up: the classes in turn, of each the best from different images.

    Args:
        objects: Highest score first.
        number: Choose at most as many.

    Returns:
        Indices into ``objects``, each once.
    """
    in_image: Counter[tuple[str, int]] = Counter()
    rounds = []
    for item in objects:
        rounds.append(in_image[item.class_name, item.image])
        in_image[item.class_name, item.image] += 1
    in_class: Counter[str] = Counter()
    turns = {}
    for index in sorted(range(len(objects)), key=rounds.__getitem__):
        turns[index] = in_class[objects[index].class_name]
        in_class[objects[index].class_name] += 1
    return sorted(turns, key=lambda index: (turns[index], index))[:number]


def nearest_objects(
    objects: Sequence[KeptObject], queries: Sequence[int], number: int
) -> list[list[Neighbour]]:
    """Find the objects most like each query, by an exact search.

    Args:
        objects: All that may be found.
        queries: Indices into ``objects``.
        number: How many to find for each query; the query itself is none of them.

    Returns:
        For each query its neighbours, the most similar first.
    """
    if not objects:
        return []
    vectors = torch.stack([item.vector for item in objects])
    indices, similarities = nearest_rows(vectors, torch.tensor(queries, dtype=torch.int64), number)
    return [
        [Neighbour(objects[index], value) for index, value in zip(*found, strict=True)]
        for found in zip(indices.tolist(), similarities.tolist(), strict=True)
    ]


def nearest_rows(vectors: Tensor, queries: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Find the rows with the largest inner product with others, which they are not themselves.

    Args:
        vectors: (N, D) float, of length 1 for the cosine similarity.
        queries: (Q,) int64, indices of rows.
        number: How many to find; there are no more than N - 1.

    Returns:
        Indices (Q, K) and products (Q, K), the largest first; of equal ones the lower index first.
    """
    found = min(number, len(vectors) - 1)
    indices, products = [], []
    for chunk in queries.split(CHUNK):
        scores = vectors[chunk] @ vectors.T
        scores[torch.arange(len(chunk)), chunk] = -torch.inf
        values, order = scores.sort(dim=1, descending=True, stable=True)
        indices.append(order[:, :found])
        products.append(values[:, :found])
    return torch.cat(indices), torch.cat(products)
