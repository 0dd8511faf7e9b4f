"""Why a runtime cannot load a file, in sentences."""

from collections.abc import Mapping, Sequence

from d2seg.inspect.runtimes import Runtime

PREPACKED_CLASSES = "xnnpack."
"""What the names of the classes of prepacked weights begin with."""


def find_obstacles(
    bytecode_version: int | None,
    operators: Mapping[str, int],
    classes: Sequence[str],
    runtime: Runtime,
) -> list[str]:
    """Say what keeps a file from loading.

    Args:
        bytecode_version: Version of its instructions, if it has any.
        operators: Names with overloads, to the number of arguments they are called with; 0 where
            that is not known.
        classes: Classes of the runtime that it needs.
        runtime: The runtime in question.

    Returns:
        A sentence for each reason; none for a file that it can load.
    """
    return [
        *_bytecode_obstacles(bytecode_version, runtime),
        *_class_obstacles(classes, runtime),
        *_operator_obstacles(operators, runtime),
    ]


def _bytecode_obstacles(version: int | None, runtime: Runtime) -> list[str]:
    if version is None:
        return []
    oldest, newest = runtime.bytecode
    if oldest <= version <= newest:
        return []
    age = "too new" if version > newest else "too old"
    return [
        f"Its bytecode version {version} is {age}: {runtime.name} reads {oldest} to {newest}; "
        "export it again with a matching torch."
    ]


def _class_obstacles(classes: Sequence[str], runtime: Runtime) -> list[str]:
    prepacked = [name for name in classes if name.startswith(PREPACKED_CLASSES)]
    if not prepacked or runtime.has_xnnpack:
        return []
    return [
        f"Its weights were prepacked for XNNPACK ({', '.join(prepacked)}), which {runtime.name} "
        "was built without; export it without --optimize."
    ]


def _operator_obstacles(operators: Mapping[str, int], runtime: Runtime) -> list[str]:
    missing = [name for name in operators if name not in runtime.operators]
    if not runtime.has_xnnpack:  # the classes have been named already
        missing = [name for name in missing if not name.startswith("prepacked::")]
    of_torchvision = [name for name in missing if name.startswith("torchvision::")]
    others = [name for name in missing if not name.startswith("torchvision::")]
    sentences = []
    if of_torchvision:
        sentences.append(
            f"{runtime.name} alone does not have torchvision's operators "
            f"{', '.join(of_torchvision)}; export it with --ops aten, or load torchvision's "
            "library beside it."
        )
    if others:
        sentences.append(f"{runtime.name} does not have {', '.join(others)}.")
    sentences += [
        f"{name} is called with {count} arguments, but {runtime.name} knows {known} of them."
        for name, count in operators.items()
        if count > (known := runtime.operators.get(name, count))
    ]
    return sentences
