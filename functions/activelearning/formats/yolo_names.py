"""The class names of a YOLO folder: one a line in `obj.names` or `classes.txt`, or the `names` of a `data.yaml`.

Only the plain forms of YAML that YOLO tools write are understood: a list in brackets, a list of dashes, indexes with names, and the
same in braces. So no YAML library is needed.
"""

import json
import re
from collections.abc import Iterator, Sequence

from activelearning.errors import FormatError
from activelearning.formats import places

_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_START = re.compile(r"^names[ \t]*:[ \t]*", re.MULTILINE)
_QUOTED = r""" "(?:[^"\\]|\\.)*" | '(?:[^']|'')*' """
_FLOW_ENTRY = re.compile(rf"\s*(?:(\d{{1,6}})\s*:\s*)?({_QUOTED}|[^,\]}}\"'\s][^,\]}}]*)\s*(?:,|[\]}}])", re.VERBOSE)
_BLOCK_ENTRY = re.compile(rf"[ \t]*(?:-|(\d{{1,6}})[ \t]*:)[ \t]+({_QUOTED}|[^\"'\#\s].*?)[ \t]*(?:[ \t]\#.*)?", re.VERBOSE)


def from_lines(text: str) -> list[str]:
    """Names in a file of one a line; blank lines at the end don't count."""
    return [line.strip() for line in text.rstrip().split("\n")]


def from_yaml(text: str, where: str) -> list[str]:
    """Names in a `data.yaml`, by index; a gap is an empty name."""
    start = _START.search(text)
    names = dict(_entries(text[start.end() :])) if start else {}
    if not names and not (start and text[start.end() :].startswith("[]")):
        raise FormatError(f"{where}: has no 'names' in a form that YOLO tools write; list the class names as '  0: name'")
    return [names.get(at, "") for at in range(max(names, default=-1) + 1)]


def _entries(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for index, name in _flow(text[1:]) if text[:1] in ("[", "{") else _block(text):
        at = int(index) if index else at
        yield at, _unquoted(name)
        at += 1


def _flow(text: str) -> Iterator[tuple[str | None, str]]:
    position = 0
    while entry := _FLOW_ENTRY.match(text, position):
        yield entry[1], entry[2]
        position = entry.end()
        if entry[0][-1] in "]}":
            return


def _block(text: str) -> Iterator[tuple[str | None, str]]:
    lines = text.partition("\n")[2].split("\n")
    for line in (line.rstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")):
        entry = _BLOCK_ENTRY.fullmatch(line)
        if not entry:
            return
        yield entry[1], entry[2]


def _unquoted(text: str) -> str:
    if text[:1] == "'":
        return text[1:-1].replace("''", "'")
    return _ESCAPE.sub(_unescaped, text[1:-1]) if text[:1] == '"' else text.strip()


def _unescaped(escape: re.Match[str]) -> str:
    code = int(escape[1] or escape[2] or escape[3] or "0", 16)
    return chr(code) if 0 < code < 0x110000 else escape[4] or ""


def to_yaml(names: Sequence[str]) -> str:
    """`names` by index, quoted as JSON quotes, which YAML understands."""
    lines = [f"  {at}: {json.dumps(name, ensure_ascii=False)}\n" for at, name in enumerate(names)]
    return "names:\n" + "".join(lines) if lines else "names: []\n"


def name_at(names: Sequence[str], at: int) -> str:
    """The class of an index, or `FormatError`."""
    if not 0 <= at < len(names):
        raise FormatError(f"class {at} is not among the {len(names)} class names")
    return places.label(names[at])
