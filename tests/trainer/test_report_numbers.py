"""Every number of the report against a second computation: plain loops over plain numbers, which share nothing with the report's own."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.stats import norm

from tests.trainer.test_report_facts import facts
from trainer import report
from trainer.report import Facts


@dataclass
class Box:
    """One detection, and what the loops find out about it."""

    image: int
    index: int
    xyxy: list[float]
    label: int
    confidence: float
    iou: float = 0.0
    own: int | None = None
    on_class: int | None = None
    errors: list[float] = field(default_factory=list)

    @property
    def right(self) -> bool:
        return self.own is not None


def boxes_of(known: Facts) -> list[Box]:
    """All detections, matched by loops: the most confident first takes the free object of its class that it overlaps most."""
    found = known.judged.detections
    boxes = [
        Box(int(known.judged.image[i]), i, found.xyxy[i].tolist(), int(found.class_id[i]), float(found.confidence[i]))
        for i in range(len(found))
    ]
    for image, one in enumerate(known.images):
        _match([box for box in boxes if box.image == image], one.truth.xyxy.tolist(), one.truth.class_id.tolist())
    return boxes


def _match(boxes: list[Box], objects: list[list[float]], labels: list[int]) -> None:
    taken: set[int] = set()
    for box in sorted(boxes, key=lambda box: -box.confidence):
        overlaps = [iou(box.xyxy, one) for one in objects]
        free = [k for k in range(len(objects)) if k not in taken and labels[k] == box.label and overlaps[k] >= 0.5]
        best = max(free, key=lambda k: overlaps[k]) if free else max(range(len(objects)), key=lambda k: overlaps[k], default=None)
        if free:
            taken.add(best)
            box.own, box.errors = best, [a - b for a, b in zip(box.xyxy, objects[best], strict=True)]
        if best is not None and overlaps[best] > 0:
            box.iou, box.on_class = overlaps[best], labels[best]


def iou(first: list[float], second: list[float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def expected(known: Facts) -> dict[str, float]:
    """Every number of the page by its name."""
    boxes = boxes_of(known)
    drafts = [box for box in boxes if box.confidence >= known.shown_from]
    kept_by_best = [box for box in boxes if known.uncertainties["unconfidence"][box.index] < 0.45]
    numbers = dict(_performance(known))
    for index, kept in enumerate((boxes, drafts, kept_by_best)):
        numbers |= {f"profile.{index}.{name}": value for name, value in _profile(known, boxes, kept).items()}
    numbers |= {f"drafts.{name}": numbers[f"profile.1.{short}"] for name, short in _SHORT.items()}
    numbers |= {"drafts.shown_from": 0.4, "tile.objects_found": numbers["profile.1.found"]}
    numbers["tile.drafts_correct"] = mean([box.right for box in drafts])
    numbers |= dict(_separations(known)) | dict(_reliability(known, boxes)) | dict(_intervals(known, boxes))
    numbers |= dict(_calibration(known)) | dict(_images(known, drafts)) | dict(_heat(known, drafts)) | dict(_pool(known))
    return numbers


_SHORT = {"correct_kept": "correct", "false_removed": "false", "objects_found": "found"}


def _performance(known: Facts) -> Iterator[tuple[str, float]]:
    value = {(str(row["iteration"]), row["class"], row["metric"]): row["value"] for row in known.performance if row["flow"] == "main"}
    yield from (("ap50", value["3", "all", "ap50"]), ("ap", value["3", "all", "ap"]), ("labelled_images", 60), ("test_images", 9))
    yield from (("curve.ap50", 0.64), ("curve.labelled_images", 60), ("curve.change", 0.64 - 0.61))
    yield from (("weakest.ap50", value["3", "gull", "ap50"]), ("classes.absent", 1))
    for place, (label, objects) in enumerate((("petrel", 20), ("gull", 10))):
        yield f"class.{place}.objects", objects
        yield f"class.{place}.change", value["3", label, "ap50"] - value["2", label, "ap50"]
        for metric in ("ap", "ap50", "ap75"):
            yield f"class.{place}.{metric}", value["3", label, metric]


def _profile(known: Facts, boxes: list[Box], kept: list[Box]) -> dict[str, float]:
    right, false = [box for box in boxes if box.right], [box for box in boxes if not box.right]
    kept_right, on_object = [box for box in kept if box.right], [box for box in kept if box.iou >= 0.5]
    objects = sum(len(one.truth.class_id) for one in known.images)
    gone = [box for box in false if box not in kept]
    return {
        "iou": mean([box.iou for box in kept_right]),
        "class": mean([box.label == box.on_class for box in on_object]),
        "found": len({(box.image, box.own) for box in kept_right}) / objects,
        "correct": len(kept_right) / len(right),
        "false": len(gone) / len(false),
    }


def _separations(known: Facts) -> Iterator[tuple[str, float]]:
    for index, row in enumerate(known.separations):
        for name in ("auc", "jsd", "fd_at_cd", "cd_at_fd", "threshold"):
            if getattr(row, name) is not None:
                yield f"separation.{index}.{name}", getattr(row, name)
    yield from (("budget", 0.95), ("budget.chance", 0.05), ("strongest.fd_at_cd", 0.37))


def _reliability(known: Facts, boxes: list[Box]) -> Iterator[tuple[str, float]]:
    stated = {"confidence": known.judged.detections.confidence.tolist(), "calibrated": known.probability.tolist()}
    for name, values in stated.items():
        yield f"reliability.{name}.ece", ece(values, [box.right for box in boxes])
    yield "reliability.stated", mean(stated["confidence"])
    yield "reliability.right", mean([box.right for box in boxes])


def ece(stated: list[float], right: list[bool]) -> float:
    total = 0.0
    for k in range(10):
        rows = [i for i, p in enumerate(stated) if k / 10 < p <= (k + 1) / 10 or (k == 0 and p == 0)]
        if rows:
            total += abs(math.fsum(stated[i] for i in rows) - sum(right[i] for i in rows))
    return total / len(stated)


def _intervals(known: Facts, boxes: list[Box]) -> Iterator[tuple[str, float]]:
    own = known.judged.detections.spread
    model = [np.hypot(own.aleatoric[i].astype(float), own.epistemic[i].astype(float)).tolist() for i in range(len(boxes))]
    for label, stds in (("model", model), ("calibrated", known.std.tolist())):
        pairs = [(error, std) for box in boxes if box.right for error, std in zip(box.errors, stds[box.index], strict=True)]
        for k in (1, 2, 3):
            yield f"within.{label}.{k}", mean([abs(error) <= k * std for error, std in pairs])
        yield f"intervals.{label}.miss", mean([abs(covered(pairs, level / 20) - level / 20) for level in range(1, 20)])
    yield "intervals.within", mean([abs(error) <= std for error, std in pairs])
    yield from (("intervals.due", norm.cdf(1) - norm.cdf(-1)), ("within.due.miss", 0.0))
    yield from ((f"within.due.{k}", norm.cdf(k) - norm.cdf(-k)) for k in (1, 2, 3))
    binned = bins_of(pairs)
    yield from (("spread.surest", binned[0][1]), ("spread.least", binned[-1][1]))


def covered(pairs: list[tuple[float, float]], level: float) -> float:
    return mean([abs(error) <= norm.ppf(0.5 + level / 2) * std for error, std in pairs])


def bins_of(pairs: list[tuple[float, float]], bins: int = 8) -> list[tuple[float, float]]:
    ordered, made = sorted(pairs, key=lambda pair: pair[1]), []
    whole, more = divmod(len(ordered), bins)
    for k in range(bins):
        part, ordered = ordered[: whole + (k < more)], ordered[whole + (k < more) :]
        made.append((math.sqrt(mean([std**2 for _, std in part])), math.sqrt(mean([error**2 for error, _ in part]))))
    return made


def _calibration(known: Facts) -> Iterator[tuple[str, float]]:
    for index, (before, after) in enumerate(known.calibration.values()):
        yield from ((f"calibration.{index}.before", before), (f"calibration.{index}.after", after))
        if before:
            yield f"calibration.{index}.change", after / before - 1


def _images(known: Facts, drafts: list[Box]) -> Iterator[tuple[str, float]]:
    # nine images: all of them are shown, five as the worst and four as the best
    for image, one in enumerate(known.images):
        right = sum(box.right for box in drafts if box.image == image)
        false = sum(not box.right for box in drafts if box.image == image)
        missed = len(one.truth.class_id) - right
        yield from ((f"image.{image}.correct", right), (f"image.{image}.false", false), (f"image.{image}.missed", missed))
        precision, recall = right / (right + false) if right + false else 1.0, right / (right + missed) if right + missed else 1.0
        yield f"image.{image}.f1", 2 * precision * recall / (precision + recall) if right or not false + missed else 0.0


def _heat(known: Facts, drafts: list[Box]) -> Iterator[tuple[str, float]]:
    found = {(box.image, box.own) for box in drafts if box.right}
    objects = [(image, k, box) for image, one in enumerate(known.images) for k, box in enumerate(one.truth.xyxy.tolist())]
    maps = {
        "ground-truth": [(image, box) for image, _, box in objects],
        "false": [(box.image, box.xyxy) for box in drafts if not box.right],
        "missed": [(image, box) for image, k, box in objects if (image, k) not in found],
    }
    for name, placed in maps.items():
        cells = heat_of([(fractions(known, *one), 1.0) for one in placed])
        yield f"heat.{name}.boxes", len(placed)
        yield from _peak(f"heat.{name}", {cell: weight for cell, (weight, _) in cells.items()})
    for index, values in enumerate(known.uncertainties.values()):
        cells = heat_of([(fractions(known, box.image, box.xyxy), float(values[box.index])) for box in drafts])
        means = {cell: total / weight for cell, (weight, total) in cells.items() if weight}
        yield f"heat.uncertainty.{index}.least", min(means.values())
        yield from _peak(f"heat.uncertainty.{index}", means)


def fractions(known: Facts, image: int, box: list[float]) -> list[float]:
    width, height = known.images[image].size
    return [box[0] / width, box[1] / height, box[2] / width, box[3] / height]


def heat_of(boxes: list[tuple[list[float], float]], rows: int = 36, columns: int = 48) -> dict[tuple[int, int], tuple[float, float]]:
    """By cell: the sum of the shares covered, and that of the values times the shares."""
    cells = {}
    for row in range(rows):
        for column in range(columns):
            shares = [_overlap(box, row / rows, (row + 1) / rows, column / columns, (column + 1) / columns) for box, _ in boxes]
            weights = [share * rows * columns for share in shares]
            cells[row, column] = (math.fsum(weights), math.fsum(w * value for w, (_, value) in zip(weights, boxes, strict=True)))
    return cells


def _overlap(box: list[float], top: float, bottom: float, left: float, right: float) -> float:
    return max(0.0, min(box[2], right) - max(box[0], left)) * max(0.0, min(box[3], bottom) - max(box[1], top))


def _peak(name: str, cells: dict[tuple[int, int], float]) -> Iterator[tuple[str, float]]:
    highest = max(cells.values())
    row, column = min(cell for cell, value in cells.items() if value >= highest - 1e-9)
    yield from ((f"{name}.peak", highest), (f"{name}.across", (column + 0.5) / 48), (f"{name}.down", (row + 0.5) / 36))


def _pool(known: Facts) -> Iterator[tuple[str, float]]:
    ordered = sorted(known.pool.confidence.tolist())
    yield from (("pool.images", len(ordered)), ("pool.median", ordered[len(ordered) // 2]))
    yield from ((f"pool.count.{index}", count) for index, count in enumerate(known.pool.counts.values()))


class Numbers(HTMLParser):
    """The numbers of a page by name, as their value and as they are written; and all other text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.values: dict[str, tuple[float, str]] = {}
        self.rest: list[str] = []
        self._within: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "wbr"):
            self._within.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._within.pop()[0] == tag

    def handle_data(self, text: str) -> None:
        tag, attributes = self._within[-1] if self._within else ("", {})
        if tag == "data":
            assert attributes["data-figure"] not in self.values
            self.values[attributes["data-figure"]] = (float(attributes["value"]), text)
        elif tag not in ("style", "title", "h1", "time") and not any("name" in (a.get("class") or "") for _, a in self._within):
            self.rest.append(text)


@pytest.mark.parametrize("seed", [5, 6])
def test_every_number_is_what_another_computation_says(seed: int):
    known = facts(seed=seed)
    shown = Numbers(report.write(known).html).values
    wanted = expected(known)
    assert shown.keys() == wanted.keys()
    for name, (value, _) in shown.items():
        assert value == pytest.approx(wanted[name], rel=1e-5, abs=1e-6), name


@cache
def _written() -> str:
    return report.write(facts()).html


def test_what_is_written_is_the_number_rounded():
    for name, (value, text) in Numbers(_written()).values.items():
        plain = text.replace("−", "-").replace(",", "").removesuffix(" px")
        digits = len(plain.partition(".")[2].rstrip("%"))
        written = float(plain.rstrip("%")) / (100 if plain.endswith("%") else 1)
        unit = 10.0**-digits / (100 if plain.endswith("%") else 1)
        assert abs(written - value) <= unit / 2 + 1e-9, (name, value, text)


def test_no_number_of_the_run_stands_outside_the_tested_ones():
    text = " ".join(Numbers(_written()).rest)
    constants = ("AP50", "AP75", "±2σ", "±3σ", "says 80% should be right 80%", "from 0 to 1", "0 is perfect", "F1")
    for constant in constants:
        assert constant in text
        text = text.replace(constant, "")
    assert not re.findall(r"\S*\d\S*", text)
