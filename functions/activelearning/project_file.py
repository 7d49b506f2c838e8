"""`project.toml`, read and written.

Rule: read once, at the edge; an unknown key, a missing key or a value of the wrong kind is one sentence that names the key and the
file. Everything follows from the dataclasses of `settings`: no key that counts is named here.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from activelearning.errors import SettingsError
from activelearning.settings import Settings

_HEAD = "# What to do. A line '#key = value' shows a default: take the '#' away and change the value.\n\n"
_SECTIONS = frozenset(name for name, kind in get_type_hints(Settings).items() if is_dataclass(kind))
_RENAMED = {
    "selection.aggregation": (
        "selection.box_aggregation",
        {"min": "max", "mean": "mean", "max": "min", "sum": "sum"},
        "which aggregates how unsure the boxes are, not how sure",
    )
}
"""Keys of earlier versions: the new key, for each old value the one that means the same, and what is different."""
_KINDS = {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}


def parse_project(text: str, where: str = "project.toml") -> Settings:
    """Read a project's settings. `where` is the file's name in messages. Raises `SettingsError`."""
    try:
        return _decode_table(Settings, tomllib.loads(text), "")  # type: ignore[no-any-return]
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where}: {error}; each line must read key = value, texts in quotes") from None
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from None


def override(settings: Settings, assignments: Sequence[str], where: str) -> Settings:
    """Settings with some keys changed, each given as it would stand in project.toml: `training.iterations = 700`."""
    try:
        changes = tomllib.loads("\n".join(assignments))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where}: {error}; each setting must read key = value, texts in quotes") from None
    try:
        return _decode_table(Settings, _merged(_plain(settings), changes), "")  # type: ignore[no-any-return]
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from None


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    return list(value) if isinstance(value, tuple) else value


def _merged(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    nested = {key: _merged(table[key], value) for key, value in changes.items() if key in _SECTIONS and isinstance(value, dict)}
    return {**table, **changes, **nested}


def render_project(settings: Settings) -> str:
    """Write the settings for a person to edit: what differs from the defaults, and the defaults as comments.

    `parse_project` reads back the same settings.
    """
    return _HEAD + "".join(_render_table(settings, ""))


def setting_names(kind: Any = Settings, prefix: str = "") -> tuple[str, ...]:
    """Every key as it is written in messages, `classes`, …, `training.iterations`, …, in the order of the file."""
    hints = get_type_hints(kind)
    names = (setting_names(hints[key], f"{key}.") if is_dataclass(hints[key]) else (prefix + key,) for key in hints)
    return tuple(name for group in names for name in group)


def _decode_table(kind: Any, table: Mapping[str, object], prefix: str) -> Any:
    hints = get_type_hints(kind)
    unknown = [key for key in table if key not in hints]
    if unknown:
        renamed = prefix + unknown[0] in _RENAMED
        raise SettingsError(_renamed(prefix + unknown[0], table[unknown[0]]) if renamed else _unknown(kind, prefix, unknown[0]))
    for entry in fields(kind):
        if _has_no_default(entry) and entry.name not in table:
            raise SettingsError(f"'{prefix}{entry.name}' is missing; add it")
    return kind(**{key: _decode(hints[key], value, prefix + key) for key, value in table.items()})


def _has_no_default(entry: Field[Any]) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _unknown(kind: Any, prefix: str, key: str) -> str:
    own = list(get_type_hints(kind))
    elsewhere = [name for name in setting_names() if difflib.get_close_matches(key, [name.rpartition(".")[2]], cutoff=0.8)]
    known = [prefix + name for name in difflib.get_close_matches(key, own)] or elsewhere or [prefix + name for name in own]
    return f"'{prefix}{key}' is unknown; the nearest known keys are {', '.join(known)}"


def _renamed(key: str, value: object) -> str:
    new, values, difference = _RENAMED[key]
    same = values.get(value) if isinstance(value, str) else None
    advice = f"write {_shown(same)} for {_shown(value)}" if same else f"its values are {', '.join(values.values())}"
    return f"'{key}' is now '{new}', {difference}: {advice}"


def _decode(kind: Any, value: object, key: str) -> Any:
    if is_dataclass(kind):
        return _decode_table(kind, _expect(dict, value, key, "a table"), f"{key}.")
    if get_origin(kind) is tuple:
        return tuple(_decode(str, each, key) for each in _expect(list, value, key, "a list of texts"))
    if get_origin(kind) is dict:
        return {name: _decode(float, share, f"{key}.{name}") for name, share in _expect(dict, value, key, "a table of numbers").items()}
    return _expect(kind, value, key, _KINDS[kind])


def _expect(kind: Any, value: object, key: str, what: str) -> Any:
    # `true` is an int to Python, but not to the person who wrote it
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise SettingsError(f"{key} is {_shown(value)}, but must be {what}")


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:60]


def _render_table(table: Any, prefix: str) -> Iterator[str]:
    hints = get_type_hints(type(table), include_extras=True)
    for entry in fields(table):
        value = getattr(table, entry.name)
        if is_dataclass(value):
            yield f"\n# {(type(value).__doc__ or '').strip()}\n[{entry.name}]\n"
            yield from _render_table(value, f"{entry.name}.")
        else:
            live = "" if _has_no_default(entry) or value != _default(entry) else "#"
            yield f"# {_explanation(hints[entry.name])}\n{live}{entry.name} = {_literal(value)}\n"


def _default(entry: Field[Any]) -> Any:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def _explanation(hint: Any) -> str:
    texts = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((text for text in texts if isinstance(text, str)), "")


def _literal(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_literal(name)} = {_literal(share)}" for name, share in value.items()) + " }" if value else "{}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    # JSON's texts and numbers are TOML's, but for one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
