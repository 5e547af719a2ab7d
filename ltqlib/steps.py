"""What each step of a run computes: the payloads of the records."""

import functools
from typing import Any

import numpy as np
import torch

from ltqlib import data as sources
from ltqlib import longtail, models, paths
from ltqlib import train as training
from ltqlib.config import RunConfig
from ltqlib.errors import InputError
from ltqlib.records import Record, pack, pack_indices

Parents = dict[str, Record]
Payload = dict[str, Any]

_dataset = functools.lru_cache(maxsize=1)(sources.load)


def device_words(device: str) -> dict[str, str]:
    """Device, threads and number format that the step ran with."""
    found = training.find_device(device)
    name = torch.cuda.get_device_name(found) if found.type == "cuda" else found.type
    precision = "bfloat16" if training.has_bf16_units(found) else "float32"
    threads = str(torch.get_num_threads())
    return {"device": name, "threads": threads, "training_precision": precision}


def data(config: RunConfig, parents: Parents, device: str) -> Payload:
    """Which images exactly: counts, index list, test labels, the select half."""
    dataset = _dataset(config.data)
    counts, indices = dataset.long_tailed(config.imbalance_factor, config.class_order)
    return {
        "source": dataset.source,
        "note": dataset.note,
        "fingerprint": dataset.fingerprint(),
        "classes": list(dataset.classes),
        "counts": counts,
        "train_indices": pack_indices(indices),
        "test_labels": pack(dataset.test_labels),
        "select": pack(longtail.select_mask(dataset.test_labels)),
    }


def checked_dataset(config: RunConfig, record: Record) -> sources.Dataset:
    """The data set, after checking that it is the one the run began with."""
    dataset = _dataset(config.data)
    if dataset.fingerprint() != record["payload"]["fingerprint"]:
        raise InputError(
            f"the images of {config.data} are not those that run {config.digest()} began with: "
            f"bring them back, or delete {paths.runs(config.digest())}"
        )
    return dataset


def train(config: RunConfig, parents: Parents, device: str) -> Payload:
    """Stage 1; the checkpoint lies beside the record."""
    dataset = checked_dataset(config, parents["data"])
    folder = paths.runs(config.digest())
    resume = folder / "train-state.safetensors"
    network, payload = training.train(config, dataset, training.find_device(device), resume)
    payload["checkpoint"] = models.save_checkpoint(network, folder / "model.safetensors")
    payload["parameters"] = int(np.sum([p.numel() for p in network.parameters()]))
    resume.unlink(missing_ok=True)
    return payload
