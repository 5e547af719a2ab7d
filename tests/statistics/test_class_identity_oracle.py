"""The first edition's control for class identity is an oracle of the second's."""

import numpy as np
import pandas as pd
import pytest

from ltqlib.first import identity as first
from ltqlib.statistics import identity, mixed


@pytest.mark.parametrize("run_effects", [False, True])
@pytest.mark.parametrize("cluster", ["order", "run"])
def test_same_numbers_as_the_first_edition(cluster, run_effects):
    generator, rows = np.random.default_rng(5), []
    for order in range(4):
        counts = generator.permutation(5000 * 0.01 ** (np.arange(10) / 9)).astype(int)
        for seed in range(3):
            values = 3 * np.log10(counts) + generator.normal(size=10)
            for label in range(10):
                run = f"{order}/{seed}"
                rows.append((run, order, seed, f"c{label}", counts[label], values[label]))
    frame = pd.DataFrame(rows, columns=list(identity.COLUMNS))
    options = {"cluster": cluster, "run_effects": run_effects}
    ours, theirs = identity.fit_identity(frame, **options), first.fit_identity(frame, **options)
    assert ours.slope == pytest.approx(theirs.slope)
    groups = (["c0", "c1"], ["c5", "c6", "c7"])
    for mine, old in zip(
        identity.decompose(ours, 2, *groups), first.decompose(theirs, 2, *groups), strict=True
    ):
        assert mine == pytest.approx(old)
    assert mixed.fit_mixed(frame).slope == pytest.approx(first.fit_mixed(frame).slope)
