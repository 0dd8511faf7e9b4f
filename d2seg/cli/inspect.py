"""``d2seg inspect``: what an exported file is, and which runtimes load it."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2seg.export import ModelDescription
    from d2seg.inspect import Contents, Inspection

EPILOG = """\
Prints the description that d2seg wrote into the file (classes, input, outputs, thresholds, weights,
versions), its operators, and whether runtimes load it: the torch that is installed, and the
last one that was published for Android; of a .pte, .onnx or .xml the ExecuTorch, onnxruntime or
OpenVINO that is installed. Where one does not, it says why. The exit code is 0 if the runtime of
--runtime (by default the installed one) loads the file, else 1.

examples:
  d2seg inspect mobile_optimized.ptl
  d2seg inspect mobile_optimized.ptl --runtime 2.1.0 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg inspect``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "file", metavar="FILE", help="an exported file: .ptl, .ts, .pte, .onnx, .xml"
    )
    parser.add_argument(
        "--runtime",
        metavar="VERSION",
        help="a version of torch, such as 2.1.0, to compare with (default: the installed one)",
    )
    parser.add_argument(
        "--config",
        action="store_true",
        help="print the model's whole config (YAML) and nothing else",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    """Look into the file and print; return the exit code."""
    from d2seg.inspect import INSTALLED, LAST_ANDROID, inspect_artefact

    wanted = args.runtime or INSTALLED
    inspection = inspect_artefact(args.file, list(dict.fromkeys((INSTALLED, LAST_ANDROID, wanted))))
    if wanted not in inspection.verdicts:
        runtime = inspection.verdicts[INSTALLED].runtime
        raise ValueError(
            f"--runtime names a version of torch, but '{args.file}' is run by {runtime}; leave it "
            "out."
        )
    if args.config:
        _print_config(inspection)
    elif args.json:
        _print_json(inspection)
    else:
        _print_rows(inspection)
    return 0 if inspection.verdicts[wanted].loads else 1


def as_dict(inspection: "Inspection") -> dict[str, Any]:
    """Return an inspection as what ``--json`` prints."""
    from dataclasses import asdict

    verdicts = inspection.verdicts.items()
    return {
        "file": str(inspection.path),
        "bytes": inspection.num_bytes,
        **asdict(inspection.contents),
        "runtimes": {name: {"loads": one.loads, **asdict(one)} for name, one in verdicts},
    }


def _print_config(inspection: "Inspection") -> None:
    description = inspection.contents.description
    if description is None:
        raise ValueError(f"'{inspection.path}' has no config: d2seg did not export it.")
    print(description.config, end="")


def _print_json(inspection: "Inspection") -> None:
    import json

    print(json.dumps(as_dict(inspection), indent=2))


def _print_rows(inspection: "Inspection") -> None:
    contents = inspection.contents
    rows = [
        ("file", f"{inspection.path}, {inspection.num_bytes / 1e6:.1f} MB"),
        *_format_rows(contents),
        *_description_rows(contents.description),
        ("operators", _operator_list(contents)),
    ]
    for verdict in inspection.verdicts.values():
        rows.append((verdict.runtime, "loads it" if verdict.loads else "does not load it:"))
        rows += [("", sentence) for sentence in verdict.obstacles]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        for index, line in enumerate(text.splitlines()):
            print(f"{name if index == 0 else '':<{width}}  {line}".rstrip())


def _format_rows(contents: "Contents") -> list[tuple[str, str]]:
    from d2seg.inspect.executorch import PteContents

    if isinstance(contents, PteContents):
        parts = ", ".join(f"{name} runs {count}" for name, count in contents.backends.items())
        planned = f"{contents.planned_bytes / 1e6:.1f} MB, without weights and backends"
        return [("format", "ExecuTorch"), ("parts", parts or "none"), ("planned memory", planned)]
    kinds = {
        "ptl": "TorchScript for the lite interpreter, bytecode",
        "ts": "TorchScript",
        "onnx": "ONNX, opset",
        "openvino": "OpenVINO's graph,",
    }
    version = contents.bytecode_version
    number = "" if version is None else f" version {version}"
    stored = ", ".join(f"{count:,} {kind}" for kind, count in sorted(contents.stored.items()))
    rows = [
        ("format", f"{kinds.get(contents.format, contents.format)}{number}"),
        ("stored numbers", stored or "none"),
    ]
    if contents.classes:
        rows.append(("classes needed", ", ".join(contents.classes)))
    return rows


def _description_rows(found: "ModelDescription | None") -> list[tuple[str, str]]:
    if found is None:
        return [("description", "none: d2seg did not export it")]
    schemas = {"input": found.inputs, "output": found.outputs}
    return [
        ("parameters", f"{found.num_parameters:,}, stored as {found.weights}"),
        ("prepacked for", found.optimized_for or "nothing"),
        ("classes", f"{len(found.class_names)}: {', '.join(found.class_names)}"),
        ("channels", f"{found.input_order}, values {_range(found.value_range)}"),
        ("resizing", _resizing(found)),
        ("scores", f"above {found.score_threshold}, at most {found.max_detections} detections"),
        ("overlap", f"at most {found.nms_threshold} (IoU) within a class"),
        *(
            (kind if index == 0 else "", _tensor(tensor))
            for kind, tensors in schemas.items()
            for index, tensor in enumerate(tensors)
        ),
        ("written by", f"d2seg {found.d2seg_version}, torch {found.torch_version}"),
        ("weights", found.checksum or "no checksum"),
    ]


def _resizing(found: "ModelDescription") -> str:
    if found.format == "pte":
        size = " x ".join(map(str, found.inputs[0].shape[1:]))
        return f"to fit {size}, at the top left, before it is given to the file"
    where = "itself" if found.resize_inside else "before it is given to the file"
    return f"shorter edge {found.resize_short}, longer at most {found.resize_longest}, {where}"


def _range(values: list[float]) -> str:
    return " to ".join(f"{value:g}" for value in values)


def _tensor(tensor: Any) -> str:
    shape = ", ".join(str(size) for size in tensor.shape)
    return f"{tensor.name} ({shape}) {tensor.dtype}: {tensor.meaning}"


def _operator_list(contents: "Contents") -> str:
    """Lay the operators out in lines, by their namespaces."""
    import textwrap

    groups: dict[str, list[str]] = {}
    for name in contents.operators:
        namespace, _, short = name.partition("::")
        groups.setdefault(namespace, []).append(short)
    lines = [str(len(contents.operators))]
    for namespace, names in groups.items():
        lines += textwrap.wrap(f"{namespace}: {', '.join(names)}", 90, break_on_hyphens=False)
    return "\n".join(lines)
