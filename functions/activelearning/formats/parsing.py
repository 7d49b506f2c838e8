"""From bytes to JSON values and XML elements, for every format alike.

Rule: whatever the bytes are, the only thing raised is `FormatError` with one sentence that names the file.
"""

import codecs
import json
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from activelearning.errors import FormatError

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_bytes(path: Path) -> bytes:
    """The whole file; `FormatError` when it is missing or unreadable."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def decode(raw: bytes, where: str) -> str:
    """Text of a file: UTF-8, or UTF-16 where a byte order mark says so."""
    encoding = next((name for bom, name in _BOMS if raw.startswith(bom)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        raise FormatError(f"{where}: is not UTF-8 text; save it as UTF-8") from None


def parse_json(raw: bytes, where: str) -> object:
    """Any JSON value."""
    try:
        return json.loads(decode(raw, where))
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: is not valid JSON ({error.msg}, line {error.lineno})") from None
    except ValueError:
        raise FormatError(f"{where}: holds a number with too many digits") from None
    except RecursionError:
        raise FormatError(f"{where}: is nested too deeply for a label file") from None


def json_object(raw: bytes, where: str) -> Mapping[str, object]:
    """A JSON file whose outermost value is an object."""
    value = parse_json(raw, where)
    if not isinstance(value, dict):
        raise FormatError(f"{where}: is a JSON {type(value).__name__}, not an object, so it is no label file")
    return value


def parse_xml(raw: bytes, where: str) -> Element:
    """The root element. Entities, external references and the like are refused, not expanded."""
    try:
        root: Element = ElementTree.fromstring(raw)
    except DefusedXmlException:
        raise FormatError(f"{where}: defines XML entities, which label files never need; it was not opened") from None
    except ParseError as error:
        raise FormatError(f"{where}: is not valid XML ({error}); names may need '&amp;' in place of '&'") from None
    except (ValueError, LookupError) as error:
        raise FormatError(f"{where}: is not readable XML ({error})") from None
    return root
