import io
import threading
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from activelearning.errors import UserError
from trainer import letterbox
from trainer.letterbox import FILL, Letterbox, decode_image, input_size, read_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def _encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _quadrants(width: int = 64, height: int = 32) -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, WHITE
    return Image.fromarray(pixels)


def _corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    height, width = pixels.shape[:2]
    places = [(height // 4, width // 4), (height // 4, -width // 4), (-height // 4, width // 4), (-height // 4, -width // 4)]
    return [tuple(int(round(float(value) / 255) * 255) for value in pixels[place]) for place in places]


@pytest.mark.parametrize(
    ("long_side", "sizes", "expected"),
    [
        (320, [(640, 480)], (320, 256)),
        (320, [(480, 640)], (256, 320)),
        (320, [(100, 100)], (320, 320)),
        (330, [(640, 480)], (320, 256)),
        (320, [(6000, 100)], (320, 32)),
        (10, [(640, 480)], (32, 32)),
        (320, [(640, 480), (640, 480), (480, 640)], (320, 256)),
        (320, [(640, 480), (480, 640)], (320, 320)),
        (640, [(1920, 1080)], (640, 352)),
    ],
)
def test_input_size_follows_the_median_shape(long_side, sizes, expected):
    assert input_size(long_side, sizes) == expected


def test_input_size_without_images_is_an_error():
    with pytest.raises(UserError, match="no image"):
        input_size(320, [])


@settings(deadline=None)
@given(
    st.tuples(st.integers(8, 5000), st.integers(8, 5000)),
    st.tuples(st.sampled_from([64, 320, 640]), st.sampled_from([64, 256])),
    st.tuples(st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0.5, 1), st.floats(0.5, 1)),
)
def test_to_image_is_the_inverse_of_to_input(size, into, fractions):
    assume(max(size) < 100 * min(size))
    inner = letterbox.fit(size, into)
    box = Letterbox((inner[0] / size[0], inner[1] / size[1]), ((into[0] - inner[0]) // 2, (into[1] - inner[1]) // 2))
    xyxy = np.array([fractions]) * [*size, *size]
    moved = box.to_input(xyxy)
    assert (moved >= -0.01).all() and (moved <= np.array([*into, *into]) + 0.01).all()
    assert box.to_image(moved) == pytest.approx(xyxy, abs=2e-3 * max(size) / 10)


def test_read_image_fills_what_the_image_leaves():
    image = read_image(_encoded(_quadrants(64, 32)), (64, 64))
    assert image.size == (64, 32)
    assert image.letterbox == Letterbox((1, 1), (0, 16))
    assert (image.pixels[:16] == FILL).all() and (image.pixels[48:] == FILL).all()
    assert _corners(image.pixels[16:48]) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("size", [(3, 900), (900, 3), (1, 1), (17, 5)])
def test_read_image_takes_any_shape(size):
    assert read_image(_encoded(Image.new("RGB", size, RED)), (64, 32)).pixels.shape == (32, 64, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "corners"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (4, [BLUE, WHITE, RED, GREEN]),
        (5, [RED, BLUE, GREEN, WHITE]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (7, [WHITE, GREEN, BLUE, RED]),
        (8, [GREEN, WHITE, RED, BLUE]),
    ],
)
def test_exif_orientation_is_applied(kind, orientation, corners):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels, size = decode_image(_encoded(_quadrants(), kind, exif=exif), (64, 64))
    assert size == ((32, 64) if orientation >= 5 else (64, 32))
    assert pixels.shape[:2] == size[::-1]
    assert _corners(pixels) == corners


def test_a_large_jpeg_is_decoded_smaller_but_never_below_what_is_needed():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels, size = decode_image(_encoded(_quadrants(1600, 800), "JPEG", exif=exif), (96, 192))
    assert size == (800, 1600)
    assert pixels.shape == (200, 100, 3) or pixels.shape == (400, 200, 3)
    assert _corners(pixels) == [BLUE, RED, WHITE, GREEN]


def test_sixteen_bit_grey_keeps_its_range():
    ramp = np.linspace(0, 65535, 64 * 8).reshape(8, 64).astype(np.uint16)
    pixels, _ = decode_image(_encoded(Image.fromarray(ramp)), (64, 64))
    assert (pixels == (ramp >> 8)[..., None]).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "I", "F", "LAB", "HSV"])
def test_other_modes_become_rgb(mode):
    kind = "TIFF" if mode in ("CMYK", "YCbCr", "F", "LAB", "I") else "PNG"
    image = _quadrants().convert("RGB" if mode in ("LAB", "HSV") else mode)
    pixels, _ = decode_image(_encoded(image, kind), (64, 64))
    assert pixels.shape == (32, 64, 3) and pixels.dtype == np.uint8


def test_transparent_pixels_show_the_fill():
    image = _quadrants().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 32, 16))
    pixels, _ = decode_image(_encoded(image), (64, 64))
    assert pixels[4, 4].tolist() == [FILL] * 3
    assert tuple(pixels[-4, -4]) == WHITE


def test_a_palette_with_transparency_bytes_gives_no_warning():
    palette = _quadrants().quantize(4)
    pixels, _ = decode_image(_encoded(palette, transparency=b"\x00\xff\xff\xff"), (64, 64))
    assert [FILL] * 3 in pixels.reshape(-1, 3).tolist()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_cut_off_file_is_one_plain_sentence(kind, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = _encoded(Image.fromarray(noise), kind)
    with pytest.raises(UserError) as error:
        decode_image(whole[: int(len(whole) * share)], (64, 64))
    assert "\n" not in str(error.value)
    assert "damaged or cut off" in str(error.value) or "no image" in str(error.value)


def test_a_damaged_file_never_raises_anything_else():
    random = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP"):
        whole = np.frombuffer(_encoded(_quadrants(), kind), np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            damaged[random.integers(0, len(whole), 8)] = random.integers(0, 256, 8)
            try:
                decode_image(damaged.tobytes(), (64, 64))
            except UserError as error:
                assert str(error)


def test_damaged_exif_does_not_cost_the_image():
    pixels, size = decode_image(_encoded(_quadrants(), "JPEG", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff\x01"), (64, 64))
    assert size == (64, 32)
    assert _corners(pixels) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("content", [b"", b"filename,class\n", b"\xff\xd8\xff"])
def test_what_is_no_image_is_an_error(content):
    with pytest.raises(UserError, match=r"no image|damaged"):
        decode_image(content, (64, 64))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.jpg: there is no such file"):
        decode_image(tmp_path / "gone.jpg", (64, 64))


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match="million pixels"):
        decode_image(_encoded(_quadrants(100, 100)), (64, 64))
    # between the limit and twice the limit Pillow only warns
    decode_image(_encoded(_quadrants(40, 40)), (64, 64))


def test_many_threads_leave_the_warning_filters_as_they_were(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    content, before = _encoded(_quadrants(40, 40)), list(warnings.filters)
    readers = [threading.Thread(target=lambda: [decode_image(content, (64, 64)) for _ in range(20)]) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert warnings.filters == before
