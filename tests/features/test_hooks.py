import pytest
import torch
from torch import Tensor, nn

from d2seg.features import FeatureExtractor, capture
from tests.core.modeling.thin import thin_architecture


class Doubling(nn.Module):
    """Works in place on what its first layer gives."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)

    def forward(self, x: Tensor, factor: float = 2.0) -> Tensor:
        y = self.first(x)
        with torch.no_grad():
            y *= factor
        return self.second(self.second(y))


@pytest.fixture
def network() -> Doubling:
    return Doubling().requires_grad_(False)


def hooks_of(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_outputs_and_inputs_are_kept_call_by_call(network: Doubling) -> None:
    x = torch.randn(3, 2)
    with capture(network, ["first", "second:input", "second:output"]) as seen:
        result = network(x)
    first = network.first(x)
    assert torch.equal(seen["first"][0], first)  # not doubled in place
    assert torch.equal(seen["second:input"][0], 2 * first)
    assert len(seen["second:output"]) == 2
    assert torch.equal(seen["second:output"][1], result)


def test_several_arguments_come_as_a_tuple() -> None:
    network = nn.ModuleDict({"pair": nn.Bilinear(2, 2, 1)})
    one, other = torch.ones(1, 2), torch.zeros(1, 2)
    with capture(network, ["pair:input"]) as seen:
        network["pair"](one, input2=other)
    assert torch.equal(seen["pair:input"][0][0], one)
    assert torch.equal(seen["pair:input"][0][1], other)


def test_the_graph_is_kept_unless_gradients_are_off(network: Doubling) -> None:
    network.requires_grad_(True)
    with capture(network, ["second"]) as seen:
        network(torch.randn(3, 2))
    seen["second"][0].sum().backward()
    assert network.second.weight.grad is not None
    with torch.no_grad(), capture(network, ["second"]) as seen:
        network(torch.randn(3, 2))
    assert not seen["second"][0].requires_grad


def test_hooks_are_gone_however_the_block_ends(network: Doubling) -> None:
    with capture(network, ["first", "second:input"]):
        assert hooks_of(network) == 2
    assert hooks_of(network) == 0
    with pytest.raises(RuntimeError), capture(network, ["first"]):
        network(torch.randn(3, 7))
    assert hooks_of(network) == 0
    with pytest.raises(ValueError, match="no module"), capture(network, ["first", "gone"]):
        pass
    assert hooks_of(network) == 0


def test_an_unknown_module_names_the_nearest() -> None:
    model = thin_architecture("fpn")
    with (
        pytest.raises(ValueError, match=r"no module 'roi_heads.box_head.fc3'.*box_head\.fc1"),
        capture(model, ["roi_heads.box_head.fc3"]),
    ):
        pass


def test_a_single_string_is_no_list_of_names() -> None:
    with (
        pytest.raises(TypeError, match="list of paths, got the string 'first'"),
        capture(Doubling(), "first"),
    ):
        pass


def test_scripted_and_compiled_models_are_refused() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(TypeError, match="The model is scripted, and hooks"), capture(scripted, []):
        pass
    compiled = torch.compile(nn.Linear(2, 2), backend="eager")
    with pytest.raises(TypeError, match="The model is compiled, and hooks"), capture(compiled, []):
        pass
    inside = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    inside[1].compile(backend="eager")
    with pytest.raises(TypeError, match="part '1' of the model is compiled"), capture(inside, []):
        pass


def test_the_extractor_refuses_a_model_with_a_scripted_part() -> None:
    model = thin_architecture("fpn")
    model.backbone.top_block = torch.jit.script(nn.Sequential(nn.MaxPool2d(1, 2)))
    with pytest.raises(TypeError, match="part 'backbone.top_block' of the model is scripted"):
        FeatureExtractor(model, ["backbone"])
