"""The triggers. Each decodes its event, makes one call, and returns; `activelearning.steps` decides.

`ACTIVELEARNING_STORE` says where the store is. Failing is raising: the queue delivers again, and after five times to the poison
queue. `activelearning up` runs this very app on one machine.
"""

import os
import time

import azure.functions as func

from activelearning import layout, steps
from activelearning.store import Store, open_store

app = func.FunctionApp()


def _store() -> Store:
    return open_store(os.environ["ACTIVELEARNING_STORE"])


@app.queue_trigger(arg_name="message", queue_name=layout.REVIEWED_QUEUE, connection="Store")
def reviewed_upload(message: func.QueueMessage) -> None:
    """A reviewed batch was uploaded."""
    steps.take_in_upload(_store(), message.get_body().decode(), time.time())


@app.queue_trigger(arg_name="message", queue_name=layout.NEW_IMAGES_QUEUE, connection="Store")
def new_image(message: func.QueueMessage) -> None:
    """An image was uploaded."""
    steps.images_arrived(_store(), message.get_body().decode(), time.time())


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def tick(timer: func.TimerRequest) -> None:
    """Every minute: what is due, and what no event told of."""
    steps.tick(_store(), time.time())
