"""Features of many pictures: read ahead, batched, and not stopped by one that cannot be read."""

from collections.abc import Callable, Iterable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from d2seg.features.image_run import Features
from d2seg.features.store import FeatureStore, load_folder
from d2seg.features.writer import FeatureWriter, Prepared
from d2seg.inputs import Source


@dataclass
class Outcome:
    """What became of the pictures.

    Attributes:
        written: How many have their features stored now.
        skipped: How many had them already.
        failures: Name of the picture and why it has none.
    """

    written: int = 0
    skipped: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)


def extract_all(
    writer: FeatureWriter,
    sources: Iterable[Source],
    store: FeatureStore,
    *,
    batch_size: int = 1,
    skip: Set[str] = frozenset(),
    when_written: Callable[[Prepared, Features, dict], None] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Outcome:
    """Store the features of pictures; while the model runs, the next batch is read.

    Args:
        writer: Extracts them.
        sources: The pictures.
        store: Where the features go.
        batch_size: So many pictures go through the model together.
        skip: Names of pictures that are passed over.
        when_written: Called with each picture, its features and their description.
        advance: Called with the number of pictures dealt with since the last call.

    Raises:
        OSError: The features cannot be written.
        ValueError: The store does not take them.
    """
    outcome = Outcome()
    for batch in _ahead(_batches(writer, sources, batch_size, skip, outcome)):
        for one, (features, description) in zip(
            batch.ready, writer.extract(batch.ready), strict=True
        ):
            store.write(one.source.name, features, {**description, "half": store.half})
            outcome.written += 1
            if when_written is not None:
                when_written(one, features, description)
        if advance is not None:
            advance(batch.seen)
    return outcome


def check_resumable(writer: FeatureWriter, store: FeatureStore, with_boxes: bool = False) -> None:
    """Make sure that the features in a store were made the way those to come will be.

    Args:
        writer: Will extract them.
        store: Where they go; it may be empty.
        with_boxes: They will be of given boxes.

    Raises:
        ValueError: They were not; the message names what differs.
    """
    complete = store.complete()
    if not complete:
        return
    _, description = load_folder(store.folder)[min(complete)]
    if ("annotation_ids" in description["image"]) != with_boxes:
        there, now = ("annotated", "detected") if not with_boxes else ("detected", "annotated")
        raise ValueError(
            f"The features in '{store.folder}' are of {there} objects, now they would be of {now} "
            "ones. Choose another output folder."
        )
    expected = {**writer.about_run, "half": store.half}
    for key in ("stages", "box_region", "model", "half"):
        if description.get(key) != expected[key]:
            raise ValueError(
                f"The features in '{store.folder}' were made with another '{key}': "
                f"{description.get(key)}, now it is {expected[key]}. Resume with what they were "
                "made with, or choose another output folder."
            )


@dataclass
class _Batch:
    """Pictures that were read, and how many were looked at for them."""

    ready: list[Prepared] = field(default_factory=list)
    seen: int = 0


def _batches(
    writer: FeatureWriter,
    sources: Iterable[Source],
    size: int,
    skip: Set[str],
    outcome: Outcome,
) -> Iterator[_Batch]:
    """Read pictures into batches; note those that cannot be read and those that are skipped."""
    batch = _Batch()
    for source in sources:
        batch.seen += 1
        if source.name in skip:
            outcome.skipped += 1
        else:
            try:
                batch.ready.append(writer.prepare(source))
            except (OSError, ValueError) as error:
                outcome.failures.append((source.name, str(error)))
        if len(batch.ready) == size:
            yield batch
            batch = _Batch()
    yield batch


def _ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """Yield what an iterator gives; a thread of its own fetches the next one meanwhile."""
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(next, batches, None)
        while (batch := waiting.result()) is not None:
            waiting = executor.submit(next, batches, None)
            yield batch
