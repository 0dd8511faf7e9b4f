"""The demo model and its images, shipped inside the package (see README.md beside this file)."""

from pathlib import Path

FOLDER = Path(__file__).parent
DEMO_CONFIG_FILE = FOLDER / "nuclei.yaml"
BENCHMARK_CONFIG_FILE = FOLDER / "benchmark.yaml"
DEMO_IMAGES = FOLDER / "images"
