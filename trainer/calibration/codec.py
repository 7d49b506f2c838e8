"""A calibration as JSON, and back.

Rule: a file is believed no further than its types: every key must be there and known, every number finite, and what they make up is
checked on construction as everywhere. Whatever is wrong with it is one plain sentence.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from activelearning.errors import UserError
from trainer.calibration.calibrated import Calibration


def to_json(calibration: Calibration) -> str:
    """One JSON object; the same calibration always gives the same text."""
    return json.dumps(asdict(calibration), allow_nan=False, ensure_ascii=False)


def from_json(text: str | bytes, where: str) -> Calibration:
    """What `to_json` wrote; `where` names it in messages. Raises `UserError` for anything else."""
    try:
        return _read(Calibration, json.loads(text, parse_constant=_refuse), "")
    except (ValueError, OverflowError, RecursionError, UserError) as error:
        raise UserError(f"{where} is no calibration: {error}; fit it again") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _read(kind: Any, value: Any, path: str) -> Any:
    """`value` as one of `kind`: a dataclass, a union, a tuple, a number, a text or None."""
    if isinstance(kind, UnionType):
        return _one_of(get_args(kind), value, path)
    if is_dataclass(kind):
        return _dataclass(kind, value, path)
    if get_origin(kind) is tuple:
        return _tuple(get_args(kind), value, path)
    return _plain(kind, value, path)


def _one_of(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    """The kind of a union that has the keys of `value`, or None, or the only other one."""
    if value is None and NoneType in kinds:
        return None
    left = [kind for kind in kinds if kind is not NoneType]
    keys = set(value) if isinstance(value, dict) else None
    fitting = [kind for kind in left if is_dataclass(kind) and set(_hints(kind)) == keys]
    return _read((fitting or left)[0], value, path)


def _dataclass(kind: Any, value: Any, path: str) -> Any:
    hints = _hints(kind)
    if not isinstance(value, dict) or set(value) != set(hints):
        raise ValueError(f"{path or 'it'} must be an object with the keys {', '.join(hints)}")
    read = {name: _read(hint, value[name], f"{path}.{name}".lstrip(".")) for name, hint in hints.items()}
    try:
        return kind(**read)
    except ValueError as error:
        raise ValueError(f"{path or 'it'}: {error}") from error


def _tuple(kinds: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    """`tuple[X, ...]` of any length, or one of as many as there are kinds."""
    kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis and isinstance(value, list) else kinds
    if not isinstance(value, list) or len(value) != len(kinds):
        raise ValueError(f"{path} must be a list" + ("" if kinds[-1] is Ellipsis else f" of {len(kinds)}"))
    return tuple(_read(kind, one, f"{path}[{index}]") for index, (kind, one) in enumerate(zip(kinds, value, strict=True)))


def _plain(kind: type, value: Any, path: str) -> Any:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{path} must be {'a number' if kind in (int, float) else 'true or false' if kind is bool else 'a text'}")
    if kind is float and not math.isfinite(value := float(value)):
        raise ValueError(f"{path} is not finite")
    return value


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
