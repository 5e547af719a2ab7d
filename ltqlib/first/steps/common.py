"""What the steps share: the data set of a run, its networks, and their predictions."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ltqlib.first import data as sources
from ltqlib.first import decouple as stage2
from ltqlib.first import models as networks
from ltqlib.first import paths
from ltqlib.first import train as training
from ltqlib.first.config import RunConfig
from ltqlib.first.errors import InputError
from ltqlib.first.models import Network
from ltqlib.first.records import HALVES, Record
from ltqlib.first.sensitivity import Configurations

Parents = dict[str, Record]
Payload = dict[str, Any]
Predictions = npt.NDArray[np.uint8]

load = functools.lru_cache(maxsize=1)(sources.load)  # the images of the last source asked for


def device_words(device: str) -> dict[str, str]:
    """Device, threads and number format that the step ran with."""
    found = training.find_device(device)
    name = torch.cuda.get_device_name(found) if found.type == "cuda" else found.type
    precision = "bfloat16" if training.has_bf16_units(found) else "float32"
    threads = str(torch.get_num_threads())
    return {"device": name, "threads": threads, "training_precision": precision}


def checked_dataset(config: RunConfig, record: Record) -> sources.Dataset:
    """The data set, after checking that it is the one the run began with."""
    dataset = load(config.data)
    if dataset.fingerprint() != record["payload"]["fingerprint"]:
        raise InputError(
            f"the images of {config.data} are not those that run {config.digest()} began with: "
            f"bring them back, or delete {paths.runs(config.digest())}"
        )
    return dataset


def baseline(config: RunConfig, parents: Parents, device: str) -> Network:
    """The network of stage 1 from its checkpoint, folded, in eval mode."""
    classes = len(parents["data"]["payload"]["classes"])
    network = networks.build(config, classes)
    digest = parents["train"]["payload"]["checkpoint"]
    networks.load_checkpoint(network, paths.weights(config.digest(), "model.safetensors"), digest)
    return networks.fold_batchnorm(network.to(training.find_device(device)))


def folded(config: RunConfig, parents: Parents, device: str, model: str) -> Network:
    """The float network called ``model`` (``baseline`` or a head of stage 2), folded."""
    network = baseline(config, parents, device)
    if model == "baseline":
        return network
    path = paths.weights(config.digest(), "heads.safetensors")
    tensors = networks.read_tensors(path, parents["decouple"]["payload"]["checkpoint"])
    return stage2.with_head(network, stage2.load_heads(tensors)[model])


def predict(network: Network, dataset: sources.Dataset) -> Predictions:
    """Predicted classes of the test images, (N,)."""
    return networks.predict_logits(network, dataset.test_images).argmax(1).astype(np.uint8)


def cross_fit(
    chosen_on_select: Predictions, chosen_on_report: Predictions, select: npt.NDArray[np.bool_]
) -> Predictions:
    """Each image's prediction by the model that was chosen without it (N,)."""
    return np.where(select, chosen_on_report, chosen_on_select).astype(np.uint8)


def cross_fitted(
    configurations: Configurations,
    images: sources.Images,
    chosen: Sequence[Mapping[str, Sequence[int]]],
    select: npt.NDArray[np.bool_],
    progress: str = "allocate",
) -> list[Predictions]:
    """Each image's prediction under the widths that the other half chose, (N,) a choice.

    All configurations are evaluated together, each on one half of the images only. ``chosen`` holds
    the weight bits of the layers by the half that chose them.
    """
    widths = [by_half[half] for by_half in chosen for half in HALVES]
    wanted = np.tile(np.stack([~select, select]), (len(chosen), 1))
    predictions = configurations.predict(images, widths, wanted, progress)
    return [
        cross_fit(of_select, of_report, select)
        for of_select, of_report in zip(predictions[::2], predictions[1::2], strict=True)
    ]
