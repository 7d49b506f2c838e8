import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activelearning.errors import UserError
from trainer.calibration import Calibration, Options, from_json, to_json
from trainer.calibration.box_metrics import BoxFigures
from trainer.calibration.boxes import METHODS, BoxMap
from trainer.calibration.calibrated import Figures, Maps, Sample
from trainer.calibration.closed_set import OneVersusRest, Temperatures
from trainer.calibration.conformal import JOINTS, UNITS, Margins
from trainer.calibration.context import Context
from trainer.calibration.maps import Factor, Knots, Logistic
from trainer.calibration.score_metrics import ClassFigures, ScoreFigures
from trainer.calibration.scores import PerClass

CLASSES = 3

_any = st.floats(allow_nan=False, allow_infinity=False)
_positive = st.floats(0, 1e300, exclude_min=True)
_not_negative = st.floats(0, 1e300)
_share = st.floats(0, 1)
_count = st.integers(0, 10**9)


def _tuple(one, least: int = 0, most: int = 5):
    return st.lists(one, min_size=least, max_size=most).map(tuple)


def _for_classes(one):
    return st.sampled_from((1, CLASSES)).flatmap(lambda count: _tuple(one, count, count))


@st.composite
def _knots(draw) -> Knots:
    x = sorted(draw(st.sets(_any, min_size=1, max_size=6)))
    return Knots(tuple(x), tuple(sorted(draw(_tuple(_not_negative, len(x), len(x))))))


_box_row = st.sampled_from((1, 4)).flatmap(lambda count: _tuple(st.one_of(st.builds(Factor, _not_negative), _knots()), count, count))
_box_map = st.builds(BoxMap, _for_classes(_box_row), st.booleans())
_detection = st.one_of(
    st.builds(PerClass, _for_classes(st.one_of(_knots(), st.builds(Logistic, _not_negative, _not_negative, _any)))),
    st.builds(Context, st.tuples(_not_negative, _not_negative), st.tuples(_any, _any, _any), _tuple(_any, CLASSES, CLASSES)),
)
_closed_set = st.one_of(st.builds(Temperatures, _for_classes(_positive)), st.builds(OneVersusRest, _for_classes(_knots())))
_quantile = st.one_of(st.none(), _not_negative)
_inner = st.floats(0, 1, exclude_min=True, exclude_max=True)
_margins = st.builds(Margins, _inner, st.sampled_from(JOINTS), st.sampled_from(UNITS), st.tuples(*[_quantile] * 4), _count)
_maps = st.builds(Maps, _detection, _closed_set, *[st.none() | _box_map] * 3, _margins)
_box_figures = st.builds(BoxFigures, _count, *[_any] * 4, st.tuples(*[_share] * 4), _share, _any, _any)
_figures = st.builds(
    Figures,
    st.none() | st.builds(ScoreFigures, _count, *[_any] * 7),
    st.none() | st.builds(ClassFigures, _count, *[_any] * 5),
    *[st.none() | _box_figures] * 3,
    st.none() | _share,
)
_options = st.builds(
    Options, iou=_inner, alpha=_inner, least=st.integers(1, 10**6), folds=st.integers(2, 100), seed=_count, box=st.sampled_from(METHODS)
)
_calibrations = st.builds(
    Calibration,
    st.tuples(*[st.text()] * CLASSES),
    _options,
    st.builds(Sample, _count, _count, _count),
    _maps,
    _figures,
    _figures,
    st.none() | st.text(),
)


@settings(deadline=None, max_examples=60)
@given(_calibrations)
def test_what_is_written_is_read_back(calibration):
    text = to_json(calibration)
    assert from_json(text, "calibration.json") == calibration
    assert from_json(text.encode("utf-8", "surrogatepass"), "calibration.json") == calibration
    assert to_json(from_json(text, "calibration.json")) == text


def _calibration() -> Calibration:
    knots = Knots((0.1, 0.9), (0.2, 0.8))
    maps = Maps(
        PerClass((knots, Logistic(1.0, 2.0, -0.5), knots)),
        Temperatures((0.5,)),
        BoxMap(((Factor(1.5),),), False),
        None,
        BoxMap(((knots, knots, knots, Factor(2.0)),) * CLASSES, True),
        Margins(0.1, "max", "deviation", (1.0, 2.0, None, 3.0), 40),
    )
    none = Figures(None, None, None, None, None, None)
    return Calibration(("knot", "crack", "ö"), Options(), Sample(5, 90, 40), maps, none, none, "2026-11-21")


def _changed(*path: str | int, to: object) -> str:
    document = json.loads(to_json(_calibration()))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return json.dumps(document)


_KNOTS = ("maps", "detection", "maps", 0)

_DAMAGED = {
    "nothing": ("", "Expecting value"),
    "cut off": (to_json(_calibration())[:200], "Unterminated|Expecting|delimiter"),
    "not text": (b"\xff\xfe\x00", "codec"),
    "a pickle": (b"\x80\x04\x95", "codec"),
    "a list": ("[]", "it must be an object with the keys classes, options"),
    "a number": ("3", "it must be an object"),
    "nested deeply": ("[" * 100_000, "recursion"),
    "a huge number": ("1" * 5000, "limit"),
    "a key missing": (_changed("maps", to={}), "maps must be an object with the keys detection, closed_set"),
    "a key too many": (_changed("hook", to="os.system"), "it must be an object with the keys"),
    "not a number": (_changed(*_KNOTS, "y", 0, to=math.nan), "NaN is no number"),
    "infinite": (_changed(*_KNOTS, "y", 0, to=math.inf), "Infinity is no number"),
    "too large": (_changed(*_KNOTS, "y", 0, to=10**400), "too large"),
    "infinite after all": (to_json(_calibration()).replace("0.2", "1e999"), r"maps\.detection\.maps\[0\]\.y\[0\] is not finite"),
    "text for a number": (_changed(*_KNOTS, "y", 0, to="0.2"), r"y\[0\] must be a number"),
    "true for a number": (_changed("sample", "images", to=True), r"sample\.images must be a number"),
    "a fraction of images": (_changed("sample", "images", to=2.5), r"sample\.images must be a number"),
    "a number for a text": (_changed("date", to=3), "date must be a text"),
    "a text for yes or no": (_changed("maps", "aleatoric", "relative", to="no"), "relative must be true or false"),
    "knots that fall": (_changed(*_KNOTS, "y", to=[0.8, 0.2]), r"maps\.detection\.maps\[0\]: .*must not decrease|not decrease"),
    "knots that stand": (_changed(*_KNOTS, "x", to=[0.5, 0.5]), "must increase"),
    "knots that do not pair": (_changed(*_KNOTS, "x", to=[0.5]), "as many"),
    "a negative slope": (_changed("maps", "detection", "maps", 1, "a", to=-1), "not negative"),
    "a cold temperature": (_changed("maps", "closed_set", "values", to=[0]), "positive"),
    "another kind": (_changed(*_KNOTS, to={"module": "os"}), r"maps\.detection\.maps\[0\] must be an object with the keys x, y"),
    "two classes": (_changed("classes", to=["knot", "crack"]), "one for each of 2 classes"),
    "three margins": (_changed("maps", "margins", "quantiles", to=[1, 2, 3]), r"maps\.margins\.quantiles must be a list of 4"),
    "a text for a list": (_changed("classes", to="knot"), "classes must be a list"),
    "an unknown method": (_changed("options", "box", to="pickle"), "'pickle' is no box method"),
    "an unknown unit": (_changed("maps", "margins", "unit", to="mile"), r"maps\.margins: "),
}


@pytest.mark.parametrize(("text", "message"), _DAMAGED.values(), ids=_DAMAGED)
def test_a_damaged_file_is_one_plain_sentence_that_names_it(text, message):
    with pytest.raises(UserError, match=message) as raised:
        from_json(text, "models/r1/calibration.json")
    assert str(raised.value).startswith("models/r1/calibration.json is no calibration: ")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


_ELSE = st.sampled_from(
    (None, True, 0, -1, 2.5, 1e308, "", "max", [], [0], [[]], {}, {"x": [0]}, {"factor": 1}, {"maps": [], "relative": True})
)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_other_document_breaks_the_reader(data):
    document = json.loads(to_json(_calibration()))
    _damage(document, data)
    try:
        from_json(json.dumps(document), "calibration.json")
    except UserError as error:
        assert str(error).startswith("calibration.json is no calibration: ")


def _damage(document: dict | list, data: st.DataObject) -> None:
    """Put something else in the place of some value, however deep."""
    key = data.draw(st.sampled_from(list(document) if isinstance(document, dict) else list(range(len(document)))))
    inner = document[key]
    if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
        _damage(inner, data)
    else:
        document[key] = data.draw(_ELSE)
