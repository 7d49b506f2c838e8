"""Upright sizes as browsers show them, and every kind of broken file as one plain sentence."""

import io
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from activelearning.errors import UserError
from activelearning.images import HASH_DIGITS, content_hash, upright_size


def _picture(suffix: str = "JPEG", orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, suffix, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_after_turning(suffix: str, orientation: int) -> None:
    assert upright_size(_picture(suffix, orientation), "a") == ((40, 30) if orientation < 5 else (30, 40))


@pytest.mark.parametrize("suffix", ["JPEG", "PNG"])
def test_the_head_of_a_large_file_is_enough(suffix: str) -> None:
    out = io.BytesIO()
    Image.effect_noise((700, 600), 90).save(out, suffix)
    assert len(out.getvalue()) > 1 << 16 and upright_size(out.getvalue()[: 1 << 15], "a") == (700, 600)


@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xd8\xff", _picture()[:20]])
def test_what_is_no_image_is_said_so(content: bytes) -> None:
    with pytest.raises(UserError, match=r"a\.jpg: this is not an image that can be read; replace the file or remove it"):
        upright_size(content, "a.jpg")


def test_no_damage_ends_in_anything_but_a_size_or_a_sentence() -> None:
    dice = random.Random(0)
    for suffix in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        for _ in range(150):
            content = bytearray(_picture(suffix, 6))
            for _ in range(dice.randint(1, 4)):
                content[dice.randrange(min(len(content), 160))] = dice.randrange(256)
            try:
                assert len(upright_size(bytes(content), "a")) == 2
            except UserError as error:
                assert str(error).startswith("a: ")


def _huge_png() -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def test_an_image_too_large_is_refused_in_every_thread() -> None:
    def refused(content: bytes) -> str:
        try:
            upright_size(content, "big.png")
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(8) as pool:
        sentences = set(pool.map(refused, [_huge_png()] * 100))
    assert len(sentences) == 1 and "larger than" in sentences.pop()


def test_the_hash_tells_files_apart() -> None:
    assert content_hash(b"a") != content_hash(b"b") and len(content_hash(b"a")) == HASH_DIGITS
