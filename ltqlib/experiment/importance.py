"""``metrics``: sensitivity metrics of trained networks, remembered; read without torch."""

from collections.abc import Iterable

import xarray as xr

from ltqlib.data.halves import HALVES
from ltqlib.evidence import remember
from ltqlib.experiment.networks import Networks
from ltqlib.experiment.trained import Trained, check_data

WIDTHS = (8, 6, 5, 4, 3)
METHOD = "w-tensor"
COUNTS = {"outputs": 100, "fisher": 50, "curvature": 20}  # test images a class and half
PROBES = 8  # of the Hessian trace


def metrics(networks: Networks, bits: Iterable[int] = WIDTHS, method: str = METHOD) -> xr.Dataset:
    """Sensitivity metrics of every layer, measured on each half of the test images by itself.

    Args:
        networks: what ``train`` or ``decouple`` returned.
        bits: widths, each 2..8.
        method: of quantization: a local one that needs no calibration images.

    Returns:
        what :func:`ltqlib.importance.measure` returns, with the dimensions seed and half, and the
        coordinate group on class; the mean over the classes of a group is the metric of the group.

    Raises:
        InputError: a method that is not local, bits not 2..8, missing images or weights.
    """
    how = {"method": method, "bits": list(bits), "counts": COUNTS, "probes": PROBES}
    groups = [list(labels) for labels in networks.data.groups.values()]
    each = [
        _metrics(t, classifier=t.classifier, images=t.data.test.identity, head=groups[0], **how)
        for t in networks
    ]
    names = networks.data.test.group_of_class
    found = xr.concat(each, "seed", combine_attrs="drop").assign_coords(seed=networks.seeds)
    return found.assign_coords(group=("class", [names[c] for c in found["class"].values]))


@remember
def _metrics(
    trained: Trained,
    *,
    classifier: str,
    images: str,
    head: list[int],
    method: str,
    bits: list[int],
    counts: dict[str, int],
    probes: int,
) -> xr.Dataset:
    """Compute what is not known, (half, ...) in float32; the keywords say how, and are the key."""
    from ltqlib.importance import measure

    check_data(trained)
    graph = trained.graph()
    tail = [label for label in range(graph.classes) if label not in head]
    each = [
        measure(graph, half.images, half.labels, tail, bits, method, counts, probes)
        for half in trained.data.test.halves()
    ]
    return xr.concat(each, "half").assign_coords(half=list(HALVES)).astype("float32")
