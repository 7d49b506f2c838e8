"""Working with a link in place of an account: a file that the operator made, or the address of the project's own function.

Rule: the address holds a key and the file signatures, so neither gets into a folder, a log or an error. A file opens the one batch it
was made for; a function claims a batch when asked, signs anew when a signature has run out, and takes a batch back.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from activelearning import links
from activelearning.errors import UserError
from activelearning.links import Link
from activelearning.store import Store

if TYPE_CHECKING:
    from tagger_client.download import Order, Rows

LINK_VARIABLE = "ACTIVELEARNING_LINK"
_SECONDS = 120.0
Ask = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where links come from: `claim` for an order, `again` for a batch, `free` gives one back; `lasting`: links can be renewed."""

    claim: "Callable[[Order], Link]"
    again: Callable[[str], Link]
    free: Callable[[str], int]
    lasting: bool


def desk(where: str) -> Desk:
    """The desk at an address or in a file. Raises `UserError` for what is neither."""
    return _function(where) if where.startswith(("https://", "http://127.0.0.1")) else _file(Path(where))


def open_store(at: Desk, link: Link) -> Store:
    """The store as far as the link reaches, renewed at the desk where that is possible."""
    from activelearning.store.azure_linked import open_linked

    return open_linked(link, (lambda: at.again(link.batch)) if at.lasting else None)


def claimed(link: Link) -> "Callable[..., tuple[float, Rows]]":
    """The claim that the link was made from, for `download`."""
    return lambda store, manifest, wanted, now: (link.expires_at, link.images())


def _file(path: Path) -> Desk:
    try:
        link = links.parse(path.read_text("utf-8"), str(path))
    except UnicodeDecodeError:
        raise UserError(f"{path} is no link: ask for it again") from None

    def claim(order: "Order") -> Link:
        return link

    def again(batch: str) -> Link:
        if batch != link.batch:
            raise UserError(f"{path} opens batch {link.batch}, and this folder holds batch {batch}: use the link that it was made with")
        return link

    def free(batch: str) -> int:
        raise UserError(f"a link in a file gives nothing back: tell whoever made {path}, or let the claim run out")

    return Desk(claim, again, free, lasting=False)


def _function(address: str) -> Desk:
    def claim(order: "Order") -> Link:
        wanted = {name: value for name in order.wanted.__slots__ if (value := getattr(order.wanted, name)) not in ("", None)}
        return _link(_ask(address, {"tagger": order.tagger, "count": order.count, **wanted}))

    def again(batch: str) -> Link:
        return _link(_ask(address, {"batch": batch}))

    def free(batch: str) -> int:
        return int(_ask(address, {"release": batch})["images"])

    return Desk(claim, again, free, lasting=True)


def _link(answer: dict[str, Any]) -> Link:
    return links.parse(json.dumps(answer), "the answer of the function app")


def _ask(address: str, question: dict[str, Any]) -> dict[str, Any]:
    """Post a question. The address holds a key, so no error of the transport is repeated."""
    import requests

    try:
        answer = requests.post(address, json=question, timeout=_SECONDS)
        content = answer.json()
    except requests.JSONDecodeError:
        raise UserError(
            f"the function app answered {answer.status_code}: check the link, it must be the whole address you were given"
        ) from None
    except requests.RequestException as error:
        raise UserError(f"the function app does not answer ({type(error).__name__}): check the link and the network") from None
    if answer.status_code != 200 or not isinstance(content, dict):
        reason = content.get("error") if isinstance(content, dict) else None
        raise UserError(str(reason or f"the function app answered {answer.status_code}: check the link"))
    return content
