"""Features of many pictures: read ahead, batched, and not stopped by one that cannot be read."""

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field

import numpy as np

from d2seg.features.preview import Preview
from d2seg.features.store import FeatureStore, load_folder
from d2seg.features.writer import FeatureWriter, Prepared
from d2seg.inputs import Source, read_ahead


@dataclass
class Outcome:
    """What became of the pictures.

    Attributes:
        written: How many have their features stored now.
        skipped: How many had them already.
        failures: Label of the picture and why it was left out.
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
    preview: Preview | None = None,
    advance: Callable[[int], None] | None = None,
) -> Outcome:
    """Store the features of pictures; while the model runs, the next batch is read.

    Args:
        writer: Extracts them.
        sources: The pictures.
        store: Where the features go.
        batch_size: So many pictures go through the model together.
        skip: Names of pictures that are passed over; the store has their features.
        preview: Shows all pictures, also those that are passed over.
        advance: Called with the number of pictures dealt with since the last call.

    Raises:
        OSError: The features cannot be written.
        ValueError: The store does not take them.
    """
    outcome = Outcome()
    stored = load_folder(store.folder) if preview is not None and skip else {}
    batches = _batches(writer, sources, batch_size, skip, outcome, preview is not None)
    for batch in read_ahead(batches):
        for one, (features, description) in zip(
            batch.ready, writer.extract(batch.ready), strict=True
        ):
            store.write(one.source.name, features, {**description, "half": store.half})
            outcome.written += 1
            if preview is not None:
                rgb = _in_rgb(one, writer.cfg.INPUT.FORMAT)
                preview.add(one.source.name, rgb, features, description)
        if preview is not None:
            for name, rgb in batch.complete:
                preview.add(name, rgb, *stored[name])
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
    """Pictures that were read.

    Attributes:
        ready: Those to extract features of.
        complete: Name and RGB pixels of those to show that have their features already.
        seen: How many pictures were looked at.
    """

    ready: list[Prepared] = field(default_factory=list)
    complete: list[tuple[str, np.ndarray]] = field(default_factory=list)
    seen: int = 0


def _batches(
    writer: FeatureWriter,
    sources: Iterable[Source],
    size: int,
    skip: Set[str],
    outcome: Outcome,
    with_complete: bool,
) -> Iterator[_Batch]:
    """Read pictures into batches; note those that cannot be read and those that are skipped."""
    batch = _Batch()
    for source in sources:
        batch.seen += 1
        is_complete = source.name in skip
        outcome.skipped += is_complete
        try:
            if not is_complete:
                batch.ready.append(writer.prepare(source))
            elif with_complete:
                batch.complete.append((source.name, source.read("RGB")))
        except (OSError, ValueError) as error:
            outcome.failures.append((source.label, str(error)))
        if len(batch.ready) + len(batch.complete) == size:
            yield batch
            batch = _Batch()
    yield batch


def _in_rgb(one: Prepared, channel_order: str) -> np.ndarray:
    """Return the pixels of a picture, which are in the model's order, as RGB."""
    if channel_order in ("BGR", "RGB"):
        return one.pixels[:, :, ::-1] if channel_order == "BGR" else one.pixels
    return one.source.read("RGB")
