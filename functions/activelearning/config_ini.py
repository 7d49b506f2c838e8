"""The ancestor's `config.ini`, read as text and turned into settings.

Source: active-learning-detect (2018) and its fork, whose scripts run this file in a shell, and whose command line has a form of it
with sections. Rule: nothing in it is executed, and no secret in it is kept: not in a value, not in a message.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from activelearning.errors import SettingsError
from activelearning.labels import BACKGROUND
from activelearning.settings import Settings

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class IniReading:
    """What a `config.ini` says; `taken` and `ignored` follow the file's order."""

    settings: Settings
    taken: tuple[str, ...] = ()
    """The keys that are in the settings or in the containers now."""
    ignored: tuple[tuple[str, str], ...] = ()
    """The keys that are not, each with the reason."""
    warnings: tuple[str, ...] = ()
    """Sentences a person should read."""
    image_container: str = ""
    """Where the ancestor's images lie; empty where the file does not say."""
    label_container: str = ""
    """Where its tables lie."""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    key: str
    value: str


def read_config_ini(text: str, where: str = "config.ini", classes: Sequence[str] = ()) -> IniReading:
    """Read a `config.ini`. `where` is the file's name in messages; `classes`, if given, stand in for those of the file.

    A key that is given twice counts as last given. Lines that are no `key=value` are skipped with a warning. Raises `SettingsError`
    when no classes are named, or when a value that is needed makes no sense or is shell code.
    """
    lines, warnings = _lines(text, where)
    values = {line.key: line for line in lines}
    settings = Settings(classes=tuple(classes) or _classes(values, where))
    reading = IniReading(settings, warnings=tuple(warnings))
    for line in values.values():
        reading = _add(reading, line, where)
    return reading


def _lines(text: str, where: str) -> tuple[list[_Line], list[str]]:
    """Every `key=value`, and a warning for each line that is none or whose key comes again."""
    lines: list[_Line] = []
    warnings: list[str] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = raw.strip()
        if not line or line[0] in "#;" or re.fullmatch(r"\[[^\]]*\]", line):
            continue
        key, equals, value = line.removeprefix("export ").partition("=")
        if not equals or not _NAME.fullmatch(key.strip()):
            # the line itself stays out of the message: it may be a secret that slipped out of its place
            warnings.append(f"{where} line {number} is no key=value and is skipped")
            continue
        if any(key.strip() == earlier.key for earlier in lines):
            warnings.append(f"{where} line {number}: '{key.strip()}' is given again; the last one counts")
        lines.append(_Line(number, key.strip(), _unquoted(value.strip())))
    return lines, warnings


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,40}")


def _unquoted(value: str) -> str:
    """The value as a shell sees it: without its quotes, or without the comment after it."""
    quoted = re.match(r"""(["'])([^"']*)\1\s*(?:#.*)?$""", value)
    return quoted[2] if quoted else re.split(r"\s+#", value)[0]


def _classes(values: Mapping[str, _Line], where: str) -> tuple[str, ...]:
    line = values.get("classes")
    if line is None or not line.value:
        raise SettingsError(f"{where}: 'classes' is missing; add a line such as classes=knot,defect or name them yourself")
    names = _listed(_plain(line, where))
    _checked(lambda: Settings(classes=names), line, where)
    return names


def _listed(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(","))


def _add(reading: IniReading, line: _Line, where: str) -> IniReading:
    if line.key in _TAKEN:
        return _take(reading, line, where)
    if _is_secret(line.key):
        warning = f"{where} line {line.number}: '{line.key}' is a secret and is not read; take it out of the file and have it replaced"
        return replace(reading, warnings=(*reading.warnings, warning))
    return _ignore(reading, line.key, _REASONS.get(line.key, "is not a key of config.ini that we know"))


def _ignore(reading: IniReading, key: str, reason: str) -> IniReading:
    return replace(reading, ignored=(*reading.ignored, (key, reason)))


def _take(reading: IniReading, line: _Line, where: str) -> IniReading:
    if line.value in ("", "None"):
        return _ignore(reading, line.key, "has no value")
    _plain(line, where)
    taken = _checked(lambda: _TAKEN[line.key](reading, line.value), line, where)
    return replace(taken, taken=(*taken.taken, line.key)) if taken.ignored == reading.ignored else taken


def _plain(line: _Line, where: str) -> str:
    """The value, if it means what it says: shell code would have to be run to know its value."""
    if re.search(r"\$[({A-Za-z_]|`", line.value):
        raise SettingsError(f"{where} line {line.number}: '{line.key}' holds shell code, which is never run; write its value instead")
    return line.value


def _checked(make: Callable[[], _Made], line: _Line, where: str) -> _Made:
    try:
        return make()
    except SettingsError as error:
        raise SettingsError(f"{where} line {line.number}: '{line.key}': {error}") from None


# The keys that are taken over: each turns a reading and a value into the next reading.


def _setting(convert: Callable[[str], object], *places: str) -> Callable[[IniReading, str], IniReading]:
    def take(reading: IniReading, value: str) -> IniReading:
        settings = reading.settings
        for place in places:
            settings = _put(settings, place, convert(value))
        return replace(reading, settings=settings)

    return take


def _put(settings: Settings, place: str, value: object) -> Settings:
    table, _, name = place.partition(".")
    changed = replace(getattr(settings, table), **{name: value})
    return replace(settings, **{table: changed})


def _whole_number(value: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,12}", value, re.ASCII):
        raise SettingsError("must be a whole number, such as 200")
    return int(value)


def _number(value: str) -> float:
    if not re.fullmatch(r"[+-]?(\d{1,12}(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", value, re.ASCII):
        raise SettingsError("must be a number, such as 0.5")
    return float(value)


def _truth(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise SettingsError("must be True or False")
    return value.lower() == "true"


def _strategy(value: str) -> str:
    return "most-confidence" if _truth(value) else "least-confidence"


def _named(reading: IniReading, value: str) -> IniReading:
    return reading if _listed(value) == reading.settings.classes else _ignore(reading, "classes", "other classes were named")


def _balance(reading: IniReading, value: str) -> IniReading:
    """One share a class and one for images without detections at the end; a balance that is none is left out, as the ancestor did."""
    names, shares = (*reading.settings.classes, BACKGROUND), [_number(share) for share in _listed(value)]
    if len(shares) != len(names):
        return _no_balance(reading, f"has {len(shares)} shares, but needs {len(names)}: one a class and one for {BACKGROUND} at the end")
    try:
        settings = _put(reading.settings, "selection.class_balance", dict(zip(names, shares, strict=True)))
    except SettingsError as error:
        return _no_balance(reading, f"makes no balance: {error}")
    return replace(reading, settings=settings)


def _no_balance(reading: IniReading, fault: str) -> IniReading:
    warning = f"ideal_class_balance {fault}; it is left out, as the ancestor did"
    return replace(_ignore(reading, "ideal_class_balance", fault), warnings=(*reading.warnings, warning))


def _container(field: str) -> Callable[[IniReading, str], IniReading]:
    def take(reading: IniReading, value: str) -> IniReading:
        if not re.fullmatch(r"[a-z0-9](-?[a-z0-9]){2,62}", value):
            raise SettingsError("must be a container's name: 3 to 63 small letters, digits and single hyphens")
        return replace(reading, **{field: value})  # type: ignore[arg-type]

    return take


_TAKEN: Mapping[str, Callable[[IniReading, str], IniReading]] = {
    "classes": _named,
    "ideal_class_balance": _balance,
    "pick_max": _setting(_strategy, "selection.strategy"),
    "max_tags_per_pixel": _setting(_whole_number, "drafts.max_tags_per_pixel"),
    # the ancestor neither wrote nor showed a box below it
    "min_confidence": _setting(_number, "prediction.min_confidence", "drafts.min_confidence"),
    "train_iterations": _setting(_whole_number, "training.iterations"),
    "test_percentage": _setting(_number, "test.percentage"),
    "add_horizontal_flip": _setting(_truth, "training.horizontal_flip"),
    "add_vertical_flip": _setting(_truth, "training.vertical_flip"),
    "image_container_name": _container("image_container"),
    "label_container_name": _container("label_container"),
}


# The keys that are not: secrets by their name, all others with a reason.


def _is_secret(key: str) -> bool:
    return key not in _REASONS and re.search(r"key|secret|pass|pwd|token|sas|signature|connection", key, re.IGNORECASE) is not None


_REASONS: Mapping[str, str] = {
    key: reason
    for reason, keys in {
        "the store is named on the command line": "AZURE_STORAGE_ACCOUNT STORAGE_ACCOUNT STORAGE_TEMP_CONTAINER STORAGE_PERM_CONTAINER",
        "images are known by their folders and names, always": "user_folders",
        "images of every usual type are read": "filetype",
        "the folder is named at each download": "tagging_location TAGGING_LOCATION TAGGING_IMAGE_DIR TAGGED_OUTPUT",
        "the tagger is named at each download": "TAGGING_USER",
        "there is no function app to call": "FUNCTIONS_URL",
        "Custom Vision is not used": "project_id",
        "the detector's size is detector.long_side": "min_tile_size max_tile_size",
        "not an augmentation we have": "add_crop_pad_image add_noise",
        "the model and folder are named at each prediction": "pred_model_name pred_dir",
        "follows from the classes": "num_classes label_map_path",
        "a place on the ancestor's machine": (
            "python_file_directory data_dir train_dir inference_output_dir tf_models_location download_location image_dir "
            "untagged_output tagged_output tagged_predictions test_output validation_output tagging_output PYTHONPATH"
        ),
        "belongs to TensorFlow's Object Detection API": (
            "eval_iterations model_name optional_pipeline_url init_model_name old_label_path old_train_path old_val_path "
            "old_checkpoint_path num_examples_marker num_steps_marker num_classes_marker tf_location tf_location_legacy "
            "tf_record_location tf_train_record tf_val_record tf_url pipeline_file fine_tune_checkpoint init_pred_tf_url "
            "init_model_graph"
        ),
    }.items()
    for key in keys.split()
}
