"""The embedded framework: detectron2's contract in pure PyTorch and torchvision.

Public module paths mirror detectron2's, so ``detectron2.modeling.build_model`` is
``d2seg.core.modeling.build_model``.
"""

from d2seg.core.runtime.torch_install import require_matching_torchvision

__version__ = "0.6"
"""The detectron2 release whose contract this framework honours."""

require_matching_torchvision()
