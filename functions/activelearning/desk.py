"""What the function `batches` answers: the desk where annotators without an account get batches.

Rule: a question is one JSON object and comes from outside: every field is checked, unknown ones are errors.

- `{"batch": "20261121T081500-a1b2c3", "tagger": "ann", "count": 40}` claims a batch under an id of the asker's choice, once however
  often it is asked, and answers with the link to it; `folder`, `label`, `min_confidence` and `max_confidence` say which images.
- `{"batch": "20261121T081500-a1b2c3"}` answers with a fresh link to a batch that was claimed before.
- `{"release": "20261121T081500-a1b2c3"}` gives back what is not reviewed, and answers `{"images": 12}`.
"""

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from activelearning import state, steps
from activelearning.claims import Wanted
from activelearning.errors import UserError
from activelearning.store import Store

if TYPE_CHECKING:
    from activelearning.sharing import Order

_FIELDS: dict[str, tuple[type, ...]] = {
    "batch": (str,),
    "tagger": (str,),
    "count": (int,),
    "folder": (str,),
    "label": (str,),
    "min_confidence": (int, float),
    "max_confidence": (int, float),
}


def answer(store: Store, url: str, body: bytes, now: float) -> dict[str, Any]:
    """Do what is asked; `url` is how the store was opened. Raises `UserError` with what is wrong."""
    question = _question(body)
    if question.keys() == {"release"}:
        return _release(store, _text(question, "release"), now)
    # its libraries take long to import, and no other function needs them
    from activelearning import sharing

    if question.keys() == {"batch"}:
        return sharing.again(store, url, _text(question, "batch"), now).to_json()
    return sharing.share(store, url, _order(question), now).to_json()


def _question(body: bytes) -> dict[str, Any]:
    try:
        question = json.loads(body)
    except (ValueError, RecursionError):
        raise UserError("the question is not JSON") from None
    if not isinstance(question, dict):
        raise UserError("the question is not one JSON object")
    return question


def _text(question: dict[str, Any], name: str) -> str:
    if not isinstance(question[name], str):
        raise UserError(f"'{name}' must be a text")
    return str(question[name])


def _release(store: Store, batch: str, now: float) -> dict[str, Any]:
    known = state.load(store.labels).batches.get(batch)
    return {"images": steps.give_back(store, batch, known.tagger if known else "", now)}


def _order(question: dict[str, Any]) -> "Order":
    from activelearning.sharing import Order

    for name, value in question.items():
        kinds = _FIELDS.get(name)
        if kinds is None:
            raise UserError(f"'{name}' is nothing that can be asked for: use {', '.join(_FIELDS)}")
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise UserError(f"'{name}' is {value!r}, which it cannot be")
    if not {"tagger", "count"} <= question.keys():
        raise UserError("a question for images needs 'tagger' and 'count'")
    wanted = {one.name: question[one.name] for one in fields(Wanted) if one.name in question}
    return Order(question["tagger"], question["count"], Wanted(**wanted), batch=question.get("batch", ""))
