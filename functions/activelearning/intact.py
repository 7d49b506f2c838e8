"""Whether an image file is whole: a copy that was cut off has a good head, and shows half a picture."""

import io

from activelearning.errors import UserError
from activelearning.images import upright_size

_SCAN, _END = b"\xff\xda", b"\xff\xd9"


def check_whole(content: bytes, where: str) -> tuple[int, int]:
    """Upright width and height of an image that can be read to its end; `UserError` in one sentence if it cannot.

    A JPEG or PNG that has its end is taken as whole unread, so checking thousands costs little; anything else is decoded.
    """
    size = upright_size(content, where)
    if not _has_end(content):
        _decode(content, where)
    return size


def _has_end(content: bytes) -> bool:
    if content.startswith(b"\xff\xd8"):
        # A thumbnail in the head has an end of its own, but it stands before the picture's scans.
        return content.rfind(_END) > content.rfind(_SCAN)
    return content.startswith(b"\x89PNG") and content[-12:].find(b"IEND") == 4


def _decode(content: bytes, where: str) -> None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, IndexError, EOFError):
        raise UserError(f"{where}: the image is cut off or damaged; replace the file or remove it") from None
