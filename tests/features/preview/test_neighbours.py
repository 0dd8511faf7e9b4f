import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.features.preview import neighbours
from d2seg.features.preview.gallery import gallery
from d2seg.features.preview.neighbours import choose_queries, nearest_objects, nearest_rows
from d2seg.features.preview.objects import KeptObject


def an_object(image: int, class_name: str, score: float, vector: Tensor) -> KeptObject:
    return KeptObject(image, f"{image}.png", class_name, score, vector, "data:,")


def unit_rows(number: int, size: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return F.normalize(torch.randn(number, size, generator=generator), dim=1)


@pytest.mark.parametrize("chunk", [2, 256])
def test_rows_are_those_of_a_plain_search(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    rows, queries = unit_rows(30), torch.tensor([4, 29, 0, 11, 4])
    indices, products = nearest_rows(rows, queries, 6)
    for place, query in enumerate(queries.tolist()):
        found = {other: float(rows[query] @ rows[other]) for other in range(30) if other != query}
        best = sorted(found, key=found.__getitem__, reverse=True)[:6]
        assert indices[place].tolist() == best
        assert products[place].tolist() == pytest.approx([found[other] for other in best])


def test_equal_rows_come_in_their_order_and_there_are_no_more_than_there_are() -> None:
    indices, products = nearest_rows(torch.eye(4)[[0, 1, 1, 1]], torch.tensor([2]), 8)
    assert indices.tolist() == [[1, 3, 0]]
    assert products.tolist() == [[1, 1, 0]]
    assert nearest_rows(torch.eye(1), torch.tensor([0]), 8)[0].shape == (1, 0)


def test_a_planted_duplicate_is_the_nearest_neighbour() -> None:
    vectors = unit_rows(40)
    vectors[31] = vectors[2]
    objects = [an_object(index // 10, "cat", 0.5, row) for index, row in enumerate(vectors)]
    (found,) = nearest_objects(objects, [2], 3)
    assert found[0].item is objects[31]
    assert found[0].similarity == pytest.approx(1.0)
    assert found[1].similarity < 0.9
    row = next(row for row in gallery(objects) if row.query.image_name == "0.png")
    assert len(row.neighbours) == 8


def test_neighbours_of_other_images_are_marked() -> None:
    vectors = torch.eye(3)[[0, 0, 1]]
    objects = [
        an_object(image, "cat", 0.5, row) for image, row in zip((0, 1, 0), vectors, strict=True)
    ]
    first = gallery(objects)[0]
    assert [(item.similarity, item.elsewhere) for item in first.neighbours] == [
        ("1.000", True),
        ("0.000", False),
    ]
    assert not first.query.similarity
    assert gallery([]) == []


def test_queries_take_turns_between_classes_and_images() -> None:
    vector = torch.ones(1)
    kinds = [(0, "cat"), (0, "cat"), (1, "cat"), (1, "dog"), (1, "dog"), (2, "bird")]
    objects = [an_object(*kind, 0.9 - place / 10, vector) for place, kind in enumerate(kinds)]
    # The best cat, dog and bird; then a cat of another image before the second of the first.
    assert choose_queries(objects, 10) == [0, 3, 5, 2, 4, 1]
    assert choose_queries(objects, 2) == [0, 3]
    assert choose_queries([], 2) == []
