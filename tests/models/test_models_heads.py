"""Heads of the second stage, with the statistics that shifted BatchNorm changes."""

import torch

from ltqlib.config import from_profile
from ltqlib.models import build, load_heads, with_head


def test_a_head_may_bring_statistics_of_batchnorm() -> None:
    network = build(from_profile("smoke"), 3).eval()
    name = "backbone.L1.norm.running_mean"
    flat = {
        "crt.weight": torch.ones_like(network.classifier.weight),
        "crt.bias": torch.full((3,), 2.0),
        f"crt.{name}": torch.full_like(network.state_dict()[name], 7.0),
    }
    changed = with_head(network, load_heads(flat)["crt"])
    assert (changed.state_dict()[name] == 7).all()
    assert (changed.classifier.weight == 1).all()
    assert (changed.classifier.bias == 2).all()
    assert not (network.state_dict()[name] == 7).any()
