"""``d2seg predict``: what a model finds, shown in a window or written to files."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2seg.cli.arguments import add_model, add_overrides, add_resizing, model_options, output_folder

if TYPE_CHECKING:
    from d2seg.inputs import Camera, Sources
    from d2seg.predict import Predictor
    from d2seg.predict.show import Pace

GRID_PICTURES = 12

EPILOG = """\
inputs: images, folders, glob patterns, videos, COCO files (.json); a number is a camera. Videos
need pip install "d2seg[video]", cameras "d2seg[camera]".

Where there is a screen and no --output, a window shows what is found; ESC ends it. Else files are
written, without --output to predictions/: NAME.jpg for an image, NAME.mp4 for a video,
instances.json (COCO results) and images.json (the data set they refer to). In a video an object
keeps its colour.

examples:
  d2seg predict --model config.yaml --weights model_final.pth --input photos/ --output found
  d2seg predict --model mobile_optimized.ptl --input film.mp4 --fit-window 800 1333 --show-fps
  d2seg predict --model mobile_optimized.ptl --input 0
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg predict``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_model(parser)
    parser.add_argument(
        *("--input", "--images", "--video"),
        dest="input",
        required=True,
        nargs="+",
        metavar="PATH",
        help="images, folders, glob patterns, videos, COCO files; or the number of a camera",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="take every n-th frame of videos"
    )
    parser.add_argument(
        *("--prob-threshold", "--prob_threshold"),
        type=float,
        default=0.5,
        metavar="P",
        help="least score of an object (default: 0.5)",
    )
    parser.add_argument(
        "--nms-threshold",
        type=float,
        metavar="IOU",
        help="leave out objects that overlap a better one of any class by more than this",
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="class names from a registered data set or a COCO file"
    )
    add_resizing(parser)
    parser.add_argument(
        "--tile",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="cut larger images into tiles of this size that overlap, and join what is found",
    )
    parser.add_argument(
        "--tile-overlap", type=float, default=0.25, metavar="SHARE", help="of tiles (default: 0.25)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="images that run together (1)"
    )
    _add_showing(parser)
    add_overrides(parser)


def _add_showing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        type=output_folder,
        metavar="DIR",
        help="write files to this folder (default: predictions, where there is no window)",
    )
    parser.add_argument(
        "--window",
        action=argparse.BooleanOptionalAction,
        help="show pictures in a window (default: if there is a screen and no --output)",
    )
    parser.add_argument(
        "--delay",
        type=int,
        metavar="MS",
        help="how long the window shows a picture; 0 waits for a key (default: 1 for videos, 0 for "
        "images)",
    )
    parser.add_argument(
        "--grid", action="store_true", help=f"write grid.jpg, the first {GRID_PICTURES} pictures"
    )
    for what in ("masks", "boxes", "names", "scores", "keypoints"):
        parser.add_argument(
            *(f"--show-{what}", f"--show_{what}"),
            action=argparse.BooleanOptionalAction,
            default=True,
            help=f"draw {what} (default: yes)",
        )
    for what, help_text in (
        ("fps", "write on pictures how many per second the model manages"),
        ("flops", "count the multiply-adds of the first image"),
    ):
        parser.add_argument(
            *(f"--show-{what}", f"--show_{what}"), action="store_true", help=help_text
        )


def run(args: argparse.Namespace) -> int:
    """Predict, show and write; return the exit code."""
    from d2seg.predict.show import Pace, has_screen

    if args.batch_size < 1:
        raise ValueError(f"--batch-size must be 1 or more, got {args.batch_size}.")
    if args.window is None:
        args.window = has_screen() and args.output is None
    if args.output is None and (args.grid or not args.window):
        args.output = output_folder("predictions")
    sources = _find_sources(args)
    predictor = _load(args)
    print(
        f"{len(predictor.class_names)} class(es), channels {predictor.input_order}, on "
        f"{predictor.device}",
        flush=True,
    )
    pace = Pace()
    _predict(args, predictor, sources, pace)
    _print_pace(pace)
    for failure in pace.failures:
        print(failure, file=sys.stderr)
    if not pace.images and not pace.failures:
        print("There was nothing to look at.", file=sys.stderr)
    return 0 if pace.images and not pace.failures else 1


def _find_sources(args: argparse.Namespace) -> "Sources | Camera":
    from d2seg.inputs import Camera, find_sources

    first = args.input[0]
    if first.isdecimal() and not Path(first).exists():
        if len(args.input) > 1:
            raise ValueError(f"A camera ({first}) is the only input; got {len(args.input)}.")
        return Camera(int(first))
    return find_sources(args.input, every=args.every)


def _load(args: argparse.Namespace) -> "Predictor":
    from d2seg.datasets import dataset_class_names
    from d2seg.predict import Predictor

    return Predictor(
        **model_options(args, args.model),
        score_threshold=args.prob_threshold,
        nms_threshold=args.nms_threshold,
        class_names=dataset_class_names(args.dataset) if args.dataset else None,
        tile_hw=tuple(args.tile) if args.tile else None,
        tile_overlap=args.tile_overlap,
        batch_size=args.batch_size,
    )


def _predict(args: argparse.Namespace, predictor: "Predictor", sources: Any, pace: "Pace") -> None:
    """Go through the sources until they end, ESC is pressed or Ctrl-C; then files are complete."""
    from contextlib import ExitStack, closing

    from d2seg.cli.progress import advancing
    from d2seg.predict.show import (
        Drawer,
        PictureWindow,
        PredictionFiles,
        Shown,
        predict_sources,
    )

    shown = Shown(
        masks=args.show_masks,
        boxes=args.show_boxes,
        names=args.show_names,
        scores=args.show_scores,
        keypoints=args.show_keypoints,
    )
    results = predict_sources(
        predictor,
        sources,
        Drawer(shown),
        pace,
        batch_size=args.batch_size,
        show_fps=args.show_fps,
    )
    grid = _Grid(args.output) if args.grid else None
    with ExitStack() as stack:
        files = stack.enter_context(PredictionFiles(args.output)) if args.output else None
        window = stack.enter_context(closing(PictureWindow("d2seg"))) if args.window else None
        advance = stack.enter_context(advancing(sources.total, "images"))
        for number, result in enumerate(_until_interrupted(results)):
            if number == 0 and args.show_flops:
                _print_flops(predictor, result.pixels)
            if files is not None:
                files.add(result.source, result.drawn, result.found)
            if grid is not None:
                grid.add(result.pixels, result.drawn)
            advance(1)
            is_video = result.source.frame is not None
            delay = args.delay if args.delay is not None else int(is_video)
            if window is not None and not window.show(result.drawn, delay):
                break
    for path in files.written if files else []:
        print(path)
    if grid is not None:
        grid.write()


def _until_interrupted(results: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from results
    except KeyboardInterrupt:
        print("interrupted: what there is so far is kept", file=sys.stderr)


class _Grid:
    """Collects pictures, as they were and with their objects."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "grid.jpg"
        self._pairs: list[tuple[Any, Any]] = []

    def add(self, picture: Any, drawn: Any) -> None:
        if len(self._pairs) < GRID_PICTURES:
            self._pairs.append((picture, drawn))

    def write(self) -> None:
        from PIL import Image

        from d2seg.core.runtime.files import replace_when_complete
        from d2seg.predict.show import make_picture_grid

        if not self._pairs:
            return
        rows = [self._pairs[start : start + 4] for start in range(0, len(self._pairs), 4)]
        lines = [[pair[which] for pair in row] for row in rows for which in (0, 1)]
        with replace_when_complete(self._path) as temporary:
            Image.fromarray(make_picture_grid(lines)).save(temporary, quality=90)
        print(self._path)


def _print_flops(predictor: "Predictor", pixels: Any) -> None:
    flops = predictor.count_flops(pixels, "RGB")
    if flops is None:
        print("multiply-adds: not counted, because fvcore does not see those of an exported file")
    else:
        print(f"multiply-adds of the first image: {flops:.1f} billion")


def _print_pace(pace: "Pace") -> None:
    from d2seg.predict.show import peak_memory

    if pace.images:
        seconds = pace.seconds_per_image
        print(
            f"{pace.images} image(s), {pace.objects} object(s); {seconds:.3f} s for an image, "
            f"{1 / seconds:.2f} FPS on average (model with resizing, without drawing)"
        )
    print(f"memory at most: {peak_memory()}")
