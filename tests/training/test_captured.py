"""A captured step is the plain step: with a card bit for bit, without one as far as its keeping."""

import contextlib
from typing import ClassVar

import pytest
import torch

from ltqlib.config import from_profile
from ltqlib.data import load_data
from ltqlib.training import captured, loop, train_network
from ltqlib.training.captured import WARM_UP, Captured
from ltqlib.training.losses import DEFERRED_START
from ltqlib.training.mixup import Pair


class Recorded:
    """Stands for a CUDA graph: a replay computes again what was captured, on the same memory."""

    made: ClassVar[list["Recorded"]] = []

    def __init__(self):
        self.replays = 0
        Recorded.made.append(self)

    def replay(self):
        self.replays += 1
        self.owner.loss.copy_(self.owner.gradient(*self.arguments))


@pytest.fixture
def cuda(monkeypatch):
    """CUDA's streams and graphs, played on the CPU."""

    class Stream:
        def wait_stream(self, other):
            pass

    Recorded.made = []
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorded)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: contextlib.nullcontext())


def step(weight):
    """A gradient and, to look at it, a captured one of the same weight."""

    def gradient(pixels, labels, done):
        weight.grad = None
        first, second, share = labels if isinstance(labels, tuple) else (labels, labels, 1.0)
        late = 10.0 if done >= DEFERRED_START else 1.0
        loss = late * ((pixels * weight).sum(1) * (share * first + (1 - share) * second)).sum()
        loss.backward()
        return loss.detach()

    found = Captured(gradient)
    capture = found._capture

    def recorded(pixels, labels, done):
        graph = capture(pixels, labels, done)
        graph.owner, graph.arguments = found, (found.pixels, found.labels, done)
        return graph

    found._capture = recorded
    return gradient, found


@pytest.mark.parametrize("mixed", [False, True])
def test_every_step_sees_its_own_images_and_labels(cuda, mixed):
    weight = torch.randn(3, requires_grad=True)
    plain, fast = step(weight)
    steps = 10
    for number in range(steps):
        pixels, labels = torch.randn(4, 3), torch.randn(4)
        if mixed:
            labels = Pair(labels, torch.randn(4), 0.1 * number)
        loss, gradient = plain(pixels, labels, number / steps), weight.grad.clone()
        assert torch.allclose(fast(pixels, labels, number / steps), loss)
        assert torch.allclose(weight.grad, gradient)
    # captured after the warm-up, and anew where deferred weights begin
    assert [graph.replays for graph in Recorded.made] == [8 - WARM_UP, 2]


def test_the_callers_batch_is_not_kept(cuda):
    """What is replayed reads copies: a batch that is freed or changed afterwards does no harm."""
    weight = torch.randn(3, requires_grad=True)
    _, fast = step(weight)
    pixels, labels = torch.randn(4, 3), torch.randn(4)
    for _ in range(WARM_UP + 1):
        fast(pixels, labels, 0.0)
    assert fast.pixels.data_ptr() != pixels.data_ptr()
    assert fast.labels.data_ptr() != labels.data_ptr()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
@pytest.mark.parametrize(
    "recipe", [{}, {"loss": "ldam-drw"}, {"sam": 0.1}, {"mixup": 1.0}, {"arch": "resnet32"}]
)
def test_on_a_card_the_weights_are_the_same_bit_for_bit(recipe, monkeypatch):
    config = from_profile("smoke", **{"epochs": 5, "width": 0.25, **recipe})
    data, card = load_data("digits", 0.1), torch.device("cuda")
    fast, _ = train_network(config, data, card)
    monkeypatch.setattr(loop, "Captured", lambda gradient: gradient)
    plain, _ = train_network(config, data, card)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, fast.state_dict()[name]), name


def test_the_cpu_captures_nothing(monkeypatch):
    monkeypatch.setattr(captured.torch.cuda, "CUDAGraph", None)  # would raise
    config = from_profile("smoke", epochs=1, width=1 / 32)
    train_network(config, load_data("digits", 0.1), torch.device("cpu"))
