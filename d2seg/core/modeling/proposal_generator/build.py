"""Proposal generators by name."""

from typing import Any

from torch import nn

from d2seg.core.layers import ShapeSpec
from d2seg.core.runtime.registry import Registry

PROPOSAL_GENERATOR_REGISTRY = Registry("PROPOSAL_GENERATOR")
"""Classes called with ``(cfg, input_shape)``."""


def build_proposal_generator(cfg: Any, input_shape: dict[str, ShapeSpec]) -> nn.Module | None:
    """Build the generator that ``MODEL.PROPOSAL_GENERATOR.NAME`` names.

    Returns:
        None for the name ``PrecomputedProposals``: proposals then come with the inputs.
    """
    name = cfg.MODEL.PROPOSAL_GENERATOR.NAME
    if name == "PrecomputedProposals":
        return None
    return PROPOSAL_GENERATOR_REGISTRY.get(name)(cfg, input_shape)
