"""Named arrays in one blob: numpy's `npz`, without pickle.

Rule: what is read is hostile. Whatever is wrong with it becomes one plain sentence, and nothing large is unpacked before it was measured.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from activelearning.errors import UserError

_MOST_BYTES = 1 << 30


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as one file."""
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def half(features: np.ndarray) -> np.ndarray:
    """Features as float16, the largest there are for larger ones, 0 for what is not a number."""
    limit = float(np.finfo(np.float16).max)
    return np.asarray(np.nan_to_num(features, nan=0.0).clip(-limit, limit), np.float16)


def decode(content: bytes, expected: Mapping[str, tuple[str, int]], where: str) -> dict[str, np.ndarray]:
    """The arrays that are `expected`, by name their dtype and number of axes; others are passed over.

    Raises `UserError` for a file that is no such, or lacks one, or holds one of another kind.
    """
    try:
        _check_size(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: _checked(name, file[name], *kind) for name, kind in expected.items()}
    except (ValueError, KeyError, OSError, EOFError, TypeError, SyntaxError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise UserError(f"{where} is damaged ({error}): put a copy in its place, or delete it to do without") from None


def holds(content: bytes, name: str) -> bool:
    """Whether there is an array of that name; not in what is no such file."""
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(content)) as file:
        return f"{name}.npy" in file.namelist()
    return False


def _check_size(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        if sum(entry.file_size for entry in file.infolist()) > _MOST_BYTES:
            raise ValueError("it unpacks to more than 1 GiB")


def _checked(name: str, array: np.ndarray, dtype: str, axes: int) -> np.ndarray:
    if array.dtype != np.dtype(dtype) or array.ndim != axes:
        raise ValueError(f"{name} is {array.dtype} with {array.ndim} axes, not {dtype} with {axes}")
    return array
