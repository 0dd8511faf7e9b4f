"""Clusters of objects by their features, and how well they agree with what the objects are.

Needs scikit-learn.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

SEED, CHANCE_LABELLINGS = 0, 20


class Agreement(NamedTuple):
    """How well clusters and features agree with the categories of objects.

    With many categories all but the adjusted one are above 0 by chance: see `chance_agreement`.

    Attributes:
        purity: Share of objects whose category is the most frequent one of their cluster.
        mutual_information: Of clusters and categories, normalised: 0 to 1.
        adjusted_mutual_information: The same, adjusted so that chance gives 0.
        silhouette: Of the categories in the space of features, -1 to 1: above 0 where objects are
            nearer to their own category than to any other.
        neighbour: Share of objects whose nearest neighbour in another image is of their category.
            Objects of one image share its light and ground, so they do not count.
    """

    purity: float
    mutual_information: float
    adjusted_mutual_information: float
    silhouette: float
    neighbour: float


def unit_vectors(features: Tensor) -> np.ndarray:
    """Turn the features of objects into vectors of length 1, so that cosines compare them.

    Args:
        features: (N, D), or pooled (N, C, S, S): these are averaged over their cells.

    Returns:
        (N, D) or (N, C) float32.

    Raises:
        ValueError: They have another number of dimensions.
    """
    if features.dim() not in (2, 4):
        raise ValueError(
            "Features of objects must be of shape (N, D) or (N, C, S, S), got "
            f"{tuple(features.shape)}."
        )
    rows = features.detach().float().cpu()
    vectors: np.ndarray = F.normalize(rows.flatten(2).mean(2) if rows.dim() == 4 else rows).numpy()
    return vectors


def find_clusters(vectors: np.ndarray, number: int) -> np.ndarray:
    """Find clusters by k-means, the best of ten runs; the same each time.

    Args:
        vectors: (N, D) float.
        number: How many clusters.

    Returns:
        (N,) int: the cluster of each vector, 0 is the largest.

    Raises:
        ValueError: ``number`` is below 2, or there are fewer vectors.
        ImportError: scikit-learn is missing.
    """
    if not 2 <= number <= len(vectors):
        raise ValueError(
            f"The number of clusters must be from 2 to that of objects, which is {len(vectors)}; "
            f"got {number}."
        )
    kmeans = _sklearn("cluster").KMeans(number, n_init=10, random_state=SEED)
    labels = kmeans.fit_predict(vectors)
    largest_first = np.argsort(-np.bincount(labels, minlength=number), kind="stable")
    clusters: np.ndarray = np.argsort(largest_first)[labels]
    return clusters


def measure_agreement(
    vectors: np.ndarray, clusters: np.ndarray, categories: Sequence[str], images: Sequence[str]
) -> Agreement:
    """Compare clusters and features with categories.

    Args:
        vectors: (N, D) float, of length 1.
        clusters: (N,) int, the cluster of each object.
        categories: The N categories; two at least, and fewer than objects.
        images: For each object the image that it is in; two at least.

    Raises:
        ValueError: There are too few categories or images.
        ImportError: scikit-learn is missing.
    """
    codes = np.unique(categories, return_inverse=True)[1]
    if not 1 <= codes.max() < len(codes) - 1:
        raise ValueError(
            f"{len(codes)} objects of {codes.max() + 1} categories were given; two categories at "
            "least, and more objects than categories, are needed."
        )
    metrics = _sklearn("metrics")
    table = metrics.cluster.contingency_matrix(codes, clusters)
    return Agreement(
        float(table.max(axis=0).sum() / len(codes)),
        float(metrics.normalized_mutual_info_score(codes, clusters)),
        float(metrics.adjusted_mutual_info_score(codes, clusters)),
        float(metrics.silhouette_score(vectors, codes)),
        _neighbour_agreement(vectors, codes, images),
    )


def chance_agreement(
    vectors: np.ndarray, clusters: np.ndarray, categories: Sequence[str], images: Sequence[str]
) -> Agreement:
    """Return the mean agreement when the categories are dealt out to the objects at random.

    Args and errors are those of `measure_agreement`.
    """
    random = np.random.default_rng(SEED)
    dealt = [
        measure_agreement(vectors, clusters, random.permutation(categories).tolist(), images)
        for _ in range(CHANCE_LABELLINGS)
    ]
    return Agreement(*np.mean(dealt, axis=0).tolist())


def _neighbour_agreement(vectors: np.ndarray, codes: np.ndarray, images: Sequence[str]) -> float:
    image_codes = np.unique(images, return_inverse=True)[1]
    if image_codes.max() == 0:
        raise ValueError("All objects are in one image; neighbours are sought in other images.")
    cosines = vectors @ vectors.T
    cosines[image_codes[:, None] == image_codes] = -np.inf
    return float((codes[cosines.argmax(axis=1)] == codes).mean())


def _sklearn(name: str) -> Any:
    try:
        return import_module(f"sklearn.{name}")
    except ImportError as error:
        raise ImportError(
            "Clusters need the package scikit-learn: pip install scikit-learn."
        ) from error
