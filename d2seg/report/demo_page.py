"""The page of a finished demo: its texts and figures, put together and written."""

from pathlib import Path

from d2seg.report.demo import SHOWN_IMAGES, SHOWN_SCORE, Demo
from d2seg.report.facts import config_name, list_files, model_facts, next_commands, size_text
from d2seg.report.page import ListedFile, write_page

INTRODUCTION = (
    "One model from image to phone: the instances it finds, the features behind them by name, and "
    "the mobile file made of it, compared with the model."
)
SHIPPED_INTRODUCTION = (
    "A Mask R-CNN that detectron2 trained, run by d2seg on microscope images it has not seen: the "
    "nuclei it finds, the features behind them by name, and the mobile file made of it, compared "
    "with the model."
)


def write_demo_page(demo: Demo) -> Path:
    """Complete the page that the steps of a demo filled and write it; return its path."""
    config = config_name(demo.config_file)
    page, path = demo.page, demo.output / "index.html"
    is_shipped = config != str(demo.config_file)
    page.title = "d2seg finds cell nuclei" if is_shipped else f"d2seg runs {Path(config).stem}"
    page.introduction = SHIPPED_INTRODUCTION if is_shipped else INTRODUCTION
    page.figures = _key_figures(demo)
    page.model = model_facts(demo.cfg, config, demo.predictor.model, demo.class_names)
    page.instances_note = _instances_note(len(demo.paths))
    page.commands = next_commands(config, demo.overrides, demo.output, demo.mobile_file)
    page.files = [
        ListedFile(path.name, "", "this page"),
        *list_files(demo.output, demo.written),
    ]
    write_page(path, page)
    return path


def _key_figures(demo: Demo) -> list[tuple[str, str]]:
    device = next(demo.predictor.model.parameters()).device.type.upper()
    figures = [
        (str(len(demo.paths)), "images"),
        (str(demo.instance_count), f"instances, score {SHOWN_SCORE:.0%} or more"),
        (f"{demo.seconds_per_image:.2f} s", f"per image, on the {device}"),
    ]
    if demo.page.mobile_passed:
        figures.append((size_text(demo.mobile_file.stat().st_size), "mobile file, verified"))
    return figures


def _instances_note(number: int) -> str:
    left_out = f" The first {SHOWN_IMAGES} images are shown here." if number > SHOWN_IMAGES else ""
    return (
        "First the input, then the instances found, each in its own colour with its score in "
        f"percent where there is room; those below {SHOWN_SCORE:.0%} are not drawn but are in "
        "instances.json. The contrast is stretched to make dark images visible; the model saw "
        f"the images as they are.{left_out}"
    )
