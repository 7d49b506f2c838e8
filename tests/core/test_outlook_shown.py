"""What status says of more labels: kept and read back, told in sentences, and never broken by what somebody wrote into the record."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activelearning import commits, layout, onboarding, outlook_shown, overview, overview_text
from activelearning.commits import Commit
from activelearning.errors import UserError
from activelearning.outlook_shown import Band, LeftOut, Measured, Outlook, Step
from activelearning.store import Blobs, Store, open_store

NOW = 1_800_000_000.0
OUTLOOK = Outlook(
    run="main/4",
    confidence=0.8,
    noise=0.014,
    worth=0.014,
    worth_images=100,
    probability=0.81,
    seconds_per_image=50.0,
    measured=(Measured("main/3", 75, 72, 0.584, 0.0163, False), Measured("main/4", 100, 72, 0.585, 0.0158, True)),
    left_out=(LeftOut("main/1", "it knew other classes"),),
    steps=(Step(20, 20, 0.006, 0.003, 0.011, 0.594, 0.575, 0.615), Step(40, 50, 0.011, 0.006, 0.022, 0.6, 0.579, 0.624)),
    curve=(Band(75, 0.58, 0.57, 0.59), Band(300.5, 0.62, 0.6, 0.66)),
)


def _store(content: bytes) -> Store:
    store = open_store("memory:", lambda: NOW)
    onboarding.create_project(store, onboarding.make_settings(("cat",), []))
    store.labels.create(layout.outlook("main/4"), content)
    commit = Commit(1, "train-1", "main/4", "main/4", "totag/main/4.csv", "", NOW, 10, 0, NOW)
    assert commits.publish(store.labels, commit, 0)
    return store


def _blobs(content: bytes) -> Blobs:
    return _store(content).labels


def test_what_is_written_is_read_back() -> None:
    assert outlook_shown.read(_blobs(outlook_shown.encode(OUTLOOK)), "main/4") == OUTLOOK


def test_a_run_without_a_record_has_none() -> None:
    assert outlook_shown.read(open_store("memory:").labels, "main/4") is None
    assert outlook_shown.shown(open_store("memory:").labels, "") == (None, ())


@pytest.mark.parametrize(
    ("changes", "headline"),
    [
        ({}, "40 more: +0.011 (80%: +0.006 to +0.022) for about 42 minutes of review"),
        ({"seconds_per_image": 130.0}, "40 more: +0.011 (80%: +0.006 to +0.022) for about 1.8 hours of review"),
        ({"seconds_per_image": 0.1}, "40 more: +0.011 (80%: +0.006 to +0.022) for about a minute of review"),
        ({"seconds_per_image": None}, "40 more: +0.011 (80%: +0.006 to +0.022)"),
        ({"steps": OUTLOOK.steps[:1]}, "20 more: +0.006 (80%: +0.003 to +0.011) for about 17 minutes of review"),
    ],
)
def test_the_headline_says_what_a_batch_brings_and_costs(changes: dict[str, Any], headline: str) -> None:
    now = "AP 0.585 (all classes, 72 test images) with 100 labelled images"
    assert replace(OUTLOOK, **changes).headline == f"{now}; {headline}"


@pytest.mark.parametrize(
    ("probability", "verdict", "said"),
    [
        (0.8, outlook_shown.PAYS, "going on pays: 100 more images raise AP by more than 0.014 (80% sure)"),
        (0.5, outlook_shown.OPEN, "too early to tell whether 100 more images raise AP by more than 0.014 (50% sure)"),
        (0.2, outlook_shown.LEVEL, "the gain is within the noise: 100 more images hardly raise AP by more than 0.014 (20% sure)"),
    ],
)
def test_the_advice_follows_from_the_probability(probability: float, verdict: str, said: str) -> None:
    found = replace(OUTLOOK, probability=probability)
    assert found.verdict == verdict
    assert found.advice == f"{said}; two runs differ by 0.014 by chance alone"


def test_status_tells_it_as_text_and_as_json() -> None:
    found = overview.overview(_store(outlook_shown.encode(OUTLOOK)), NOW)
    lines = overview_text.text(found).splitlines()
    assert [line for line in lines if line.startswith("outlook")] == [f"outlook    {OUTLOOK.headline}", f"outlook    {OUTLOOK.advice}"]
    value = json.loads(json.dumps(found.as_dict()))["outlook"]
    assert value["verdict"] == "pays" and value["sentences"] == [OUTLOOK.headline, OUTLOOK.advice]
    assert [(step["more"], step["gain"], step["minutes"]) for step in value["steps"]] == [(20, 0.006, 16.7), (40, 0.011, 41.7)]
    assert value["left_out"] == [{"run": "main/1", "reason": "it knew other classes"}] and "curve" not in value
    assert value["measured"][1]["test_images"] == 72


def test_a_damaged_record_asks_for_attention_and_hides_nothing_else() -> None:
    found = overview.overview(_store(b"{"), NOW)
    assert found.outlook is None and found.model == "main/4"
    (sentence,) = found.stuck
    assert sentence.startswith("models/main/4/outlook.json is damaged") and sentence.endswith("delete it; the next run writes its own")


def _changed(path: tuple[str | int, ...], value: object) -> bytes:
    record = json.loads(outlook_shown.encode(OUTLOOK))
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(record).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("run",), "main/3"),
        (("run",), ["main/4"]),
        (("noise",), float("nan")),
        (("noise",), 10**400),
        (("seconds_per_image",), 10**400),
        (("probability",), 1.5),
        (("probability",), True),
        (("worth_images",), 10**400),
        (("worth_images",), 2.5),
        (("seconds_per_image",), "50"),
        (("seconds_per_image",), float("inf")),
        (("measured",), []),
        (("measured",), {"run": "x"}),
        (("measured", 0, "ap"), "0.5"),
        (("measured", 0, "test_images"), 0),
        (("measured", 1, "run"), "main/3\x1b[2J"),
        (("measured", 1, "run"), "x" * 201),
        (("measured", 1, "run"), "main/3"),
        (("steps",), [{}] * 501),
        (("steps", 0, "gain_low"), -7),
        (("steps", 0, "more"), None),
        (("curve", 0), 3),
        (("curve", 0, "labelled_images"), 0),
        (("left_out", 0, "reason"), 5),
    ],
)
def test_what_no_trainer_writes_is_one_sentence(path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(UserError, match=r"^models/main/4/outlook\.json is damaged"):
        outlook_shown.read(_blobs(_changed(path, value)), "main/4")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_KEYS = ("run", "confidence", "noise", "worth_images", "seconds_per_image", "measured", "left_out", "steps", "curve")


@given(st.sampled_from(_KEYS), _JSON)
def test_whatever_stands_in_a_field_it_is_shown_or_refused(key: str, value: object) -> None:
    found, trouble = outlook_shown.shown(_blobs(_changed((key,), value)), "main/4")
    assert (found is None) == bool(trouble)
    if found:
        assert found.headline.isprintable() and found.advice.isprintable() and json.dumps(found.as_dict(), allow_nan=False)
