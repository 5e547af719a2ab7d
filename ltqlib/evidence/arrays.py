"""Labelled arrays on disk: NetCDF files, compressed with xz, whole or not there.

``xarray.open_dataset(lzma.open(path))`` opens one without any code of ours. HDF5 does not notice a
flipped bit, xz does: every file carries the SHA-256 of what was compressed. xz takes a quarter less
room than HDF5's own compression, because it sees the headers as well.
"""

import io
import lzma
from pathlib import Path

import h5netcdf
import xarray as xr
from xarray.backends import H5NetCDFStore

from ltqlib.errors import InputError
from ltqlib.files import write_whole

SUFFIX = ".nc.xz"
PACKING = ("dtype", "scale_factor", "_FillValue")  # of what xarray knows, what we use
# 3 % smaller than xz's default, in twice the time
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME, "lc": 4, "pb": 0}]
LARGE = 2**12  # bytes from which on shuffling outweighs what HDF5 adds for it


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
            kept |= {"shuffle": True, "chunksizes": variable.shape}  # like bytes beside like
        stored[name].encoding = kept
    write_whole(path, lzma.compress(encode(stored), check=lzma.CHECK_SHA256, filters=FILTERS))


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
        return decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): compute it again") from error
    except lzma.LZMAError as error:
        raise InputError(f"{path} is damaged ({error}): delete it, run again") from error


def decode(content: bytes) -> xr.Dataset:
    """The dataset in the bytes of a file.

    Raises:
        lzma.LZMAError: they are not one whole compressed file with its checksum.
    """
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    plain = reader.decompress(content)
    if not reader.eof or reader.unused_data or reader.check != lzma.CHECK_SHA256:
        raise lzma.LZMAError("it is not one whole file")
    with xr.open_dataset(io.BytesIO(plain), engine="h5netcdf") as file:
        return file.load()
