import io
import os
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from defusedxml import ElementTree
from PIL import Image

from tests.trainer.test_report_facts import facts, rows, without_split
from tests.trainer.test_report_numbers import Numbers
from trainer import report
from trainer.detections import no_detections
from trainer.judged import Judged, judge
from trainer.report import (
    Facts,
    Pool,
    Report,
    Separation,
    canvas,
    section_gallery,
    section_performance,
    section_places,
    section_thresholds,
    section_trust,
)
from trainer.report.markup import Section

HOSTILE = "<script>alert(1)</script>\"' onload=x&amp;$\\frac{1}{0}$ {0} %s 🦉鳥"


class Outline(HTMLParser):
    """Every start tag with its attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, text: str) -> None:
        self.text += text


def _outline(known: Facts) -> Outline:
    return Outline(report.write(known).html)


def _said(section: Callable[[Facts], Section], known: Facts) -> str:
    with canvas.style():
        return Outline(section(known).html()).text


def _only(column: str, *values: str) -> list[dict[str, object]]:
    return [row for row in rows() if row[column] in values]


@cache
def _written() -> Report:
    return report.write(facts())


def hostile() -> Facts:
    """Facts whose every name tries to break out."""
    known = facts()
    names = {"petrel": HOSTILE, "gull": "g" * 300, "owl": "owl"}
    images = [replace(one, name=f"{HOSTILE}/{index}.jpg") for index, one in enumerate(known.images)]
    return replace(
        known,
        run=f"{HOSTILE}/3",
        classes=tuple(names.values()),
        performance=[
            row | {"class": names.get(str(row["class"]), row["class"]), "flow": str(row["flow"]).replace("main", HOSTILE)} for row in rows()
        ],
        images=images,
        image=lambda name: Image.new("L", (64, 48)),
        uncertainties={HOSTILE: known.uncertainties["any_other"]},
        separations=[Separation(HOSTILE, 0.5, 0.5, 0.5, 0.5, 1.0)],
        pool=Pool(np.array([0.5]), {HOSTILE: 3}),
        calibration={HOSTILE: (0.5, 0.4)},
    )


def test_the_same_facts_give_the_same_bytes():
    again = report.write(facts())
    assert again.html == _written().html
    assert again.pngs == _written().pngs


def test_drawing_needs_no_screen_and_leaves_the_settings_of_others_alone():
    # to ask for the backend is to choose one
    names = [name for name in mpl.rcParams if name != "backend"]
    before = {name: mpl.rcParams[name] for name in names}
    _said(section_places.pool, facts())
    assert {name: mpl.rcParams[name] for name in names} == before
    alone = "import sys, trainer.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", alone], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def test_the_page_needs_nothing_but_itself():
    html = _written().html
    for tag, attributes in Outline(html).tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "poster"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:image/", "#"))
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in html and "@import" not in html


def test_drawings_name_no_address_but_their_own_format():
    for plot in _svgs(_written().html):
        assert set(re.findall(r'https?://[^"\s]+', plot)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
        assert "<script" not in plot and "@import" not in plot


def _svgs(html: str) -> list[str]:
    return [b64decode(found).decode() for found in re.findall(r'data:image/svg\+xml;base64,([^"]+)"', html)]


def test_drawings_follow_the_scheme_of_the_reader():
    for plot in _svgs(_written().html):
        assert "prefers-color-scheme:dark" in plot
        drawn = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", plot))
        assert drawn <= {"none", "var(--ink)", "var(--muted)", "var(--line)", "var(--first)", "var(--second)", "var(--faint)"}


def test_names_from_outside_stay_text_in_the_page_and_in_its_drawings():
    html = report.write(hostile()).html
    found, drawings = Outline(html), [ElementTree.fromstring(plot) for plot in _svgs(html)]
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in Outline(_written().html).tags} | {"wbr"}
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    # heading, title, class, nine images, uncertainty in two tables and a map, pool, calibration
    assert found.text.count(HOSTILE) >= 15
    assert not any(part.tag.endswith("script") for drawing in drawings for part in drawing.iter())
    assert "".join("".join(drawing.itertext()) for drawing in drawings).count(HOSTILE[:17]) == 2


def test_every_picture_says_what_it_shows_and_every_table_and_section_has_a_name():
    found = Outline(_written().html)
    pictures = [attributes for tag, attributes in found.tags if tag == "img"]
    assert len(pictures) == 12 + 9
    assert all(len(one["alt"] or "") > 10 for one in pictures)
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    sections = [attributes for tag, attributes in found.tags if tag == "section"]
    assert len(sections) == 7 and all(one["aria-labelledby"] in ids for one in sections)
    assert {attributes["href"] for tag, attributes in found.tags if tag == "a"} == {f"#{one['id']}" for one in sections}
    assert all(attributes["aria-label"] for _, attributes in found.tags if attributes.get("role") == "region")


def test_headings_descend_one_step_at_a_time():
    levels = [int(tag[1]) for tag, _ in Outline(_written().html).tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_each_plot_is_a_file_too():
    pngs = _written().pngs
    names = ["learning-curve", "classes", "spider", "reliability", "intervals", "spread", "pool"]
    names += [f"heat-{name}" for name in ("ground-truth", "false", "missed", "uncertainty-1", "uncertainty-2")]
    assert set(pngs) == {f"{name}.png" for name in names}
    for content in pngs.values():
        image = Image.open(io.BytesIO(content))
        assert image.width > 500 and len(image.convert("RGB").getcolors(1 << 24) or ()) > 20


def test_the_page_stays_small_whatever_the_images_are():
    known = facts(images=30)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8))
    assert len(report.write(replace(known, image=lambda name: noise)).html) < 4_000_000


def test_many_classes_show_the_weakest():
    classes = [f"class-{index}" for index in range(100)]
    table = [
        row | {"class": label, "value": 0.2 + index / 200}
        for index, label in enumerate(classes)
        for row in rows()
        if row["class"] == "petrel" and row["iteration"] == "3"
    ]
    known = replace(facts(), classes=classes, performance=[*rows(), *table])
    shown = Numbers(report.write(known).html).values
    assert len([name for name in shown if re.fullmatch(r"class\.\d+\.ap50", name)]) == 40
    assert shown["class.39.ap50"][0] == pytest.approx(0.2) and shown["class.0.ap50"][0] == pytest.approx(0.2 + 39 / 200)
    assert shown["classes.known"][0] == 100


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        (section_performance.section, {"performance": ()}, "This run was not evaluated. Give images to the test split"),
        (section_performance.section, {"performance": _only("iteration", "3")}, "comes with the next iteration that is evaluated"),
        (section_performance.section, {"performance": _only("class", "all", "owl")}, "No class has an object in the test split"),
        (section_trust.confidence, {"calibration": {}}, "This run is not calibrated. Calibration is learnt from"),
        (section_trust.confidence, {"probability": None}, "There is no calibrated probability yet"),
        (section_thresholds.section, {"separations": ()}, "No uncertainty was held against the truth. That needs"),
        (section_thresholds.section, {"separations": (Separation("x", None, None, None, None),)}, "None of them has a figure here"),
        (section_thresholds.section, {"shown_from": 0.0}, "keep 100.0% of the correct detections"),
        (section_places.places, {"uncertainties": {}}, "this model states none. Train a detector that predicts a spread"),
        (section_places.places, {"shown_from": 1.0}, "False drafts: none."),
        (section_places.pool, {"pool": None}, "No image of the pool has been predicted with this model. Upload images"),
        (section_places.pool, {"pool": Pool(np.zeros(0))}, "No image of the pool has been predicted with this model. Upload images"),
        (section_places.pool, {"pool": Pool(np.array([0.4]))}, "Automatic labelling is off."),
        (section_gallery.section, {"image": lambda name: None}, "This image could not be read; look for it in the store."),
    ],
)
def test_what_is_missing_is_said_and_what_to_do(section: Callable[[Facts], Section], changes: dict[str, object], said: str):
    assert said in _said(section, replace(facts(), **changes))
    assert said not in _said(section, facts())


def test_a_run_without_a_test_split_says_so_in_every_part_that_needs_one():
    found = _outline(without_split())
    assert found.text.count("There is no test split, so nothing was found") == 5
    assert len([tag for tag, _ in found.tags if tag == "img"]) == 1


def test_a_run_that_found_nothing_shows_what_it_missed():
    known = facts()
    judged = judge([no_detections(3)] * 9, [one.truth for one in known.images], 3)
    nothing = {"probability": None, "std": None, "uncertainties": {}, "separations": ()}
    written = report.write(replace(known, judged=judged, **nothing))
    assert Outline(written.html).text.count("The model found nothing at all on the test split. Train longer") == 3
    shown = Numbers(written.html).values
    assert shown["tile.objects_found"][0] == 0
    assert shown["heat.missed.boxes"] == shown["heat.ground-truth.boxes"]
    assert "heat-missed.png" in written.pngs and "heat-false.png" not in written.pngs


def _detected(known: Facts, **changes: object) -> Judged:
    """The same detections with something else about them, judged anew."""
    found = [known.judged.detections[known.judged.image == image] for image in range(len(known.images))]
    return judge([replace(one, **changes) for one in found], [one.truth for one in known.images], 3)


def test_a_model_without_spread_says_so():
    known = facts()
    said = _said(section_trust.corners, replace(known, judged=_detected(known, spread=None), std=None))
    assert "This model does not say how unsure it is of its corners. Train it again" in said


def test_detections_of_which_none_is_right_have_no_intervals_and_no_place():
    known = facts()
    found = [known.judged.detections[known.judged.image == image] for image in range(9)]
    judged = judge([replace(one, xyxy=one.xyxy + np.float32(900)) for one in found], [one.truth for one in known.images], 3)
    assert "No detection lies on an object of its class" in _said(section_trust.corners, replace(known, judged=judged))
    assert "Uncertainty:" not in _said(section_places.places, replace(known, judged=judged))


def test_a_threshold_that_removes_nothing_is_no_number():
    shown = Numbers(report.write(replace(facts(), separations=(Separation("any_other", 0.5, 0.1, 0.0, 0.1, float("inf")),))).html).values
    assert "separation.0.threshold" not in shown
    assert shown["profile.2.correct"][0] == 1


@pytest.mark.parametrize(("step", "said"), [(0.2, "more labels still pay"), (0.003, "level"), (-0.003, "level"), (-0.2, "a step back")])
def test_a_step_is_judged_by_its_size(step: float, said: str):
    table = [row | {"value": 0.61 + step} if row["iteration"] == "3" and row["class"] == "all" else row for row in rows()]
    assert said in _said(section_performance.section, replace(facts(), performance=table))


@pytest.mark.parametrize("images", [1, 2])
def test_the_smallest_test_splits_are_reported(images: int):
    written = report.write(facts(images=images))
    shown = Numbers(written.html).values
    assert len([name for name in shown if name.endswith(".f1")]) == images
    assert ("The test split has one image only." in Outline(written.html).text) == (images == 1)
