import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import ExifTags, Image
from scipy.fft import dctn

from tests.trainer import scenes
from trainer import image_facts
from trainer.image_facts import perceptual_hash, time_taken
from trainer.letterbox import read_image


def smooth(seed: int, size: tuple[int, int] = (320, 240)) -> np.ndarray:
    """A picture of soft shapes."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


def file(pixels: np.ndarray, kind: str = "PNG", taken: str | None = None, **options: int) -> bytes:
    out, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Make] = "a camera"
    if taken is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    Image.fromarray(pixels).save(out, kind, exif=exif, **options)
    return out.getvalue()


def hashed(content: bytes) -> int:
    return image_facts.of_image(read_image(content, (320, 256)), content).phash


def apart(first: int, second: int) -> int:
    return (first ^ second).bit_count()


def test_the_hash_is_made_of_the_lowest_frequencies() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    low = dctn(grey.reshape(32, 2, 32, 3).mean((1, 3)), norm="ortho")[:8, :8].ravel()
    wanted = "".join(str(int(value > np.median(low[1:]))) for value in low)
    assert f"{perceptual_hash(pixels):064b}" == wanted


@pytest.mark.parametrize("seed", range(5))
def test_the_same_picture_in_another_size_or_file_has_nearly_the_same_hash(seed: int) -> None:
    whole = hashed(file(smooth(seed)))
    assert apart(whole, hashed(file(smooth(seed), "JPEG", quality=60))) <= 3
    larger = np.asarray(Image.fromarray(smooth(seed)).resize((1001, 750), Image.Resampling.LANCZOS))
    assert apart(whole, hashed(file(larger, "JPEG", quality=80))) <= 3
    assert apart(whole, hashed(file(np.minimum(smooth(seed).astype(int) + 8, 255).astype(np.uint8)))) <= 6


def test_different_pictures_have_different_hashes() -> None:
    every = [hashed(file(smooth(seed))) for seed in range(12)]
    assert min(apart(a, b) for i, a in enumerate(every) for b in every[i + 1 :]) > 12


@pytest.mark.parametrize("size", [(60, 320), (100, 320), (640, 120), (321, 51)])
def test_tall_and_wide_pictures_are_told_apart_by_what_they_show(size: tuple[int, int]) -> None:
    tall = [smooth(seed, size) for seed in range(12)]
    every = [hashed(file(pixels)) for pixels in tall]
    assert min(apart(a, b) for i, a in enumerate(every) for b in every[i + 1 :]) > 12
    # the padding changes nothing but the size
    assert max(apart(a, perceptual_hash(pixels)) for a, pixels in zip(every, tall, strict=True)) <= 3


def test_pictures_without_anything_have_the_same_hash_whatever_their_grey() -> None:
    assert len({perceptual_hash(np.full((96, 128, 3), grey, np.uint8)) for grey in (1, 77, 114, 255)}) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_time_is_the_cameras(kind: str) -> None:
    wanted = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC).timestamp()
    assert time_taken(file(scenes.scenes()[0].pixels, kind, "2024:02:29 23:59:58")) == wanted


@pytest.mark.parametrize("taken", [None, "", "0000:00:00 00:00:00", "2024-02-29", "2023:02:29 10:00:00", "\0" * 19, "x" * 5000])
def test_no_time_or_one_that_makes_no_sense_is_not_a_number(taken: str | None) -> None:
    assert np.isnan(time_taken(file(scenes.scenes()[0].pixels, "JPEG", taken)))


def test_a_damaged_file_has_no_time() -> None:
    whole = file(scenes.scenes()[0].pixels, "JPEG", "2024:02:29 23:59:58")
    for content in (b"", b"no picture", whole[:30], whole[:20] + b"\xff" * 40 + whole[60:]):
        assert np.isnan(time_taken(content))
