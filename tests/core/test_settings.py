"""`project.toml`: what is read back is what was written, and every mistake is one sentence that names its key."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from activelearning import settings as all_settings
from activelearning.errors import SettingsError
from activelearning.project_file import parse_project, render_project, setting_names
from activelearning.settings import Detector, Drafts, Policy, Selection, Settings, Training

CLASSES = ("knot", "defect")
HEAD = 'classes = ["knot", "defect"]\n'

_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda s: s.isprintable() and s == s.strip() and s != "NULL")
_share = st.floats(0, 1)


def _shares(names: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, float]]:
    return st.lists(names, max_size=4, unique=True).map(lambda each: {name: 1 / len(each) for name in each})


@st.composite
def _settings(draw: st.DrawFn) -> Settings:
    classes = tuple(draw(st.lists(_names, min_size=1, max_size=4, unique=True)))
    selection = st.builds(
        Selection,
        strategy=st.sampled_from(["random", "margin", "least-confidence"]),
        weights=st.dictionaries(st.sampled_from(all_settings.UNCERTAINTIES), st.floats(0.1, 1000), min_size=1),
        class_balance=_shares(st.sampled_from((*classes, "NULL"))),
        folder_quotas=_shares(st.text(st.characters(codec="utf-8"), max_size=5)),
        min_confidence=st.floats(0, 0.5),
        max_confidence=st.floats(0.5, 1),
    )
    return Settings(
        classes,
        detector=draw(st.builds(Detector, family=_names, long_side=st.integers(1, 9).map(lambda n: 32 * n))),
        training=draw(st.builds(Training, learning_rate=st.floats(1e-9, 10), vertical_flip=st.booleans(), threads=st.integers(0, 64))),
        selection=draw(selection),
        drafts=draw(st.builds(Drafts, min_confidence=_share, max_tags_per_pixel=st.integers(0, 5))),
        policy=draw(st.builds(Policy, claim_days=st.floats(0, 100) | st.integers(0, 100), quiet_seconds=st.floats(0, 1e6))),
        test=draw(st.builds(all_settings.TestSplit, percentage=st.floats(0, 0.9))),
    )


@budget(max_examples=150, deadline=None)
@given(_settings())
def test_what_is_written_is_read_back(settings: Settings) -> None:
    assert parse_project(render_project(settings)) == settings


def test_defaults_are_comments_that_explain_themselves() -> None:
    text = render_project(Settings(CLASSES, training=Training(iterations=200)))

    assert tomllib.loads(text) == {
        "classes": ["knot", "defect"],
        "training": {"iterations": 200},
        **{name: {} for name in ("detector", "selection", "drafts", "costs", "prediction", "policy", "test", "autolabel", "trainers")},
    }
    assert "# At most so many steps of a run from scratch.\niterations = 200\n" in text
    assert "# Images in one step.\n#batch_size = 8\n" in text


def test_a_default_without_its_hash_says_the_same() -> None:
    live = [line.removeprefix("#") if line[1:2].isalpha() else line for line in render_project(Settings(CLASSES)).splitlines()]

    assert parse_project("\n".join(live)) == Settings(CLASSES)


def test_every_setting_has_a_name_and_an_explanation() -> None:
    lines = render_project(Settings(CLASSES)).splitlines()

    for name in setting_names():
        key = name.rpartition(".")[2]
        places = [number for number, line in enumerate(lines) if line.removeprefix("#").startswith(f"{key} = ")]
        assert places, name
        assert all(lines[place - 1].startswith("# ") and lines[place - 1].endswith(".") for place in places), name


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'classes' is missing"),
        ("classes = []", "classes is empty; name at least one class"),
        ('classes = ["a", "a"]', "classes names 'a' twice"),
        ('classes = ["a", ""]', "a class name must not be empty"),
        ('classes = [" a"]', "spaces at its ends"),
        ('classes = ["a\\nb"]', "line breaks"),
        ('classes = ["NULL"]', "classes holds 'NULL', which stands for images without boxes"),
        ('classes = "knot"', 'classes is "knot", but must be a list of texts'),
        ("classes = [1]", "classes is 1, but must be a text in quotes"),
        ("classes = ", "each line must read key = value"),
        (HEAD + 'task = "points"', "task is 'points', but must be one of: boxes"),
        (HEAD + "detector = 3", "detector is 3, but must be a table"),
        (HEAD + "[selektion]", "'selektion' is unknown; the nearest known keys are selection"),
        (HEAD + "[training]\niteration = 3", "'training.iteration' is unknown; the nearest known keys are training.iterations"),
        (HEAD + 'strategy = "random"', "'strategy' is unknown; the nearest known keys are selection.strategy"),
        (HEAD + "[training]\niterations = true", "training.iterations is true, but must be a whole number"),
        (HEAD + "[training]\niterations = 1.5", "training.iterations is 1.5, but must be a whole number"),
        (HEAD + "[training]\niterations = 0", "training.iterations is 0, but must lie between 1 and"),
        (HEAD + "[training]\nvertical_flip = 1", "training.vertical_flip is 1, but must be true or false"),
        (HEAD + "[training]\nlearning_rate = nan", "training.learning_rate is nan, but must be 0, or lie between"),
        (HEAD + "[policy]\nclaim_days = inf", "policy.claim_days is inf, but must lie between"),
        (HEAD + '[policy]\nclaim_days = "3"', 'policy.claim_days is "3", but must be a number'),
        (HEAD + "[detector]\nlong_side = 500", "detector.long_side is 500, but must be a multiple of 32, such as 512"),
        (HEAD + '[detector]\nfamily = ""', "detector.family is empty"),
        (
            HEAD + '[selection]\nstrategy = "entropie"',
            "must be one of: random, class-stratified-random, least-confidence, most-confidence, margin",
        ),
        (HEAD + '[selection]\nbox_aggregation = "median"', "must be one of: min, mean, max, sum, top-k"),
        (HEAD + '[selection]\naggregation = "min"', "'selection.aggregation' is now 'selection.box_aggregation', which aggregates"),
        (HEAD + '[selection]\naggregation = "min"', 'how unsure the boxes are, not how sure: write "max" for "min"'),
        (HEAD + "[selection]\naggregation = 3", "not how sure: its values are max, mean, min, sum"),
        (HEAD + '[selection]\norder = "up"', "selection.order is 'up', but must be one of: highest, lowest, spread"),
        (HEAD + "[selection]\nweights = {}", "selection.weights weighs nothing; name at least one"),
        (HEAD + "[selection]\nweights = { entropie = 1 }", "selection.weights names 'entropie', but knows only unconfidence, margin"),
        (
            HEAD + "[selection]\nweights = { entropy = nan }",
            "selection.weights gives 'entropy' nan, but a weight must lie between 0 and 1,000",
        ),
        (HEAD + "[selection]\nclass_balance = { knot = 0.9 }", "selection.class_balance sums to 0.9, but must sum to 1"),
        (HEAD + "[selection]\nclass_balance = { knott = 1 }", "'knott', which is not among the classes: use knot, defect, NULL"),
        (HEAD + "[selection]\nclass_balance = { knot = -1, defect = 2 }", "gives 'knot' -1, but a share must lie between 0 and 1"),
        (HEAD + '[selection]\nfolder_quotas = { a = "x" }', 'selection.folder_quotas.a is "x", but must be a number'),
        (HEAD + "[selection]\nmin_confidence = 0.9\nmax_confidence = 0.1", "selection.min_confidence is above selection.max_confidence"),
        (HEAD + "[drafts]\nmax_confidence = 0.1", "drafts.min_confidence is above drafts.max_confidence"),
        (HEAD + "[test]\npercentage = 20", "test.percentage is 20, but must lie between 0 and 0.9"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_key(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_project(text, "here/project.toml")

    assert str(error.value).startswith("here/project.toml: ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_balance_may_miss_one_by_a_hundredth() -> None:
    settings = parse_project(HEAD + "[selection]\nclass_balance = { knot = 0.33, defect = 0.33, NULL = 0.33 }")

    assert settings.selection.class_balance == {"knot": 0.33, "defect": 0.33, "NULL": 0.33}


def test_settings_made_by_hand_keep_the_same_rules() -> None:
    with pytest.raises(SettingsError, match=r"training\.batch_size is 0"):
        Settings(CLASSES, training=Training(batch_size=0))
