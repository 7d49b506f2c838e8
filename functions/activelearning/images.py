"""What the core needs to know of an image file: its upright size and its content hash."""

import hashlib
import io
import threading
import warnings
from typing import TYPE_CHECKING

from activelearning.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

HASH_DIGITS = 16
"""64 bits of SHA-256: enough to notice a replaced image, short enough for every row of a table."""

_TRANSPOSED = (5, 6, 7, 8)
_ORIENTATION = 0x0112
_WARNINGS = threading.Lock()
"""What a thread makes of a warning is changed for all threads."""


def content_hash(content: bytes) -> str:
    """The first hexadecimal digits of the SHA-256 of an image file."""
    return hashlib.sha256(content).hexdigest()[:HASH_DIGITS]


def upright_size(content: bytes, where: str) -> tuple[int, int]:
    """Width and height in pixels after the EXIF orientation is applied, as browsers, CVAT and OpenCV show it.

    Reads the header only. Raises `UserError` when the bytes are no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with _WARNINGS, warnings.catch_warnings():
            # Of corrupt metadata too, but for that an image can still be shown.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                width, height = _stored_size(image)
                return (height, width) if _orientation(image) in _TRANSPOSED else (width, height)
    except Image.DecompressionBombWarning:
        raise UserError(f"{where}: the image is larger than {Image.MAX_IMAGE_PIXELS:,} pixels; cut it into tiles") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(f"{where}: this is not an image that can be read; replace the file or remove it") from None


def _stored_size(image: "Image.Image") -> tuple[int, int]:
    from PIL.TiffImagePlugin import TiffImageFile

    # Pillow has turned a TIFF already, from some version on; its tags say how it is stored.
    return (int(image.tag_v2[256]), int(image.tag_v2[257])) if isinstance(image, TiffImageFile) else image.size


def _orientation(image: "Image.Image") -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  damaged or cut-off metadata raises nearly anything, and the size still stands
        return 1
