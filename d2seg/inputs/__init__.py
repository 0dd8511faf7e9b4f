"""The pictures behind what a user names: files, folders, patterns, COCO files, videos, cameras."""

from d2seg.inputs.ahead import read_ahead
from d2seg.inputs.camera import Camera
from d2seg.inputs.finding import Sources, find_sources
from d2seg.inputs.source import Source
from d2seg.inputs.video import VIDEO_SUFFIXES

__all__ = ["VIDEO_SUFFIXES", "Camera", "Source", "Sources", "find_sources", "read_ahead"]
