"""The ancestor's `config.ini`: read without being run, and without keeping a secret."""

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from activelearning.config_ini import read_config_ini
from activelearning.errors import SettingsError
from activelearning.settings import Settings

SECRET = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq=="

ANCESTOR = f"""# config for active learning
AZURE_STORAGE_ACCOUNT=woods
AZURE_STORAGE_KEY={SECRET}
image_container_name=activelearningimages
label_container_name=activelearninglabels
user_folders=True
classes=knots,defect
ideal_class_balance=0.6,0.3,0.1
filetype=*.png
tagging_location=C:\\Users\\x\\NewTag
pick_max=True
max_tags_per_pixel=2
# training_key=
python_file_directory=/home/x/train
data_dir=/home/x/data
train_iterations=200
eval_iterations=10
min_confidence=.5
test_percentage=.2
model_name=faster_rcnn_resnet50_coco_2018_01_28
num_classes=$(awk -F ',' '{{print NF}}' <<< ${{classes}})
image_dir=${{data_dir}}/AllImages
tf_location=${{tf_models_location}}/object_detection
PYTHONPATH=$PYTHONPATH:${{tf_models_location}}:`pwd`
"""


def test_the_ancestors_file_becomes_settings() -> None:
    reading = read_config_ini(ANCESTOR)

    settings = reading.settings
    assert settings.classes == ("knots", "defect")
    assert settings.selection.class_balance == {"knots": 0.6, "defect": 0.3, "NULL": 0.1}
    assert settings.selection.strategy == "most-confidence"
    assert (settings.drafts.max_tags_per_pixel, settings.drafts.min_confidence, settings.prediction.min_confidence) == (2, 0.5, 0.5)
    assert (settings.training.iterations, settings.test.percentage) == (200, 0.2)
    assert (reading.image_container, reading.label_container) == ("activelearningimages", "activelearninglabels")


def test_every_key_is_taken_or_ignored_with_a_reason_or_a_secret() -> None:
    reading = read_config_ini(ANCESTOR)

    keys = {line.partition("=")[0] for line in ANCESTOR.splitlines() if not line.startswith("#")}
    ignored = dict(reading.ignored)
    assert keys == {*reading.taken, *ignored, "AZURE_STORAGE_KEY"}
    assert ignored["filetype"] == "images of every usual type are read"
    assert not [key for key, reason in reading.ignored if "that we know" in reason]


@pytest.mark.parametrize(
    "key", ["AZURE_STORAGE_KEY", "training_key", "prediction_key", "STORAGE_KEY", "FUNCTIONS_KEY", "DB_PASSWORD", "sas_token", "MY_SECRET"]
)
def test_a_secret_is_named_but_never_kept(key: str) -> None:
    reading = read_config_ini(f"classes=a\n{key}={SECRET}\n")

    assert SECRET[:8] not in repr(reading)
    assert len(reading.warnings) == 1
    assert f"config.ini line 2: '{key}' is a secret and is not read" in reading.warnings[0]


@pytest.mark.parametrize("line", [SECRET, f"AccountKey {SECRET}", f"image_container_name={SECRET}", f"train_iterations={SECRET}"])
def test_a_secret_out_of_place_is_not_quoted(line: str) -> None:
    try:
        said = repr(read_config_ini(f"classes=a\n{line}\n"))
    except SettingsError as error:
        said = str(error)

    assert SECRET[:8] not in said
    assert "line 2" in said


def test_the_forks_file_with_sections_is_read() -> None:
    text = f"[STORAGE]\nSTORAGE_ACCOUNT = birds\nSTORAGE_KEY = {SECRET}\n; a remark\n[TAGGING]\nTAGGING_LOCATION = ${{STORAGE:X}}/t\n"
    reading = read_config_ini(text, classes=("dark_bird",))

    assert reading.settings == Settings(("dark_bird",))
    assert [key for key, _ in reading.ignored] == ["STORAGE_ACCOUNT", "TAGGING_LOCATION"]


def test_the_forks_flips_are_taken_over() -> None:
    training = read_config_ini('classes=a\nadd_vertical_flip="True"\nadd_horizontal_flip="False"\nmin_tile_size=600\n').settings.training

    assert (training.vertical_flip, training.horizontal_flip) == (True, False)


@pytest.mark.parametrize(
    ("line", "classes"),
    [
        ("classes=knots,defect", ("knots", "defect")),
        ("classes=knots,defect\r", ("knots", "defect")),
        ("classes = knots , defect ", ("knots", "defect")),
        ('classes="knots,defect"', ("knots", "defect")),
        ("classes='knots,defect' # two", ("knots", "defect")),
        ("classes=knots,defect # two", ("knots", "defect")),
        ("export classes=knots,defect", ("knots", "defect")),
        ("\ufeffclasses=knots,defect", ("knots", "defect")),
        ("classes=a=b", ("a=b",)),
        ("classes=US$", ("US$",)),
    ],
)
def test_a_line_is_read_as_a_shell_would(line: str, classes: tuple[str, ...]) -> None:
    assert read_config_ini(f"{line}\n").settings.classes == classes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pick_max=True", "'classes' is missing"),
        ("classes=", "'classes' is missing"),
        ("classes=a,a", "line 1: 'classes': classes names 'a' twice"),
        ("classes=a,NULL", "which stands for images without boxes"),
        ("classes=$(cat list)", "line 1: 'classes' holds shell code, which is never run"),
        ("classes=`cat list`", "holds shell code"),
        ("classes=${names}", "holds shell code"),
        ("classes=$names", "holds shell code"),
        ("classes=a\nmin_confidence=$(rm -rf /)", "line 2: 'min_confidence' holds shell code"),
        ("classes=a\ntrain_iterations=many", "line 2: 'train_iterations': must be a whole number"),
        ("classes=a\ntrain_iterations=0", "training.iterations is 0, but must lie between"),
        ("classes=a\ntest_percentage=20", "test.percentage is 20"),
        ("classes=a\npick_max=yes", "must be True or False"),
        ("classes=a\nmin_confidence=nan", "must be a number"),
        ("classes=a\nideal_class_balance=x,y", "must be a number"),
        ("classes=a\nlabel_container_name=No_Container", "must be a container's name"),
    ],
)
def test_a_needed_value_that_makes_no_sense_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_config_ini(text, "old/config.ini")

    assert str(error.value).startswith("old/config.ini")
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("just words", "config.ini line 2 is no key=value and is skipped"),
        ("=3", "config.ini line 2 is no key=value and is skipped"),
        ("classes=a,b", "config.ini line 2: 'classes' is given again; the last one counts"),
        ("ideal_class_balance=0.5,0.5,0", "has 3 shares, but needs 2: one a class and one for NULL at the end"),
        ("ideal_class_balance=0.5,0.4", "sums to 0.9, but must sum to 1; it is left out, as the ancestor did"),
    ],
)
def test_what_can_be_left_out_is_a_warning(line: str, warning: str) -> None:
    reading = read_config_ini(f"classes=a\n{line}\n")

    assert [said for said in reading.warnings if warning in said]
    assert not reading.settings.selection.class_balance


@pytest.mark.parametrize("line", ["ideal_class_balance=", "max_tags_per_pixel=None", "min_confidence="])
def test_a_key_without_a_value_leaves_the_default(line: str) -> None:
    reading = read_config_ini(f"classes=a\n{line}\n")

    assert reading.settings == Settings(("a",))
    assert reading.ignored == ((line.partition("=")[0], "has no value"),)


def test_classes_named_by_the_caller_win() -> None:
    reading = read_config_ini("classes=a,b\n", classes=("c",))

    assert reading.settings.classes == ("c",)
    assert reading.ignored == (("classes", "other classes were named"),)


@budget(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(ANCESTOR.splitlines()) | st.text(max_size=30)))
def test_any_text_is_read_or_refused_in_a_sentence(lines: list[str]) -> None:
    try:
        reading = read_config_ini("\n".join(lines))
    except SettingsError as error:
        assert str(error).startswith("config.ini")
    else:
        assert reading.settings.classes
        assert SECRET not in repr(reading)
