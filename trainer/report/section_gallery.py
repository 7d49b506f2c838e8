"""The part of the report that shows the worst and the best test images.

Rule: images are ranked by what an annotator would have to mend, and ties are broken by rules that are stated on the page.
"""

import base64
from collections.abc import Sequence

import numpy as np

from trainer.judged import Judged
from trainer.report import gallery, markup, outcomes
from trainer.report.facts import Facts
from trainer.report.gallery import CORRECT, FALSE, MISSED, Drawn
from trainer.report.markup import Markup, Section, number
from trainer.report.outcomes import ImageScore
from trainer.report.section_trust import NO_SPLIT, SPLIT_REMEDY

_MOST_LABELS = 12
"""An image of more drafts has labels on its false ones only: the rest would be hidden under them."""


def section(facts: Facts) -> Section:
    """The worst and the best images."""
    title, judged = "The worst and the best images", facts.judged
    if judged is None or not facts.images:
        return Section("images", title, markup.absent(NO_SPLIT, SPLIT_REMEDY))
    kept = outcomes.drafts(judged, facts)
    scored = outcomes.scores(judged, facts.images, kept)
    found = outcomes.found_objects(judged, facts.images, kept)
    parts = [_LEAD, _legend(facts)]
    for heading, chosen in (("Worst", outcomes.worst(scored)), ("Best", outcomes.best(scored))):
        cards = [_card(facts, judged, kept, found[one.image], one) for one in chosen]
        none = None if cards else markup.absent("The test split has one image only.", "It stands among the worst; add test images.")
        parts += [markup.element("h3", heading), none or markup.element("div", *cards, class_="gallery")]
    return Section("images", title, markup.join(parts))


_LEAD = markup.lead(
    "Ranked by F1, the harmonic mean of precision and recall of the drafts. Of equal ones, first come more errors (worst) or more correct "
    "drafts (best), then the name. Look at the worst first: odd cameras and rare poses show here, and false drafts on real objects mean "
    "that labels of the test split are missing."
)


def _legend(facts: Facts) -> Markup:
    kinds = [("3px solid", CORRECT, "correct draft"), ("3px dashed", FALSE, "false draft"), ("3px dotted", MISSED, "missed object")]
    if facts.best_spread is not None:
        kinds.append(("5px solid", f"{CORRECT}88", "one standard deviation of a corner, to either side"))
    keys = (markup.element("span", class_="key", style=f"border:{line} {colour}") for line, colour, _ in kinds)
    items = [markup.element("li", key, words) for key, (*_, words) in zip(keys, kinds, strict=True)]
    unsure = None if facts.best_spread is not None else markup.element("li", "This model does not say how unsure it is of its corners.")
    return markup.element("ul", *items, unsure, class_="legend")


def _card(facts: Facts, judged: Judged, kept: np.ndarray, found: np.ndarray, score: ImageScore) -> Markup:
    thumbnail = gallery.load(facts.image, facts.images[score.image])
    words = _words(score)
    if thumbnail is None:
        shown = markup.element("p", "This image could not be read; look for it in the store.", class_="unread")
    else:
        rows = np.flatnonzero(kept & (judged.image == score.image))
        scale = np.tile(np.array(thumbnail.size) / facts.images[score.image].size, 2)
        boxes = _drafts(facts, judged, rows, scale) + _missed(facts, score.image, found, scale)
        spread = None if facts.best_spread is None else facts.best_spread[rows] * scale
        shown = _image(gallery.draw(thumbnail, boxes, spread), thumbnail.size, f"{score.name} with its boxes")
    return markup.element("figure", shown, markup.element("figcaption", markup.element("b", markup.name(score.name)), words), class_="card")


def _words(score: ImageScore) -> Markup:
    name = f"image.{score.image}"
    said = ["F1 ", number(f"{name}.f1", score.f1, "figure"), ": ", number(f"{name}.correct", score.correct, "count"), " correct, "]
    said += [number(f"{name}.false", score.false, "count"), " false, ", number(f"{name}.missed", score.missed, "count"), " missed"]
    return markup.element("span", *said)


def _drafts(facts: Facts, judged: Judged, rows: np.ndarray, scale: np.ndarray) -> list[Drawn]:
    found, right = judged.detections[rows], judged.correct()[rows]
    labels = [f"{facts.classes[label]} {score:.2f}" for label, score in zip(found.class_id, found.confidence, strict=True)]
    shown = [label if len(rows) <= _MOST_LABELS or not ok else "" for label, ok in zip(labels, right, strict=True)]
    colours = [CORRECT if ok else FALSE for ok in right]
    return list(zip(found.xyxy * scale, colours, shown, strict=True))


def _missed(facts: Facts, image: int, found: np.ndarray, scale: np.ndarray) -> list[Drawn]:
    truth = facts.images[image].truth
    names = [facts.classes[label] for label in truth.class_id[~found]]
    return [(box * scale, MISSED, name) for box, name in zip(truth.xyxy[~found], names, strict=True)]


def _image(jpeg: bytes, size: Sequence[int], alt: str) -> Markup:
    uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    return markup.element("img", src=uri, alt=alt, width=str(size[0]), height=str(size[1]), loading="lazy")
