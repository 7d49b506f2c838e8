"""What the core needs to know of an image file: its upright size and its content hash."""

import hashlib
import io
import warnings

from activelearning.errors import UserError

HASH_DIGITS = 16
"""64 bits of SHA-256: enough to notice a replaced image, short enough for every row of a table."""

_TRANSPOSED = (5, 6, 7, 8)
_ORIENTATION = 0x0112


def content_hash(content: bytes) -> str:
    """The first hexadecimal digits of the SHA-256 of an image file."""
    return hashlib.sha256(content).hexdigest()[:HASH_DIGITS]


def upright_size(content: bytes, where: str) -> tuple[int, int]:
    """Width and height in pixels after the EXIF orientation is applied, as browsers, CVAT and OpenCV show it.

    Reads the header only. Raises `UserError` when the bytes are no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                turned = image.getexif().get(_ORIENTATION) in _TRANSPOSED
                width, height = image.size
    except Image.DecompressionBombWarning:
        raise UserError(f"{where}: the image is larger than {Image.MAX_IMAGE_PIXELS:,} pixels; cut it into tiles") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(f"{where}: this is not an image that can be read; replace the file or remove it") from None
    return (height, width) if turned else (width, height)
