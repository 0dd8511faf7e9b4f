"""Runs files in the lite interpreter of another torch; needs nothing but that torch.

Called as ``python twin_runner.py JOBS RESULTS``. JOBS holds pairs of a file and its images
(3, H, W); RESULTS gets for each file what it returned for each image, or the text of the error.
"""

import sys

import torch
import torch.jit.mobile


def run_file(path, images):
    """Return the outputs of each image, or the text of the error that stopped the file."""
    try:
        module = torch.jit.mobile._load_for_lite_interpreter(path)
        with torch.no_grad():
            return [tuple(module(image)) for image in images]
    except RuntimeError as error:
        return str(error)


def main():
    """Run everything and save what came out."""
    torch.set_num_threads(1)
    results = [run_file(path, images) for path, images in torch.load(sys.argv[1])]
    loaded = sorted(name for name in sys.modules if name.startswith(("torchvision", "d2seg")))
    torch.save({"torch": str(torch.__version__), "loaded": loaded, "results": results}, sys.argv[2])


if __name__ == "__main__":
    main()
