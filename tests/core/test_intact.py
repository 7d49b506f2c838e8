"""Images that were cut off are told from whole ones."""

import io

import pytest
from PIL import Image

from activelearning import intact
from activelearning.errors import UserError

KINDS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")


def noise(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((120, 80), 60).convert("RGB").save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_image_tells_its_size(kind: str) -> None:
    assert intact.check_whole(noise(kind), "a") == (120, 80)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_was_cut_off_is_named(kind: str, share: float) -> None:
    content = noise(kind)
    with pytest.raises(UserError, match=r"^photo: "):
        intact.check_whole(content[: int(len(content) * share)], "photo")


def test_a_thumbnail_with_an_end_does_not_hide_a_cut() -> None:
    """Cameras put a small JPEG, with an end of its own, into the head of the large one."""
    content = noise("JPEG")
    thumbnail = b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content
    whole = content[:2] + thumbnail + content[2:]
    assert intact.check_whole(whole, "a") == (120, 80)
    with pytest.raises(UserError, match="cut off"):
        intact.check_whole(whole[:-500], "a")


def test_what_a_camera_appends_does_no_harm() -> None:
    assert intact.check_whole(noise("JPEG") + b"\0\0serial \xff\xda 17", "a") == (120, 80)


def test_a_progressive_jpeg_may_be_cut_between_its_scans() -> None:
    content = noise("JPEG", progressive=True)
    assert intact.check_whole(content, "a") == (120, 80)
    with pytest.raises(UserError, match="cut off"):
        intact.check_whole(content[: content.rfind(b"\xff\xda")], "a")
