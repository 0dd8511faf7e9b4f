"""The steps of ``d2seg demo``; each writes its files and adds its part to the page."""

import json
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2seg.class_names import class_names
from d2seg.core.runtime.files import replace_when_complete
from d2seg.export import FILE_NAMES, ParityError, export_model
from d2seg.features import FeatureExtractor, FeatureWriter
from d2seg.features.image_run import Features
from d2seg.features.pictures import TILE_PIXELS, enlarge_cells, feature_grid, feature_tiles
from d2seg.framework import CfgNode, Instances
from d2seg.images import load_image, prepare_image, unique_stems
from d2seg.pages import picture_uri
from d2seg.predict import Predictor, coco_dataset
from d2seg.report.feature_figures import (
    level_pictures,
    map_figures,
    object_figures,
    tensor_table,
)
from d2seg.report.instance_figures import draw_pair
from d2seg.report.mobile_facts import mobile_note, parity_table
from d2seg.report.page import InstanceFigure, Page
from d2seg.visualize import side_by_side, stretch_contrast, write_png

STAGES = ("backbone", "proposals", "mask_pooler")
SHOWN_SCORE = 0.5
SHOWN_IMAGES = 12
COMPARED_IMAGES = 6


class Demo:
    """One run of the demo.

    Args:
        cfg: The model's config.
        config_file: Where the config came from.
        overrides: The ``KEY VALUE`` overrides that were applied to it.
        paths: The images, at least one.
        output: The folder to write to.

    Raises:
        ValueError: The model has no masks.

    Attributes:
        page: What the steps found so far.
        written: The files written so far.
        instance_count: Instances drawn so far.
        sizes_hw: Height and width of each image, set by :meth:`find_instances`.
        seconds_per_image: How long the predictor took, set by :meth:`find_instances`.
    """

    def __init__(
        self,
        cfg: CfgNode,
        config_file: str | Path,
        overrides: Sequence[str],
        paths: Sequence[Path],
        output: Path,
    ) -> None:
        if not cfg.MODEL.MASK_ON:
            raise ValueError("The demo is about instance masks; MODEL.MASK_ON must be True.")
        self.cfg = cfg
        self.config_file = config_file
        self.overrides = list(overrides)
        self.paths = list(paths)
        self.stems = unique_stems(paths)
        self.output = output
        self.class_names = class_names(cfg)
        self.predictor = Predictor(cfg)
        self.page = Page(title="", introduction="")
        self.written: list[Path] = []
        self.instance_count = 0
        self.sizes_hw: list[tuple[int, int]] = []
        self.seconds_per_image = 0.0

    def find_instances(self, progress: Iterable[int]) -> None:
        """Predict each image; write its drawing, and all results as COCO JSON.

        Args:
            progress: Yields the index of each image.
        """
        results: list[dict[str, Any]] = []
        seconds: list[float] = []
        for index in progress:
            image = load_image(self.paths[index], "BGR")
            start = time.perf_counter()
            found = self.predictor(image, "BGR")
            seconds.append(time.perf_counter() - start)
            self.sizes_hw.append((image.shape[0], image.shape[1]))
            results += found.to_coco(index + 1)
            self._draw(
                index,
                np.ascontiguousarray(image[:, :, ::-1]),
                found[found.scores >= SHOWN_SCORE].to_instances(),
            )
        # The median, because the first image pays for warming up.
        self.seconds_per_image = statistics.median(seconds)
        names = [path.name for path in self.paths]
        dataset = coco_dataset(names, self.sizes_hw, self.class_names)
        _write_json(self._new("instances.json"), results)
        _write_json(self._new("images.json"), dataset)

    def extract_features(self, progress: Iterable[int]) -> None:
        """Write the features of each image, and pictures of those of the largest.

        :meth:`find_instances` comes first.

        Args:
            progress: Yields the index of each image.
        """
        extractor = FeatureExtractor(self.predictor.model, STAGES)
        writer = FeatureWriter(extractor, self.cfg, self.config_file, self.overrides)
        example = self._largest_image()
        for index in progress:
            self._new(f"features/{self.stems[index]}.json")
            file = self._new(f"features/{self.stems[index]}.safetensors")
            features = writer.write(self.paths[index], file)
            if index == example:
                described = extractor.describe().items()
                strides = {name: one["stride"] for name, one in described if "stride" in one}
                self._picture_features(index, features, strides)

    def export_mobile(self) -> bool:
        """Write the mobile file and compare it with the model; return whether they agree."""
        images = self.paths[:COMPARED_IMAGES]
        try:
            report = export_model(self.predictor.model, self.cfg, self.output, images=images)
            self.page.mobile_note = mobile_note(self._new(FILE_NAMES["ptl"]))
        except ParityError as error:
            report = error.report
            self.page.mobile_note = f"{error} What it found, and what the model finds:"
        self.page.mobile_passed = report.passed
        self.page.parity = parity_table(report)
        return report.passed

    @property
    def mobile_file(self) -> Path:
        """Where the mobile file is written."""
        return self.output / FILE_NAMES["ptl"]

    def _new(self, name: str) -> Path:
        """Note that a file of this name is written, and return its path."""
        self.written.append(self.output / name)
        return self.written[-1]

    def _largest_image(self) -> int:
        areas = [height * width for height, width in self.sizes_hw]
        return areas.index(max(areas))

    def _draw(self, index: int, image: np.ndarray, instances: Instances) -> None:
        self.instance_count += len(instances)
        visible, drawing = draw_pair(image, instances, self.class_names)
        both = side_by_side(visible, drawing)
        write_png(self._new(f"overlays/{self.stems[index]}.png"), both)
        if index < SHOWN_IMAGES:
            height, width = image.shape[:2]
            caption = f"{width} x {height} pixels, {len(instances)} instances"
            uris = picture_uri(visible), picture_uri(drawing)
            figure = InstanceFigure(self.paths[index].name, caption, *uris)
            self.page.instances.append(figure)

    def _picture_features(self, index: int, features: Features, strides: dict[str, int]) -> None:
        image = load_image(self.paths[index], "BGR")
        size_hw = tuple(prepare_image(image, self.cfg)["image"].shape[1:])
        visible = stretch_contrast(image[:, :, ::-1])
        pictures = level_pictures(features, strides, size_hw)
        start = f"features/{self.stems[index]}"
        for name, picture in pictures.items():
            write_png(self._new(f"{start}_{name}.png"), enlarge_cells(picture, TILE_PIXELS * 4))
        tiles = feature_tiles(features["mask_pooler"])
        if tiles:
            write_png(self._new(f"{start}_mask_pooler.png"), feature_grid(tiles))
        self.page.maps = map_figures(visible, pictures, features)
        self.page.objects = object_figures(visible, features, size_hw)
        self.page.tensors = tensor_table(features)


def _write_json(path: Path, content: Any) -> None:
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
