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
from activelearning.errors import StoreError, UserError
from activelearning.links import Link, is_safe
from activelearning.store import Store

if TYPE_CHECKING:
    from tagger_client.download import Order, Rows

_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Desk:
    """Where links come from: `claim` for an order, `again` for a batch, `free` gives one back.

    `lasting`: links can be renewed; `batch`: the only one that there is here, empty where orders name theirs.
    """

    claim: "Callable[[Order], Link]"
    again: Callable[[str], Link]
    free: Callable[[str], int]
    lasting: bool
    batch: str = ""


def desk(where: str) -> Desk:
    """The desk at an address or in a file. Raises `UserError` for what is neither, without repeating it: it may hold a key."""
    if "://" not in where:
        return _file(Path(where))
    if not is_safe(where):
        raise UserError("a link is an address that begins with https://, or the name of a file: check what you were given")
    return _function(where)


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

    return Desk(claim, again, free, lasting=False, batch=link.batch)


def _function(address: str) -> Desk:
    def claim(order: "Order") -> Link:
        wanted = {name: value for name in order.wanted.__slots__ if (value := getattr(order.wanted, name)) not in ("", None)}
        return _link(_ask(address, {"batch": order.batch, "tagger": order.tagger, "count": order.count, **wanted}))

    def again(batch: str) -> Link:
        return _link(_ask(address, {"batch": batch}))

    def free(batch: str) -> int:
        return int(_ask(address, {"release": batch})["images"])

    return Desk(claim, again, free, lasting=True)


def _link(answer: dict[str, Any]) -> Link:
    return links.parse(json.dumps(answer), "the answer of the function app")


def _ask(address: str, question: dict[str, Any]) -> dict[str, Any]:
    """Post a question. The address holds a key, so no error of the transport is repeated, and nobody is followed elsewhere."""
    import requests
    from urllib3.exceptions import HTTPError

    try:
        answer = requests.post(address, json=question, timeout=_SECONDS, allow_redirects=False)
    except (requests.RequestException, HTTPError, ValueError) as error:
        # Perhaps it did what it was asked; whoever asks again gets the same.
        raise StoreError(f"the function app does not answer ({type(error).__name__}): check the link and the network") from None
    content = _content(answer.content)
    if answer.status_code == 200 and content:
        return content
    raise _refusal(answer.status_code, content.get("error"))


def _content(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _refusal(status: int, reason: object) -> Exception:
    said = reason if isinstance(reason, str) and reason.isprintable() else ""
    if status >= 500 or status == 429:
        return StoreError(said or f"the function app answered {status}: try again later; nothing was lost")
    return UserError(said or f"the function app answered {status}: check the link, it must be the whole address you were given")
