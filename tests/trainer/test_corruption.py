"""Corruptions against the formulas, Pillow, scipy and the standard library."""

import colorsys
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from activelearning.errors import UserError
from trainer.corruption import CORRUPTIONS, SEVERITIES, corrupt, corrupt_boxes, generator_of

FLIPS = ("horizontal_flip", "vertical_flip")
GRADED = tuple(name for name in CORRUPTIONS if name not in FLIPS)
RANDOM = ("gaussian_noise", "shot_noise", "motion_blur", "fog", "snow", "rain")


def picture(seed: int, height: int = 60, width: int = 90) -> np.ndarray:
    """Coloured blocks with edges, of medium light."""
    blocks = np.random.default_rng(seed).integers(40, 190, (-(-height // 10), -(-width // 15), 3), dtype=np.uint8)
    return blocks.repeat(10, 0).repeat(15, 1)[:height, :width]


def done(name: str, pixels: np.ndarray, severity: int = 3, image: str = "a.jpg", seed: int = 0) -> np.ndarray:
    return corrupt(name, pixels, severity, generator_of(image, seed))


def spot(side: int = 61) -> np.ndarray:
    """One white square of 5 pixels in the middle of black."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[side // 2 - 2 : side // 2 + 3, side // 2 - 2 : side // 2 + 3] = 255
    return pixels


def moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (y, x) and covariance (2, 2) of the light of the first channel."""
    light = pixels[..., 0].astype(np.float64)
    places = np.array(list(np.ndindex(light.shape)))
    return np.average(places, axis=0, weights=light.ravel()), np.cov(places.T, aweights=light.ravel(), ddof=0)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (33, 50)])
def test_the_result_is_a_new_image_of_the_same_size_and_the_given_one_is_left_alone(name: str, size: tuple[int, int]) -> None:
    for severity in SEVERITIES:
        pixels = picture(1, *size)
        result = done(name, pixels, severity)
        assert result.shape == (*size, 3) and result.dtype == np.uint8
        assert not np.shares_memory(result, pixels) and result.flags.writeable
        assert (pixels == picture(1, *size)).all()


@pytest.mark.parametrize("name", GRADED)
@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_images_survive_without_wrapping_around(name: str, value: int) -> None:
    result = done(name, np.full((20, 20, 3), value, np.uint8), 5).astype(int)
    if name in ("contrast", "gaussian_blur", "defocus_blur", "motion_blur", "histogram_equalisation", "jpeg"):
        assert (np.abs(result - value) <= 1).all()
    if name in ("brightness", "snow") and value == 255:
        assert (result == 255).all()


@pytest.mark.parametrize("name", GRADED)
def test_each_severity_is_farther_from_the_image_than_the_one_before(name: str) -> None:
    for seed in range(5):
        pixels = picture(seed)
        off = [np.sqrt(((done(name, pixels, severity, f"{seed}") / 255 - pixels / 255) ** 2).mean()) for severity in SEVERITIES]
        assert off[0] > 0 and (np.diff(off) > 0).all(), (seed, off)


@pytest.mark.parametrize("name", RANDOM)
def test_an_image_name_and_a_seed_give_the_same_result_and_others_another(name: str) -> None:
    pixels = picture(2)
    assert (done(name, pixels) == done(name, pixels)).all()
    assert (done(name, pixels) != done(name, pixels, image="b.jpg")).any()
    assert (done(name, pixels) != done(name, pixels, seed=1)).any()


def test_any_image_name_has_its_generator() -> None:
    names = ["", "ä/ b.jpg", "\n", "\udcff", "x" * 2000]
    assert len({generator_of(name, 0).random() for name in names}) == len(names)


def test_flips_by_hand() -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    top, bottom = [pixels[0, x].tolist() for x in range(3)], [pixels[1, x].tolist() for x in range(3)]
    assert done("horizontal_flip", pixels).tolist() == [top[::-1], bottom[::-1]]
    assert done("vertical_flip", pixels).tolist() == [bottom, top]
    xyxy = np.array([[10, 20, 30, 60]], np.float32)
    assert corrupt_boxes("horizontal_flip", xyxy, (100, 200)).tolist() == [[70, 20, 90, 60]]
    assert corrupt_boxes("vertical_flip", xyxy, (100, 200)).tolist() == [[10, 140, 30, 180]]
    assert xyxy.tolist() == [[10, 20, 30, 60]]


@pytest.mark.parametrize("name", FLIPS)
def test_a_flip_done_twice_is_undone_and_its_box_stays_on_the_object(name: str) -> None:
    pixels = np.zeros((40, 70, 3), np.uint8)
    pixels[5:12, 20:50] = 255
    box = np.array([[20, 5, 50, 12]], np.float32)
    assert (done(name, done(name, pixels)) == pixels).all()
    assert (corrupt_boxes(name, corrupt_boxes(name, box, (70, 40)), (70, 40)) == box).all()
    xmin, ymin, xmax, ymax = corrupt_boxes(name, box, (70, 40))[0].astype(int)
    flipped = done(name, pixels)
    assert (flipped[ymin:ymax, xmin:xmax] == 255).all() and flipped.sum() == pixels.sum()


@pytest.mark.parametrize("name", GRADED)
def test_what_is_no_flip_leaves_the_boxes(name: str) -> None:
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 9]], np.float32)
    moved = corrupt_boxes(name, boxes, (10, 10))
    assert (moved == boxes).all() and moved is not boxes
    assert corrupt_boxes(name, np.zeros((0, 4), np.float32), (10, 10)).shape == (0, 4)


@pytest.mark.parametrize(("severity", "std"), list(enumerate((0.08, 0.12), 1)))
def test_gaussian_noise_has_the_papers_standard_deviation(severity: int, std: float) -> None:
    noise = done("gaussian_noise", np.full((200, 200, 3), 128, np.uint8), severity) / 255 - 128 / 255
    assert noise.std() == pytest.approx(std, rel=0.02) and abs(noise.mean()) < 0.002


def test_shot_noise_varies_as_light_by_photons() -> None:
    for light in (51, 128):
        noisy = done("shot_noise", np.full((200, 200, 3), light, np.uint8), 1) / 255
        # Poisson: the variance of n/60 with mean 60·light is light/60
        assert noisy.var() == pytest.approx(light / 255 / 60, rel=0.03) and noisy.mean() == pytest.approx(light / 255, rel=0.02)


def test_gaussian_blur_is_scipys_along_each_axis_and_channels_do_not_mix() -> None:
    pixels = picture(3)
    by_axis = gaussian_filter1d(gaussian_filter1d(pixels.astype(np.float64), 4, axis=0, mode="nearest"), 4, axis=1, mode="nearest")
    assert np.abs(done("gaussian_blur", pixels, 4) - by_axis).max() <= 0.5 + 1e-9
    red = pixels * np.array([1, 0, 0], np.uint8)
    assert (done("gaussian_blur", red, 4)[..., 1:] == 0).all()


def test_defocus_spreads_a_spot_over_a_disc() -> None:
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    blurred = done("defocus_blur", point, 1)[..., 0]
    y, x = np.mgrid[-20:21, -20:21]
    distance = np.hypot(x, y)
    # a disc of radius 3 has an area of about 28.3 pixels: 255 / 28.3 = 9.0
    assert (blurred[distance <= 2.5] == 9).all() and (blurred[distance >= 3.5] == 0).all()


def test_motion_blur_draws_a_spot_out_along_one_line_and_leaves_it_in_its_place() -> None:
    for name in ("a", "b", "c"):
        centre, covariance = moments(done("motion_blur", spot(), 5, name))
        across, along = np.linalg.eigvalsh(covariance)
        direction = np.linalg.eigh(covariance)[1][:, 1]
        # before, the variance of the spot is (5² − 1) / 12 = 2
        assert centre == pytest.approx([30, 30], abs=0.2) and across < 4 and along > 40
        assert abs(direction[1]) >= np.cos(np.deg2rad(47))


def test_contrast_pulls_each_channel_towards_its_mean() -> None:
    pixels = np.array([[[0, 10, 255], [200, 30, 255]]], np.uint8)
    assert done("contrast", pixels, 4).tolist() == [[[90, 19, 255], [110, 21, 255]]]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_is_value_added_in_hsv(severity: int) -> None:
    pixels = np.array([[[0, 0, 0], [10, 200, 90], [128, 128, 128], [255, 0, 7], [1, 0, 0]]], np.uint8)
    for before, after in zip(pixels[0], done("brightness", pixels, severity)[0], strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
        wanted = colorsys.hsv_to_rgb(hue, saturation, min(value + severity / 10, 1))
        assert after / 255 == pytest.approx(np.array(wanted), abs=0.501 / 255)


@pytest.mark.parametrize(("severity", "quality"), list(enumerate((25, 18, 15, 10, 7), 1)))
def test_jpeg_is_pillows_at_the_papers_quality(severity: int, quality: int) -> None:
    pixels, file = picture(4), io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    assert (done("jpeg", pixels, severity) == np.asarray(Image.open(file))).all()


def test_histogram_equalisation_spreads_narrow_light_over_the_whole_range_and_mixes_it_in_by_severity() -> None:
    ramp = np.repeat(np.arange(100, 110, dtype=np.uint8), 30).reshape(10, 30)[..., None].repeat(3, 2)
    equal = done("histogram_equalisation", ramp, 5)
    # ten equally frequent levels become 0, 1/9, … 9/9 of 255
    assert equal[:, 0, 0].tolist() == [0, 28, 57, 85, 113, 142, 170, 198, 227, 255] and (equal == equal[:, :1, :1]).all()
    mixed = done("histogram_equalisation", ramp, 2)
    assert np.abs(mixed - (ramp * 0.6 + equal * 0.4)).max() <= 0.7 + 1e-9


def test_histogram_equalisation_leaves_the_differences_between_the_channels() -> None:
    # lumas 0.299·20 + 100 = 106 and 0.299·20 + 110 = 116 become 0 and 255: 20 more red than luma 106 is 14 above it, the others 6 below
    pixels = np.array([[[120, 100, 100], [130, 110, 110]]], np.uint8)
    assert done("histogram_equalisation", pixels, 5).tolist() == [[[14, 0, 0], [255, 249, 249]]]


def test_fog_lightens_the_dark_dims_the_brightest_and_hides_edges() -> None:
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[:, 40:] = 200
    foggy = done("fog", pixels, 3).astype(int)
    # light and dark were 200 apart; 200·(m / (m + 2.5)) with m = 200/255 leaves 47.8
    apart = foggy[:, 40] - foggy[:, 39]
    assert np.median(apart) == pytest.approx(200 * (200 / 255) / (200 / 255 + 2.5), abs=3)
    assert foggy.max() <= 200 and foggy[:, :40].mean() > 20


def test_snow_only_whitens_and_more_flakes_fall() -> None:
    dark = np.full((90, 90, 3), 30, np.uint8)
    light = [done("snow", dark, severity).astype(int) for severity in SEVERITIES]
    assert (np.diff([30 * np.ones_like(dark, int), *light], axis=0) >= 0).all()
    counts = [(one[..., 0] > one[..., 0].min() + 20).mean() for one in light]
    assert counts[0] > 0 and (np.diff(counts) > 0).all()


def test_rain_falls_in_steep_streaks_under_a_darker_sky() -> None:
    rain = done("rain", np.full((200, 200, 3), 128, np.uint8), 5)[..., 0].astype(float)
    assert np.quantile(rain, 0.05) == pytest.approx(128 * 0.75, abs=2) and rain.max() > 128
    down, aside = (np.corrcoef(rain.ravel(), np.roll(rain, 5, axis).ravel())[0, 1] for axis in (0, 1))
    assert down > 0.4 and down > 3 * abs(aside)


def test_what_there_is_none_of_is_said_with_what_there_is() -> None:
    pixels = picture(0)
    with pytest.raises(UserError, match=r"no corruption 'frost', only gaussian_noise, .*, vertical_flip$"):
        done("frost", pixels)
    with pytest.raises(UserError, match="no corruption 'frost'"):
        corrupt_boxes("frost", np.zeros((0, 4), np.float32), (1, 1))
    for severity in (0, 6, -1):
        with pytest.raises(UserError, match=f"no severity {severity} of a corruption, only 1, 2, 3, 4, 5$"):
            done("vertical_flip", pixels, severity)


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_rgb_image_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"pixels must be uint8 of shape \(H, W, 3\)"):
        done("jpeg", pixels)


def test_to_import_the_corruptions_takes_neither_scipy_nor_torch() -> None:
    program = "import sys, trainer.corruption; sys.exit(any(name in sys.modules for name in ('scipy', 'torch')))"
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": ":".join(sys.path)})
