"""A batch on its way through a model with heads for regions (R-CNN)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from d2seg.features.box_part import BoxPart, Judgement, first_attribute
from d2seg.features.hooks import capture, module_path
from d2seg.features.image_run import PARTS, Features, ImageRun
from d2seg.features.objects import GivenObjects, object_features
from d2seg.features.stages import BOX_STAGES, HEAD_STAGES
from d2seg.framework import Instances


class RegionRun(ImageRun):
    """Runs the heads of a model with ``roi_heads``, for its detections or for given objects."""

    parts: Mapping[str, str] = {**PARTS, "roi_heads": "judged"}
    object_parts = ("judged", *HEAD_STAGES)

    @classmethod
    def available_stages(cls, model: Any) -> list[str]:
        """List the stages that a model has by name; those of objects after ``instances``."""
        heads = model.roi_heads
        names = [*super().available_stages(model), "instances"]
        names += BOX_STAGES if BoxPart.is_in(heads) else ()
        for kind, (pooler, head, logits) in HEAD_STAGES.items():
            module = getattr(heads, f"{kind}_head", None)
            if module is not None and getattr(heads, f"{kind}_on", True):
                names += [pooler] if _pooler(heads, kind) is not None else []
                names += [head, logits] if hasattr(module, "layers") else [head]
        return names

    @classmethod
    def part_of(cls, name: str) -> str:
        """Return the attribute that runs a module."""
        first, _, rest = module_path(name).partition(".")
        if first != "roi_heads":
            return super().part_of(name)
        return next((kind for kind in HEAD_STAGES if rest.startswith(f"{kind}_")), "judged")

    @property
    def heads(self) -> Any:
        """Those of the model for regions."""
        return self.model.roi_heads

    @cached_property
    def box_part(self) -> BoxPart:
        """The modules that judge boxes."""
        return BoxPart(self.heads)

    @cached_property
    def judged(self) -> Judgement:
        """What the box head made of the proposals, or of the given boxes."""
        if self.given is None:
            return self._judge_proposals()
        boxes = [one.pred_boxes for one in self.given.instances(self._sizes)]
        return self.run_part(
            "judged", lambda: self.box_part.judge(self.pooled_in_objects, self._sizes, boxes)
        )

    @cached_property
    def detections(self) -> list[Instances]:
        """With ``pred_boxes``, ``scores`` and ``pred_classes``."""
        if self.wants(*BOX_STAGES) or self._wanted_paths("judged"):
            return self.judged.detections
        with _only(self.heads):
            found: list[Instances] = self.heads(self.images, self.maps, self.proposals)[0]
        return found

    @cached_property
    def objects(self) -> list[Instances]:
        """The objects whose rows are handed out, with ``pred_boxes`` and what else is known."""
        if self.given is None:
            return self.detections
        if not self._must_judge():
            return self.given.instances(self._sizes)
        likeliest = [probs[:, :-1].argmax(dim=1) for probs in self.judged.probs]
        objects = self.given.instances(self._sizes, likeliest)
        for one, probs in zip(objects, self.judged.probs, strict=True):
            one.scores = probs.gather(1, one.pred_classes[:, None])[:, 0]
        return objects

    @cached_property
    def pooled_in_objects(self) -> Tensor:
        """What the box head gets of the final boxes, (N, C, S, S) for all images."""
        found = self.detections if self.given is None else self.given.instances(self._sizes)
        return self.box_part.pool(self.maps, [one.pred_boxes for one in found])

    @cached_property
    def mask(self) -> list[Instances]:
        """The objects with ``pred_masks``."""
        return self._run_head("mask")

    @cached_property
    def keypoint(self) -> list[Instances]:
        """The objects with ``pred_keypoints``."""
        return self._run_head("keypoint")

    def features(self, stage: str) -> list[Features]:
        """Return the tensors of a named stage for each image."""
        if stage == "instances":
            return [self._object_features(index) for index in range(len(self.inputs))]
        if stage in BOX_STAGES:
            return [{stage: tensor} for tensor in self._box_features(stage)]
        if stage.partition("_")[0] in HEAD_STAGES:
            return [{stage: tensor} for tensor in self._head_features(stage)]
        return super().features(stage)

    def counts(self, part: str) -> list[int] | None:
        """Return how many rows each image has in a part's tensors."""
        if part == "judged":
            return self.judged.counts
        return self._object_counts if part in HEAD_STAGES else None

    def select(self, part: str, rows: list[Tensor]) -> list[Tensor]:
        """Pick from the rows of each image those that belong to its objects."""
        return self.judged.of_objects(rows) if part == "judged" else rows

    @property
    def _sizes(self) -> list[tuple[int, int]]:
        return list(self.images.image_sizes)

    @property
    def _object_counts(self) -> list[int]:
        return [len(one) for one in self.objects]

    def _check_given(self, given: GivenObjects) -> None:
        coding = getattr(getattr(self.heads, "box_predictor", None), "box2box_transform", None)
        if len(getattr(coding, "weights", ())) == 5:
            raise ValueError("This model judges rotated boxes, and boxes= takes upright ones.")
        given.check_classes(self.heads.num_classes)

    def _must_judge(self) -> bool:
        """Tell whether given objects need the judgement of the box head."""
        if self.wants("instances", "class_logits", "class_probs") or self._wanted_paths("judged"):
            return True
        deeper = {name for _, *later in HEAD_STAGES.values() for name in later}
        by_class = self.wants(*deeper) or any(map(self._wanted_paths, HEAD_STAGES))
        return by_class and self.given is not None and self.given.classes is None

    def _object_features(self, index: int) -> Features:
        found = object_features(self.objects[index])
        if self.given is None and self.wants("box_pooler", "box_head") and not self.pool_again:
            found["instances.proposal_boxes"] = self.judged.of_objects(self.judged.regions)[index]
        return found

    def _box_features(self, stage: str) -> list[Tensor]:
        if stage == "class_logits":
            return self.judged.of_objects(self.judged.logits)
        if stage == "class_probs":
            return self.judged.of_objects(self.judged.probs)
        if self.given is None and not self.pool_again:
            kept = self.judged.pooled if stage == "box_pooler" else self.judged.headed
            return self.judged.of_objects(kept)
        if stage == "box_pooler":
            return list(self.pooled_in_objects.split(self._object_counts))
        if self.given is not None and self._must_judge():
            return self.judged.of_objects(self.judged.headed)
        headed = self.box_part.networks[-1](self.pooled_in_objects)
        return list(headed.split(self._object_counts))

    def _head_features(self, stage: str) -> list[Tensor]:
        kind = stage.partition("_")[0]
        pooler, head, logits = HEAD_STAGES[kind]
        if stage == pooler and not (self.wants(head, logits) or self._wanted_paths(kind)):
            levels = first_attribute(self.heads, f"{kind}_in_features", "in_features")
            boxes = [one.pred_boxes for one in self.objects]
            pooled = _pooler(self.heads, kind)([self.maps[level] for level in levels], boxes)
            return list(pooled.split(self._object_counts))
        results = getattr(self, kind)
        if stage == head:
            field = "pred_masks" if kind == "mask" else "pred_keypoints"
            return [one.get(field) for one in results]
        return list(self.captured[stage][-1].split(self._object_counts))

    def _judge_proposals(self) -> Judgement:
        """Run the box head as the model does, and find the region of each detection."""
        part = self.box_part
        pooler, headed = self._path(part.pooler), self._path(part.networks[-1])
        predictors = [self._path(predictor) for predictor in part.predictors]
        watched = [f"{pooler}:input", *predictors]
        watched += [pooler] if self.wants("box_pooler") else []
        watched += [headed] if self.wants("box_head") else []
        with _only(self.heads), capture(self.model, watched, copy=False) as seen:
            detections = self.run_part(
                "judged", lambda: self.heads(self.images, self.maps, self.proposals)[0]
            )
        last = {name: values[-1] for name, values in seen.items()}
        return part.find_rows(
            [last[path] for path in predictors],
            self._sizes,
            last[f"{pooler}:input"][1],
            detections,
            last.get(pooler),
            last.get(headed),
        )

    def _run_head(self, kind: str) -> list[Instances]:
        """Run the mask or keypoint head, and it alone, on the objects; keep what passes through."""
        pooler, _, logits = HEAD_STAGES[kind]
        module, head = _pooler(self.heads, kind), getattr(self.heads, f"{kind}_head")
        watched = [self._path(module)] if self.wants(pooler) else []
        given = [
            Instances(one.image_size, pred_boxes=one.pred_boxes, pred_classes=one.pred_classes)
            for one in self.objects
        ]
        with (
            _only(self.heads, kind),
            capture(self.model, watched, copy=False) as seen,
            _recorded(head, "layers" if self.wants(logits) else None) as outputs,
        ):
            results: list[Instances] = self.run_part(
                kind, lambda: self.heads.forward_with_given_boxes(self.maps, given)
            )
        self.captured[logits] = outputs
        self.captured[pooler] = next(iter(seen.values()), [])
        return results

    def _path(self, module: nn.Module) -> str:
        return next(name for name, item in self.model.named_modules() if item is module)


def _pooler(heads: Any, kind: str) -> Any:
    """Return what pools for the mask or keypoint head; in C4 models one pooler serves all."""
    return first_attribute(heads, f"{kind}_pooler", "pooler")


@contextmanager
def _only(heads: Any, kind: str | None = None) -> Iterator[None]:
    """Switch off the mask and keypoint heads, but for one of that kind."""
    names = [f"{name}_on" for name in HEAD_STAGES if hasattr(heads, f"{name}_on")]
    before = {name: getattr(heads, name) for name in names}
    try:
        for name in names:
            setattr(heads, name, before[name] and name == f"{kind}_on")
        yield
    finally:
        for name, value in before.items():
            setattr(heads, name, value)


@contextmanager
def _recorded(module: Any, method: str | None) -> Iterator[list[Any]]:
    """Keep what a method, if any, returns while the block runs."""
    results: list[Any] = []
    original = getattr(module, method or "", None)
    if method is None or original is None:
        yield results
        return

    def record(*args: Any, **kwargs: Any) -> Any:
        results.append(original(*args, **kwargs))
        return results[-1]

    setattr(module, method, record)
    try:
        yield results
    finally:
        delattr(module, method)
