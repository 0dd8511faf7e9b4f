"""Task ``predict``: whole images, from pixels to masks, by everything that can run the model."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from d2seg.benchmark.comparison import Comparison, compare
from d2seg.benchmark.contestants import Entry, PredictOne, open_entry
from d2seg.benchmark.rounds import Contestant, Rounds, time_rounds
from d2seg.benchmark.subject import Subject


class Prediction(NamedTuple):
    """What the rounds say.

    Attributes:
        comparisons: One for each contestant, the baseline first.
        objects: Contestant to the number of objects that it finds in all images.
    """

    comparisons: list[Comparison]
    objects: dict[str, int]


def benchmark_predict(
    subject: Subject,
    entries: Sequence[Entry],
    rounds: Rounds,
    after_round: Callable[[int], None] = lambda done: None,
) -> Prediction:
    """Compare how long an image takes, from its pixels to the masks of its objects.

    Args:
        subject: The model and the images.
        entries: The first is the baseline.
        rounds: How often each is timed.
        after_round: Is told how many rounds are done.
    """
    runs = {entry.name: open_entry(entry) for entry in entries}
    contestants = [Contestant(name, _on_all(run, subject)) for name, run in runs.items()]
    objects = {name: sum(run(image) for image in subject.images) for name, run in runs.items()}
    times = time_rounds(contestants, rounds, after_round=after_round)
    comparisons = compare(times, entries[0].name, len(subject.images))
    return Prediction(comparisons, objects)


def _on_all(run: PredictOne, subject: Subject) -> Callable[[], None]:
    def run_all() -> None:
        for image in subject.images:
            run(image)

    return run_all
