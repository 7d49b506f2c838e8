"""The part of the report on what people made of the drafts: every number in it is of the batches."""

from dataclasses import replace

import pytest

from tests.trainer.test_report_facts import facts
from tests.trainer.test_report_numbers import Numbers
from trainer.report import ReturnedBatch, canvas, section_returned
from trainer.report.markup import Section

BATCHES = (
    ReturnedBatch("b1", "ann", 2, 10, 5, 2, 1, 2, 4, 60.0, 120.0),
    ReturnedBatch("b<2>", "bob", 4, 20, 18, 1, 0, 1, 0, 80.0, 160.0, 72.0),
)


def drawn(*batches: ReturnedBatch) -> list[Section]:
    with canvas.style():
        return section_returned.sections(replace(facts(), returned=batches))


def test_before_a_batch_came_back_there_is_no_such_part() -> None:
    assert drawn() == [] and drawn(replace(BATCHES[0], images=0)) == []


def test_the_numbers_are_those_of_the_batches() -> None:
    (section,) = drawn(*BATCHES)
    numbers = {name: value for name, (value, _) in Numbers(section.html()).values.items()}
    assert numbers["returned.images"] == 6 and numbers["returned.kept"] == pytest.approx(23 / 30)
    assert numbers["returned.deleted"] == pytest.approx(0.1) and numbers["returned.share"] == pytest.approx(0.5)
    assert numbers["returned.last.seconds"] == 20 and numbers["returned.last.drawing"] == 40 and numbers["returned.last.expected"] == 18
    assert numbers["returned.0.seconds"] == 30 and "returned.0.expected" not in numbers and numbers["returned.1.expected"] == 18
    assert "<2>" not in section.html() and [plot.name for plot in section.plots] == ["returned"]


def test_many_batches_list_the_newest() -> None:
    (section,) = drawn(*(replace(BATCHES[0], batch=f"b{number}") for number in range(30)))
    assert "the newest 20" in section.html() and ">b29<" in section.html() and ">b9<" not in section.html()


def test_a_batch_without_drafts_is_shown_too() -> None:
    (section,) = drawn(ReturnedBatch("seed", "ann", 3, 0, 0, 0, 0, 0, 9, 67.5, 67.5))
    assert "returned.kept" not in Numbers(section.html()).values
