"""The mobile file's section of the page."""

from pathlib import Path

from d2seg.export import ParityReport, inspect_file, read_description
from d2seg.export.schema import TensorSchema
from d2seg.report.page import Table

TITLES = (
    "Image",
    "Result",
    "Model finds",
    "File finds",
    "Agreeing",
    "Boxes differ by (px)",
    "Scores",
    "Mask probabilities",
)


def mobile_note(file: Path) -> str:
    """Say what the exported file is and how it was compared."""
    facts, description = inspect_file(file), read_description(file)
    return (
        f"{file.name} ({facts.megabytes:.1f} MB) is the same model as TorchScript for the lite "
        f"interpreter of phones, with {len(facts.operators)} operators "
        f"({'all of PyTorch itself' if description.operators == 'aten' else 'some of torchvision'})"
        f". It takes a float32 tensor (3, H, W) of raw {description.input_order} values of any "
        f"size, and gives {', '.join(_said(output) for output in description.outputs)}. It was "
        "loaded again in the lite interpreter and compared with the model on these images, scaled "
        "as for the model, on the first of them in a second shape, enlarged and cut to a tiny one, "
        "and on a blank one. Detections of every score count; the largest differences are:"
    )


def _said(output: TensorSchema) -> str:
    if output.name == "masks" and len(output.shape) == 4:
        return f"{output.shape[2]} x {output.shape[3]} mask probabilities"
    return output.name.replace("_", " ")


def parity_table(report: ParityReport) -> Table:
    """Lay the comparison out, one row per image."""
    rows = [
        (
            f"{image.size_hw[1]} x {image.size_hw[0]}",
            "same" if image.passed else "differs",
            str(image.num_eager),
            str(image.num_file),
            str(image.num_matched),
            f"{image.box_difference:.1e}",
            f"{image.score_difference:.1e}",
            f"{image.mask_difference:.1e}",
        )
        for image in report.images
    ]
    return Table(TITLES, rows)
