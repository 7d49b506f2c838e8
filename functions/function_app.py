"""The triggers. Each decodes its event, makes one call, and returns; `activelearning.steps` decides.

`ACTIVELEARNING_STORE` says where the store is, `ACTIVELEARNING_QUEUE_PREFIX` what its queues' names begin with. Failing is raising:
the queue delivers again, and after five times to the poison queue. Who asks over HTTP gets an answer, or one sentence that says what
to mend; what nobody foresaw goes to the log only. `activelearning up` runs this very app on one machine.
"""

import json
import os
import time
from collections.abc import Callable
from functools import cache

import azure.functions as func

from activelearning import desk, layout, overview, steps
from activelearning.errors import StoreError, UserError
from activelearning.store import Store, open_store

app = func.FunctionApp()

_PREFIX = os.environ.get("ACTIVELEARNING_QUEUE_PREFIX", "")
# One a process: a store on Azure keeps its connections and its token.
_opened = cache(open_store)


def _store() -> Store:
    url = os.environ.get("ACTIVELEARNING_STORE")
    if not url:
        raise UserError("ACTIVELEARNING_STORE is not set: give the function app the store's address under this name")
    return _opened(url)


@app.queue_trigger(arg_name="message", queue_name=_PREFIX + layout.REVIEWED_QUEUE, connection="Store")
def reviewed_upload(message: func.QueueMessage) -> None:
    """A reviewed batch was uploaded."""
    steps.take_in_upload(_store(), message.get_body().decode(), time.time())


@app.queue_trigger(arg_name="message", queue_name=_PREFIX + layout.NEW_IMAGES_QUEUE, connection="Store")
def new_image(message: func.QueueMessage) -> None:
    """An image was uploaded."""
    steps.images_arrived(_store(), message.get_body().decode(), time.time())


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def tick(timer: func.TimerRequest) -> None:
    """Every minute: what is due, and what no event told of."""
    steps.tick(_store(), time.time())


@app.route(trigger_arg_name="request", route="status", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def status(request: func.HttpRequest) -> func.HttpResponse:
    """What `activelearning status --json` prints."""
    return _answer(_overview)


@app.route(trigger_arg_name="request", route="batches", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
def batches(request: func.HttpRequest) -> func.HttpResponse:
    """Claim a batch for an annotator without an account, sign for it anew, or give it back: `activelearning.desk` says how."""
    return _answer(lambda store: desk.answer(store, os.environ["ACTIVELEARNING_STORE"], request.get_body(), time.time()))


def _overview(store: Store) -> object:
    return overview.overview(store, time.time()).as_dict()


def _answer(ask: Callable[[Store], object]) -> func.HttpResponse:
    """The answer as JSON with 200, or `{"error": sentence}`: 409 where a person can mend it, 503 where time can."""
    try:
        return _json(ask(_store()), 200)
    except UserError as error:
        return _json({"error": str(error)}, 409)
    except StoreError as error:
        return _json({"error": f"{error}; try again"}, 503)


def _json(content: object, status_code: int) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(content), status_code=status_code, mimetype="application/json")
