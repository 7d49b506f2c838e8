"""The page as a browser shows it, at the width of a phone and of a desk, in light and in dark."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainer.test_report_facts import facts, without_split
from tests.trainer.test_report_page import hostile
from trainer import report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LIGHT, DARK = "1", "0"
"""What the browser calls the schemes."""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)")

# A window cannot be as narrow as a phone, but a frame can.
_FRAME = """<!doctype html><meta name="color-scheme" content="light dark">
<style>body{margin:0}iframe{border:0;display:block;width:%(width)spx}</style>
<iframe srcdoc="%(page)s"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement, box = e => e.getBoundingClientRect();
  page.querySelectorAll("img").forEach(e => e.loading = "eager");
  frame.style.height = root.scrollHeight + "px";
  const loose = [...page.querySelectorAll("header *, main *, footer *")].filter(e => !e.closest(".scroll"));
  document.body.dataset.measured = JSON.stringify({
    height: root.scrollHeight, width: root.scrollWidth,
    over: loose.filter(e => box(e).right > root.clientWidth + 1 || box(e).left < -1).map(e => e.outerHTML.slice(0, 90)),
    broken: [...page.images].filter(e => e.complete && !e.naturalWidth).map(e => e.alt),
    small: [...page.querySelectorAll("p, figcaption, td, th, li, a")].filter(e => parseFloat(getComputedStyle(e).fontSize) < 12).length,
    pictures: [...page.images].map(e => [box(e).left, box(e).top, box(e).right, box(e).bottom]),
    sections: [...page.querySelectorAll("section")].map(e => [e.id, box(e).top, box(e).bottom]),
  });
};
</script>"""


@cache
def _page() -> str:
    return report.write(facts(images=24)).html


def _browse(folder: Path, arguments: list[str], scheme: str) -> str:
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--virtual-time-budget=5000",
        f"--user-data-dir={folder}/profile",
    ]
    command = [BROWSER or "", *flags, f"--blink-settings=preferredColorScheme={scheme}", *arguments, (folder / "frame.html").as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def _show(folder: Path, page: str, width: int, scheme: str = LIGHT) -> dict[str, list]:
    (folder / "frame.html").write_text(_FRAME % {"width": width, "page": html.escape(page)}, encoding="utf-8")
    found = re.search(r'data-measured="([^"]*)"', _browse(folder, ["--dump-dom", f"--window-size={max(width, 600)},900"], scheme))
    assert found, "the page did not load"
    return json.loads(html.unescape(found[1]))


def _screenshot(folder: Path, page: str, width: int, scheme: str = LIGHT) -> tuple[np.ndarray, dict[str, list]]:
    measured = _show(folder, page, width, scheme)
    path = folder / f"report-{width}-{scheme}.png"
    _browse(folder, [f"--screenshot={path}", f"--window-size={max(width, 600)},{measured['height']}"], scheme)
    return np.asarray(Image.open(path).convert("RGB"))[:, :width], measured


def _colours(pixels: np.ndarray) -> int:
    return len(np.unique(pixels.astype(np.int64) @ [1 << 16, 1 << 8, 1]))


@pytest.mark.parametrize(("width", "scheme"), [(1280, LIGHT), (400, LIGHT), (1280, DARK)])
def test_every_section_and_picture_is_painted_and_nothing_is_cut(tmp_path: Path, width: int, scheme: str):
    pixels, measured = _screenshot(tmp_path, _page(), width, scheme)
    assert pixels.shape[:2] == (measured["height"], width)
    assert measured["width"] == width and measured["over"] == [] and measured["broken"] == [] and measured["small"] == 0
    assert [name for name, *_ in measured["sections"]] == ["performance", "thresholds", "confidence", "corners", "images", "places", "pool"]
    for name, top, bottom in measured["sections"]:
        part = pixels[int(top) : int(bottom)]
        assert bottom - top > 200 and _colours(part) > 100, name
        paper = part[6, width // 2].mean()
        assert (paper > 230) if scheme == LIGHT else (paper < 60), name
    assert len(measured["pictures"]) == 32
    for left, top, right, bottom in np.array(measured["pictures"]).astype(int).tolist():
        assert _colours(pixels[top:bottom, left:right]) > 20


def test_a_phone_has_one_picture_a_row_and_a_desk_has_two(tmp_path: Path):
    for width, columns in ((400, {1}), (1280, {1, 2, 3})):
        rows: dict[int, int] = {}
        for left, top, right, _ in _show(tmp_path, _page(), width)["pictures"]:
            assert right - left > 250
            rows[round(top / 8)] = rows.get(round(top / 8), 0) + 1
        assert set(rows.values()) == columns


@pytest.mark.parametrize("width", [320, 400, 768, 1280])
def test_nothing_is_wider_than_the_window_whatever_the_names_are(tmp_path: Path, width: int):
    for page in _odd_pages():
        measured = _show(tmp_path, page, width)
        assert measured["width"] == width and measured["over"] == []


@cache
def _odd_pages() -> tuple[str, ...]:
    long = replace(without_split(), run="x" * 300 + "/3", pool=None)
    return tuple(report.write(known).html for known in (hostile(), long))
