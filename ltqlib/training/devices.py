"""Where to compute: the device that is there, and what it computes quickly."""

import os
import shutil

import torch

# Images of a training from which on a ResNet is compiled: the minute that takes is made up for
COMPILED_FROM = 500_000


def find_device(wanted: str = "auto") -> torch.device:
    """``auto`` is CUDA, else MPS, else the CPU."""
    if wanted != "auto":
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def has_bf16_units(device: torch.device) -> bool:
    """Whether bfloat16 matrix products run on hardware made for them (AMX, AVX512-BF16, CUDA)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        cpu = torch.cpu
        return bool(cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported())
    return False


def convolves_bf16(device: torch.device) -> bool:
    """Whether oneDNN's convolutions take bfloat16; with AVX2 alone they do not."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def worth_compiling(arch: str, images: int, device: torch.device) -> bool:
    """Whether ``torch.compile`` makes a training of so many images shorter.

    Where a CPU has units for bfloat16, a ResNet-32 spends more time in BatchNorm, ReLU and sums
    than in its convolutions; compiled it trains 1.27 times as fast (book/log.md). In float32, and
    a VGG16, it does not; a GPU was not tried. Needs a C++ compiler.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    quick_products = device.type == "cpu" and has_bf16_units(device)
    return images >= COMPILED_FROM and arch == "resnet32" and quick_products and bool(compiler)
