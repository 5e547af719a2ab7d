"""Mixed-precision quantization: costs, rankings, and the post's allocation of two widths."""

from collections.abc import Mapping, Sequence

import numpy as np

from ltqlib.errors import InputError


def average_weight_bits(widths: Mapping[str, int], parameters: Mapping[str, int]) -> float:
    """Bits a weight, averaged over all weights of the layers."""
    total = sum(parameters.values())
    return sum(widths[name] * count for name, count in parameters.items()) / total


def model_size(widths: Mapping[str, float], parameters: Mapping[str, int]) -> float:
    """Bytes of the quantized weights (scales and biases not counted)."""
    return sum(widths[name] * count for name, count in parameters.items()) / 8


def bops(widths: Mapping[str, int], act_bits: Mapping[str, int], macs: Mapping[str, int]) -> float:
    """Bit operations of one image: the sum of ``weight_bits * act_bits * MACs`` over layers.

    Baskin et al. (2021) in the form that HAWQ-v3 uses; float32 counts as 32 bits.
    """
    return float(sum(widths[name] * act_bits[name] * count for name, count in macs.items()))


def rank_by_drop(accuracy: Mapping[str, float], reference: float) -> list[str]:
    """Layers from most to least sensitive: ``Sen_n = Acc(A) - Acc(C_n)``, the post's figure 11.

    ``accuracy[layer]`` is the accuracy left with only that layer quantized, in percent; equal drops
    keep the order of the layers.
    """
    return sorted(accuracy, key=lambda name: accuracy[name] - reference)


def split_by_budget(
    ranking: Sequence[str],
    parameters: Mapping[str, int],
    budget: float,
    high: int = 6,
    low: int = 4,
) -> dict[str, int]:
    """The post's allocation: the most sensitive layers get ``high`` bits, the rest ``low``.

    The ranking is walked from its sensitive end; a layer gets ``high`` bits if the average weight
    bits stay within ``budget``, and is passed over if not.

    Raises:
        InputError: the ranking does not name every layer once, or the budget is below ``low``.
    """
    if sorted(ranking) != sorted(parameters):
        raise InputError("the ranking does not name every layer exactly once")
    if budget < low:
        raise InputError(
            f"a budget of {budget:g} average weight bits is below the smallest width {low}: "
            f"give at least {low}"
        )
    widths = dict.fromkeys(parameters, low)
    for name in ranking:
        widths[name] = high
        if average_weight_bits(widths, parameters) > budget + 1e-9:
            widths[name] = low
    return widths


def random_rankings(layers: Sequence[str], count: int, seed: int = 0) -> list[list[str]]:
    """``count`` random rankings: the null that a driven allocation must beat."""
    generator = np.random.default_rng(seed)
    return [[layers[i] for i in generator.permutation(len(layers))] for _ in range(count)]
