"""Packaging of d2seg: what is installed, with which dependencies, and the ``d2seg`` command."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """Return ``__version__`` of the package without importing it."""
    source = (ROOT / "d2seg" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if match is None:
        raise ValueError('d2seg/__init__.py has no line of the form __version__ = "1.2.3".')
    return match.group(1)


setup(
    name="d2seg",
    version=read_version(),
    description="Instance segmentation with detectron2's configs and checkpoints, in pure PyTorch",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    # The files of configs/ are installed as d2seg/configs, so that the names of the model zoo
    # work without a checkout.
    packages=[*find_packages(include=["d2seg", "d2seg.*"]), "d2seg.configs"],
    package_dir={"d2seg.configs": "configs"},
    package_data={
        "d2seg": ["py.typed", "assets/**/*", "**/*.html", "inspect/runtimes/*.txt"],
        "d2seg.configs": ["**/*.yaml", "**/*.py", "README.md"],
    },
    install_requires=[
        "torch>=2.4",
        "torchvision",
        "fvcore",
        "iopath",
        "yacs",
        "pycocotools",
        "numpy",
        "pillow",
        "safetensors",
        "rich",
        "cloudpickle",
        "shapely",
        "tabulate",
        "jinja2",
    ],
    extras_require={
        "executorch": ["executorch>=1.3", "torchao"],
        # zarr 3 has no release for Python 3.10.
        "features": ["zarr>=3; python_version >= '3.11'", "pyarrow>=14.0.1"],
        "onnx": ["onnx>=1.19", "onnxscript>=0.5", "onnxruntime>=1.22"],
        # A model becomes an OpenVINO file by way of ONNX.
        "openvino": ["openvino>=2025.2", "nncf>=2.17", "onnx>=1.19", "onnxscript>=0.5"],
        "train": ["faster-coco-eval", "tensorboard"],
        "camera": ["opencv-python-headless"],
        "video": ["av>=14"],
        "viz": ["supervision>=0.31", "pandas"],
        "dev": [
            "av",
            "build",
            "executorch>=1.3",
            "hypothesis",
            "import-linter",
            "mypy",
            "nncf",
            "omegaconf",
            "onnx",
            "onnxruntime",
            "onnxscript",
            "openvino",
            "pandas",
            "pyarrow",
            "pytest",
            "pytest-xdist",
            "ruff",
            "scikit-learn",
            "scipy",
            "setuptools>=70.1",
            "supervision",
            "types-PyYAML",
            "zarr>=3; python_version >= '3.11'",
        ],
    },
    entry_points={"console_scripts": ["d2seg = d2seg.cli:main"]},
)
