"""Models as TorchScript, traced or compiled, under detectron2's path.

Files for devices are the work of ``d2seg.export``; this serves programs written for detectron2.
"""

from d2seg.core.export.flatten import TracingAdapter
from d2seg.core.export.torchscript import dump_torchscript_IR, scripting_with_instances

__all__ = ["TracingAdapter", "dump_torchscript_IR", "scripting_with_instances"]
