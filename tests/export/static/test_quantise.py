"""Static models that compute in int8, before they are lowered. Only where ExecuTorch is."""

import importlib.util
from typing import Any

import pytest
import torch

from d2seg.export.deployable import DeployableRCNN
from d2seg.export.static.deployable import StaticRCNN
from d2seg.export.static.quantise import quantise
from tests.core.modeling.thin import _HEADS as HEADS
from tests.core.modeling.thin import ARCHITECTURES, thin_model
from tests.export.models import pictures

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("executorch") is None, reason="executorch is not installed"
    ),
    pytest.mark.filterwarnings("ignore"),  # deprecations within executorch and torchao
]

CANVAS_HW = (64, 96)


def test_without_images_it_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least one image to measure activations on"):
        quantise(StaticRCNN(DeployableRCNN(thin_model()), CANVAS_HW), [])


@pytest.mark.slow
def test_backbone_and_heads_compute_in_int8_and_what_judges_does_not() -> None:
    opts = {**HEADS, **ARCHITECTURES["keypoints"], "MODEL.RPN.PRE_NMS_TOPK_TEST": 100}
    static = StaticRCNN(DeployableRCNN(thin_model(opts)), CANVAS_HW)
    size = torch.tensor([60, 90])
    image = torch.zeros(3, *CANVAS_HW)
    image[:, :60, :90] = pictures()[0][:, :60, :90]
    graph: Any = quantise(static, [(image, size)])
    stored = [value.numel() for value in graph.buffers() if value.dtype == torch.int8]
    weights = [value.numel() for value in static.state_dict().values() if value.dim() > 1]
    assert 0.5 * sum(weights) < sum(stored) < sum(weights)
    with torch.no_grad():
        exact, rounded = static(image, size), graph(image, size)
    assert [one.shape for one in rounded] == [one.shape for one in exact]
    assert [one.dtype for one in rounded] == [one.dtype for one in exact]
    assert int(rounded[-1]) > 10
    assert not torch.equal(rounded[0], exact[0])
