"""A quantized classifier's operating point put back without labels. NumPy and SciPy; milliseconds.

Few bits shift the classes' logits against one another, so the quantized model calls some classes
too often and others too seldom. What the float model calls on N unlabelled images is known, so we
choose one offset a class such that the quantized model calls as many of these images each class
as the float model does (:func:`match_shares`), and add the offsets to its bias.

The neighbours: Saerens, Latinne and Decaestecker (2002) move a classifier's priors to those of
unlabelled data; distribution alignment (Berthelot et al., 2020) does so for pseudo-labels; prior
matching (Liusie, Manakul and Gales, 2023) for prompts, to uniform shares. Here the shares are the
float model's. Bias correction (Nagel et al., 2019) matches mean outputs instead
(:func:`match_means`), and a last layer may be fitted anew to the float logits
(:func:`fit_last_layer`).

``logits`` are (N, C); ``offsets`` (C,) are to be added to each row."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from ltqlib.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SOFTNESS = (0.5, 0.1, 0.02, 0.005)  # of the maximum, in standard deviations of the logits
NEWTON, ROUNDS = 8, 20  # Newton steps at each softness; repetitions where that must converge
CLOSE = 1e-6  # images: so near to the target that no step is worth it
EXACT = 1e-12  # of a path's length: shorter by less is not shorter


def match_shares(quantized_logits: npt.ArrayLike, target: npt.ArrayLike) -> Floats:
    """One offset a class, so that each class is called as often as ``target`` says.

    The offsets b minimize the convex function ``sum_i max_c(z_ic + b_c) - sum_c n_c b_c``, whose
    slope in b_c is the number of images called c less the number n_c that should be: it is the
    dual of the transport problem that deals the images out to the classes. Newton steps on the
    same function with a soft maximum come near; the last images are moved along shortest paths
    between classes; and of all offsets that match, those in the middle are taken.

    Args:
        quantized_logits: (N, C) of unlabelled images.
        target: (N', C) float logits, whose calls are counted (the same images, best), or (C,)
            shares of the classes.

    Returns:
        Offsets (C,) with mean 0 over the classes that should be called; the others keep 0 if they
        are not called then, else are put just below. The match is exact.

    Raises:
        InputError: the shapes disagree, logits are not finite, or shares are no shares.
    """
    logits = _logits(quantized_logits)
    wanted = _wanted(target, *logits.shape)
    offsets = np.zeros(logits.shape[1])
    if (wanted == _calls(logits)).all():
        return offsets
    near = (wanted + 0.5) * len(logits) / (wanted + 0.5).sum()  # no class goes to minus infinity
    for softness in SOFTNESS:
        offsets = _smoothed(logits, near, offsets, softness * float(logits.std()))
    called = _deal(logits, (logits + offsets).argmax(axis=1), wanted)
    return _middle(_moves(logits, called), wanted > 0)


def match_probabilities(quantized_logits: npt.ArrayLike, float_logits: npt.ArrayLike) -> Floats:
    """One offset a class, so that each class has the mean softmax probability that it has in float.

    The smooth sister of :func:`match_shares` (Saerens et al. match so): every image counts for all
    classes, so that the offsets vary less from one sample of images to another.

    Args:
        quantized_logits: (N, C) of unlabelled images.
        float_logits: (N', C), of the same images at best.

    Returns:
        Offsets (C,) with mean 0.

    Raises:
        InputError: the shapes disagree, or logits are not finite.
    """
    quantized, floating = _logits(quantized_logits), _logits(float_logits)
    _same_classes(quantized, floating)
    target = special.softmax(floating, axis=1).mean(axis=0) * len(quantized)
    offsets = np.zeros(quantized.shape[1])
    for _ in range(ROUNDS):
        before, offsets = offsets, _smoothed(quantized, target, offsets, 1.0)
        if np.abs(offsets - before).max() < CLOSE:
            break
    return offsets - offsets.mean()


def match_group_share(
    quantized_logits: npt.ArrayLike, target: npt.ArrayLike | float, members: Sequence[int]
) -> Floats:
    """One offset for a whole group, so that it is called as often as ``target`` says.

    Args:
        quantized_logits: (N, C) of unlabelled images.
        target: (N', C) float logits, or the share of images that should be called the group's.
        members: labels of the group, the tail's say.

    Returns:
        Offsets (C,): the same number for each member, 0 for the others.

    Raises:
        InputError: as :func:`match_shares`, or the group has no class, or all of them.
    """
    logits = _logits(quantized_logits)
    inside = np.isin(np.arange(logits.shape[1]), list(members))
    if inside.all() or not inside.any():
        raise InputError("match_group_share needs some of the classes in the group, not all")
    gaps = logits[:, ~inside].max(axis=1) - logits[:, inside].max(axis=1)
    if np.ndim(target) == 0:
        share = float(target)  # type: ignore[arg-type]
    else:
        share = float(inside[_logits(target).argmax(axis=1)].mean())
    wanted = _wanted([1 - share, share], len(gaps), 2)
    return np.where(inside, _between(gaps, int(wanted[1])), 0.0)


def match_means(quantized_logits: npt.ArrayLike, float_logits: npt.ArrayLike) -> Floats:
    """Offsets (C,) that give each class the mean logit it has in float (Nagel et al., 2019, 4.2).

    Raises:
        InputError: the shapes disagree, or logits are not finite.
    """
    quantized, floating = _logits(quantized_logits), _logits(float_logits)
    _same_classes(quantized, floating)
    return np.asarray(floating.mean(axis=0) - quantized.mean(axis=0))


def fit_last_layer(
    features: npt.ArrayLike,
    float_logits: npt.ArrayLike,
    start: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    ridge: float = 1e-3,
) -> tuple[Floats, Floats]:
    """The linear layer that gives the float logits from the quantized model's features.

    Least squares in closed form, pulled towards ``start``::

        W, b = argmin |F W' + b - Z|^2 + ridge * mean|f|^2 * N * |W - W0|^2

    Args:
        features: (N, D) inputs of the quantized model's last layer; or its logits, D = C.
        float_logits: (N, C) of the same images.
        start: weight (C, D) and bias (C,) that ridge pulls to; left out, zeros.
        ridge: strength, in units of the mean squared feature.

    Returns:
        weight (C, D) and bias (C,).

    Raises:
        InputError: the shapes disagree, values are not finite, or ridge is below 0.
    """
    inputs, logits = _logits(features), _logits(float_logits)
    if len(inputs) != len(logits):
        raise InputError(f"features {inputs.shape} and logits {logits.shape} need the same images")
    if ridge < 0:
        raise InputError(f"ridge {ridge:g} is below 0: give a strength such as 1e-3")
    weight0 = np.zeros((logits.shape[1], inputs.shape[1]))
    if start is not None:
        weight0 = np.asarray(start[0], float)
        if weight0.shape != (logits.shape[1], inputs.shape[1]):
            raise InputError(f"start has a weight {weight0.shape} for logits {logits.shape}")
    center, middle = inputs.mean(axis=0), logits.mean(axis=0)
    spread, rest = inputs - center, logits - middle - (inputs - center) @ weight0.T
    penalty = ridge * float((spread**2).mean()) * len(inputs)
    gram = spread.T @ spread + penalty * np.eye(inputs.shape[1])
    weight = weight0 + np.linalg.lstsq(gram, spread.T @ rest, rcond=None)[0].T
    return weight, np.asarray(middle - weight @ center)


def _calls(logits: Floats) -> Ints:
    """How many images each class is called for, (C,)."""
    return np.bincount(logits.argmax(axis=1), minlength=logits.shape[1])


def _smoothed(logits: Floats, target: Floats, offsets: Floats, softness: float) -> Floats:
    """Newton steps on ``s * sum_i log sum_c exp((z_ic + b_c) / s) - n @ b`` with s the softness.

    ``target``: (C,) numbers n of images, not whole ones, above 0.
    """
    for _ in range(NEWTON):
        chances = special.softmax((logits + offsets) / softness, axis=1)
        calls = chances.sum(axis=0)
        if np.abs(target - calls).max() < CLOSE:
            break
        curvature = (np.diag(calls) - chances.T @ chances) / softness
        curvature += np.eye(len(calls)) * (1e-6 + 1e-6 * np.trace(curvature))
        step = np.linalg.solve(curvature, target - calls)
        offsets = offsets + step * min(1.0, 10 * softness / max(np.abs(step).max(), 1e-12))
    return offsets


def _deal(logits: Floats, called: Ints, wanted: Ints) -> Ints:
    """Classes (N,) of the images with ``wanted`` of each, at the greatest sum of their logits.

    ``called`` has the greatest sum for its own numbers; each image less that is wrong costs one
    shortest path (successive shortest paths of a transport problem).
    """
    called = called.copy()
    while (surplus := np.bincount(called, minlength=len(wanted)) - wanted).any():
        source = int(np.argmax(surplus))
        lengths, before = _shortest(_moves(logits, called), source)
        end = int(np.argmin(np.where(surplus < 0, lengths, np.inf)))
        chain = [end]
        while chain[-1] != source:
            chain.append(int(before[chain[-1]]))
        moved = {}
        for start, stop in itertools.pairwise(reversed(chain)):
            members = np.flatnonzero(called == start)
            moved[members[np.argmin(logits[members, start] - logits[members, stop])]] = stop
        called[list(moved)] = list(moved.values())
    return called


def _moves(logits: Floats, called: Ints) -> Floats:
    """(C, C): the least that the sum of logits loses where one image goes from row to column."""
    classes = logits.shape[1]
    least = np.full((classes, classes), np.inf)
    for label in np.unique(called):
        mine = logits[called == label]
        least[label] = (mine[:, label, None] - mine).min(axis=0)
    return least


def _shortest(lengths: Floats, source: int) -> tuple[Floats, Ints]:
    """Distance of each node from ``source`` and the node before it (Bellman and Ford)."""
    distance, before = lengths[source].copy(), np.full(len(lengths), source)
    distance[source] = 0.0
    for _ in range(len(lengths)):
        through = distance[:, None] + lengths
        best = through.argmin(axis=0)
        shorter = through.min(axis=0) < distance - EXACT
        if not shorter.any():
            break
        distance[shorter], before[shorter] = through.min(axis=0)[shorter], best[shorter]
    return distance, before


def _middle(moves: Floats, used: npt.NDArray[np.bool_]) -> Floats:
    """Offsets b with ``b_d - b_c <= moves_cd``, away from all bounds that leave room.

    Distances from a class and distances to it are corners of what is allowed; we take their mean.
    """
    for node in np.flatnonzero(used):  # Floyd and Warshall
        moves = np.minimum(moves, moves[:, node, None] + moves[node])
    inner = moves[np.ix_(used, used)]
    offsets = np.zeros(len(moves))
    offsets[used] = (inner.mean(axis=0) - inner.mean(axis=1)) / 2
    offsets[used] -= offsets[used].mean()
    bounds = (offsets[used, None] + moves[used]).min(axis=0)
    below = np.nextafter(bounds, -np.inf) - 1e-9 * np.abs(moves[used]).max()
    return np.where(used, offsets, np.minimum(0.0, below))


def _between(gaps: Floats, wanted: int) -> float:
    """The offset above ``wanted`` of the gaps, in the middle of the step; 0 if that is there."""
    gaps = np.sort(gaps)
    low = gaps[wanted - 1] if wanted else -np.inf
    high = gaps[wanted] if wanted < len(gaps) else np.inf
    if low < 0 <= high:
        return 0.0
    if np.isfinite(low) and np.isfinite(high):
        return float((low + high) / 2)
    return float(high) if np.isfinite(high) else float(np.nextafter(low, np.inf))


def _logits(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, float)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"logits must be (images, classes), not {array.shape}")
    if not np.isfinite(array).all():
        raise InputError("logits must be finite: a model that overflows cannot be repaired so")
    return array


def _same_classes(first: Floats, second: Floats) -> None:
    if first.shape[1] != second.shape[1]:
        raise InputError(f"logits {first.shape} and {second.shape} have different classes")


def _wanted(target: npt.ArrayLike, images: int, classes: int) -> Ints:
    """Whole numbers of images for each class, summing to ``images`` (largest remainders)."""
    shares = np.asarray(target, float)
    if shares.ndim == 2:
        shares = np.bincount(_logits(shares).argmax(axis=1), minlength=shares.shape[1])
        shares = shares / shares.sum()
    if shares.shape != (classes,):
        raise InputError(f"target has {shares.shape[-1:]} classes, the logits {classes}")
    if not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise InputError("shares must be at least 0 and sum to 1")
    exact = shares * images
    whole = np.floor(exact + 1e-9).astype(np.int64)
    for label in np.argsort(whole - exact, kind="stable")[: images - whole.sum()]:
        whole[label] += 1
    return whole
