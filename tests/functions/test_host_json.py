"""`host.json`: only keys that Microsoft documents, with values in their range that agree with what one machine does."""

import json
import re
from typing import Any

import pytest

from activelearning import layout
from tests.functions.interpreters import ROOT

# https://learn.microsoft.com/azure/azure-functions/functions-host-json and …/functions-bindings-storage-queue (extension 5.x)
TOP = {"version", "extensionBundle", "extensions", "functionTimeout", "logging", "concurrency", "healthMonitor", "singleton"}
QUEUES = {"batchSize", "newBatchThreshold", "maxDequeueCount", "visibilityTimeout", "maxPollingInterval", "messageEncoding"}


@pytest.fixture
def settings() -> dict[str, Any]:
    """The file's content."""
    found: dict[str, Any] = json.loads((ROOT / "functions" / "host.json").read_text("utf-8"))
    return found


def test_every_key_is_one_that_the_host_knows(settings: dict[str, Any]) -> None:
    assert settings.keys() <= TOP
    assert settings["version"] == "2.0"
    assert settings["extensions"].keys() == {"queues"}
    assert settings["extensions"]["queues"].keys() <= QUEUES


def test_the_bundle_has_the_queue_extension_of_version_5(settings: dict[str, Any]) -> None:
    assert settings["extensionBundle"] == {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"}


def test_the_cloud_gives_up_on_a_message_as_often_as_one_machine_does(settings: dict[str, Any]) -> None:
    assert settings["extensions"]["queues"]["maxDequeueCount"] == layout.MAX_DEQUEUE_COUNT


def test_messages_are_read_as_event_grid_and_the_stores_write_them(settings: dict[str, Any]) -> None:
    assert settings["extensions"]["queues"]["messageEncoding"] == "base64"


def test_a_failed_message_comes_back_soon_and_few_are_handled_at_once(settings: dict[str, Any]) -> None:
    queues = settings["extensions"]["queues"]
    assert re.fullmatch(r"00:00:[0-5]\d", queues["visibilityTimeout"]) and queues["visibilityTimeout"] > "00:00:00"
    # All of them write state.json by compare-and-swap, so more at once would only wait for one another.
    assert 1 <= queues["batchSize"] <= 8 and queues["newBatchThreshold"] <= queues["batchSize"]


def test_a_queue_is_looked_at_every_few_seconds(settings: dict[str, Any]) -> None:
    # the host's default is a minute, in which a person thinks that the upload went nowhere
    assert "00:00:01" <= settings["extensions"]["queues"]["maxPollingInterval"] <= "00:00:05"
