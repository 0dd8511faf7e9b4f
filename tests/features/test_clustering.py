import sys

import numpy as np
import pytest
import torch

from d2seg.features.clustering import (
    Agreement,
    chance_agreement,
    find_clusters,
    measure_agreement,
    unit_vectors,
)

pytest.importorskip("sklearn", reason="clusters need scikit-learn")


def directions(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_pooled_features_are_averaged_and_get_length_1() -> None:
    pooled = torch.zeros(2, 2, 2, 3)
    pooled[0, 0, 1, 2] = 6 * 3.0
    pooled[0, 1] = 4.0
    pooled[1, 1, 0, 0] = -5.0
    assert np.allclose(unit_vectors(pooled), [[0.6, 0.8], [0.0, -1.0]])
    assert np.allclose(unit_vectors(torch.tensor([[3.0, 4.0]]).half()), [[0.6, 0.8]], atol=1e-6)
    assert unit_vectors(torch.zeros(0, 5, 7, 7)).shape == (0, 5)
    with pytest.raises(ValueError, match=r"got \(3, 4, 5\)"):
        unit_vectors(torch.zeros(3, 4, 5))


def test_separate_groups_become_clusters_the_largest_first() -> None:
    vectors = directions(0, 180, 91, 2, 90, 1, 181, 3, 92)
    clusters = find_clusters(vectors, 3)
    assert clusters.tolist() == [0, 2, 1, 0, 1, 0, 2, 0, 1]


def test_clusters_are_the_same_each_time() -> None:
    vectors = unit_vectors(torch.randn(60, 8))
    np.random.seed(1)
    first = find_clusters(vectors, 7)
    np.random.seed(2)
    assert np.array_equal(find_clusters(vectors, 7), first)
    sizes = np.bincount(first)
    assert (np.diff(sizes) <= 0).all()
    assert len(sizes) == 7


@pytest.mark.parametrize("number", [1, 4])
def test_an_impossible_number_of_clusters_is_named(number: int) -> None:
    with pytest.raises(ValueError, match=f"from 2 to that of objects, which is 3; got {number}"):
        find_clusters(directions(0, 1, 2), number)


def test_clusters_that_are_the_categories_agree() -> None:
    vectors, categories = directions(0, 90, 0, 90), ["cat", "dog", "cat", "dog"]
    agreement = measure_agreement(vectors, np.array([1, 0, 1, 0]), categories, list("xxyy"))
    assert agreement == pytest.approx(Agreement(1, 1, 1, 1, 1))


def test_agreement_is_as_computed_by_hand() -> None:
    categories = ["a", "a", "b", "b", "b"]
    clusters = np.array([0, 0, 0, 1, 1])
    agreement = measure_agreement(
        directions(0, 10, 20, 90, 100), clusters, categories, list("vwxyz")
    )
    assert agreement.purity == pytest.approx(4 / 5)
    # I = sum p(a, c) log(p(a, c) / p(a) p(c)); both entropies are that of (2/5, 3/5).
    information = (
        2 / 5 * np.log(2 / 5 / (2 / 5 * 3 / 5))
        + 1 / 5 * np.log(1 / 5 / (3 / 5 * 3 / 5))
        + 2 / 5 * np.log(2 / 5 / (3 / 5 * 2 / 5))
    )
    entropy = -2 / 5 * np.log(2 / 5) - 3 / 5 * np.log(3 / 5)
    assert agreement.mutual_information == pytest.approx(information / entropy)
    assert agreement.adjusted_mutual_information < agreement.mutual_information
    # Nearest: 0 -> 10 (a a), 10 -> 0 (a a), 20 -> 10 (b a), 90 -> 100 and 100 -> 90 (b b).
    assert agreement.neighbour == pytest.approx(4 / 5)


def test_neighbours_in_the_same_image_do_not_count() -> None:
    vectors, categories = directions(0, 5, 40, 45), ["a", "a", "b", "b"]
    clusters = np.array([0, 0, 1, 1])
    apart = measure_agreement(vectors, clusters, categories, list("wxyz"))
    together = measure_agreement(vectors, clusters, categories, list("xxyy"))
    assert (apart.neighbour, together.neighbour) == (1.0, 0.0)
    with pytest.raises(ValueError, match="All objects are in one image"):
        measure_agreement(vectors, clusters, categories, list("xxxx"))


def test_chance_keeps_the_sizes_and_nothing_else() -> None:
    categories = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    vectors = unit_vectors(torch.randn(100, 6))
    images = [f"{index % 50}.jpg" for index in range(100)]
    clusters = np.array([0] * 60 + [1] * 30 + [2] * 10)
    assert measure_agreement(vectors, clusters, categories, images).purity == 1
    chance = chance_agreement(vectors, clusters, categories, images)
    assert chance == chance_agreement(vectors, clusters, categories, images)
    assert 0.6 <= chance.purity < 0.65
    assert abs(chance.adjusted_mutual_information) < 0.02
    assert 0 < chance.mutual_information < 0.1
    assert chance.neighbour == pytest.approx(0.6**2 + 0.3**2 + 0.1**2, abs=0.05)


@pytest.mark.parametrize("categories", ["aaa", "abc"])
def test_categories_that_say_nothing_are_named(categories: str) -> None:
    with pytest.raises(ValueError, match="3 objects of . categories .* two categories at least"):
        measure_agreement(directions(0, 1, 2), np.array([0, 1, 1]), list(categories), list("xyz"))


def test_a_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ImportError, match="Clusters need .* pip install scikit-learn"):
        find_clusters(directions(0, 1, 2), 2)
