"""What the processor that runs the tests computes as others do."""

import platform
from pathlib import Path

import pytest

# x86 without VNNI adds pairs of products of 8 bits in 16 bits, which saturate (OpenVINO's manual,
# "Saturation (overflow) issue workaround"); other processors are not known to
CPU = Path("/proc/cpuinfo")
VNNI = not CPU.exists() or platform.machine() != "x86_64" or "vnni" in CPU.read_text()
needs_vnni = pytest.mark.skipif(not VNNI, reason="without VNNI, sums of 8-bit products saturate")
