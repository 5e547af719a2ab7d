"""Labelled arrays on disk: NetCDF files that ``xarray.open_dataset`` opens, whole or not there.

HDF5 does not notice a flipped bit. Every file therefore ends in the SHA-256 of all that stands
before it, behind the end that HDF5 itself knows, where other readers do not look.
"""

import hashlib
import io
from pathlib import Path

import h5netcdf
import xarray as xr
from xarray.backends import H5NetCDFStore

from ltqlib.errors import InputError
from ltqlib.files import write_whole

PACKING = ("dtype", "scale_factor", "_FillValue")  # of what xarray knows, what we use
LARGE = 2**12  # bytes from which on compression outweighs what HDF5 adds for it
COMPRESSED = {"zlib": True, "complevel": 9, "shuffle": True}
MARK = b"\nsha256:"
TRAILER = len(MARK) + 64 + 1


def write_dataset(path: Path, dataset: xr.Dataset) -> None:
    """Write ``dataset`` as compressed NetCDF with its checksum.

    How a number is packed stands in a variable's ``encoding`` (``dtype``, ``scale_factor``), as
    xarray has it. The same dataset gives the same bytes.

    Raises:
        InputError: the disk is full or cannot be written; nothing is left behind.
    """
    stored = dataset.drop_encoding().copy()
    for name, variable in dataset.variables.items():
        kept = {k: v for k, v in variable.encoding.items() if k in PACKING}
        if variable.dtype.kind in "iufb" and variable.nbytes >= LARGE:
            kept |= {**COMPRESSED, "chunksizes": variable.shape}  # in one piece: like beside like
        stored[name].encoding = kept
    content = encode(stored)
    write_whole(path, content + MARK + hashlib.sha256(content).hexdigest().encode() + b"\n")


def encode(dataset: xr.Dataset) -> bytes:
    """The bytes of a NetCDF file; HDF5's newest layout, whose headers are 20 KB smaller a file."""
    content = io.BytesIO()
    with h5netcdf.File(content, "w", libver="latest") as file:
        dataset.dump_to_store(H5NetCDFStore(file, autoclose=False))
    return content.getvalue()


def read_dataset(path: Path) -> xr.Dataset:
    """Read and verify what :func:`write_dataset` wrote; everything is loaded, the file is closed.

    Raises:
        InputError: missing, truncated or altered.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): compute it again") from error
    content, trailer = content[:-TRAILER], content[-TRAILER:]
    if trailer != MARK + hashlib.sha256(content).hexdigest().encode() + b"\n":
        raise InputError(f"{path} is damaged (its checksum differs): delete it, run again")
    return decode(content)


def decode(content: bytes) -> xr.Dataset:
    """The dataset in the bytes of a file, which somebody has verified."""
    with xr.open_dataset(io.BytesIO(content), engine="h5netcdf") as file:
        return file.load()
