"""Networks from feature maps to region proposals."""

from d2seg.core.modeling.proposal_generator.build import (
    PROPOSAL_GENERATOR_REGISTRY,
    build_proposal_generator,
)
from d2seg.core.modeling.proposal_generator.rpn import RPN
from d2seg.core.modeling.proposal_generator.rpn_head import (
    RPN_HEAD_REGISTRY,
    StandardRPNHead,
    build_rpn_head,
)
from d2seg.core.modeling.proposal_generator.rrpn import RRPN

__all__ = [
    "PROPOSAL_GENERATOR_REGISTRY",
    "RPN",
    "RPN_HEAD_REGISTRY",
    "RRPN",
    "StandardRPNHead",
    "build_proposal_generator",
    "build_rpn_head",
]
