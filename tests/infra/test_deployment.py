"""What would be made agrees with the code: containers, queues, events, settings, rights. Worked out from the templates, not deployed."""

import ast
import base64
import json
import tomllib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis.strategies import from_regex

from activelearning import events, layout
from activelearning.store import azure_address
from tests.infra import code
from tests.infra.deployment import Resource
from tests.infra.places import GIVEN, INFRA, ROOT, deploy, kind, last, of_kind, rights

OWN: dict[str, str] = {}
PHOTOS = {"imagesContainer": "photos"}
THEIRS = {"imagesContainer": "photos", "existingAccount": "theirs", "existingAccountGroup": "rg-theirs"}

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
BUILT_IN = {
    "MonitoringMetricsPublisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "StorageBlobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "StorageBlobDataOwner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "StorageBlobDataReader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "StorageBlobDelegator": "db58b8e5-c6ad-4a2a-8342-4190687cbf4a",
    "StorageQueueDataContributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "StorageQueueDataMessageSender": "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a",
    "StorageQueueDataReader": "19e7f393-937e-4f77-808e-94535e297925",
}
QUEUES = (layout.NEW_IMAGES_QUEUE, layout.REVIEWED_QUEUE, layout.JOBS_QUEUE, layout.SHARDS_QUEUE)
READER, CONTRIBUTOR, DELEGATOR = "StorageBlobDataReader", "StorageBlobDataContributor", "StorageBlobDelegator"
QUEUE_READER, SENDER, QUEUE = "StorageQueueDataReader", "StorageQueueDataMessageSender", "StorageQueueDataContributor"
RIGHTS = {
    *((who, READER, "images") for who in ("functions", "trainer", "annotators")),
    ("operator", CONTRIBUTOR, "images"),
    *((who, CONTRIBUTOR, "labels") for who in ("functions", "trainer", "annotators", "operator")),
    *((who, DELEGATOR, "account data") for who in ("functions", "operator")),
    *(("operator", QUEUE, name) for queue in QUEUES for name in (queue, layout.poison_queue(queue))),
    *(("functions", QUEUE, name) for queue in QUEUES[:2] for name in (queue, layout.poison_queue(queue))),
    *(("events", SENDER, queue) for queue in QUEUES[:2]),
    *(("trainer", QUEUE, name) for queue in QUEUES[2:] for name in (queue, layout.poison_queue(queue))),
    *(("functions", QUEUE_READER, name) for queue in QUEUES[2:] for name in (queue, layout.poison_queue(queue))),
    ("functions", SENDER, layout.JOBS_QUEUE),
    ("functions", "StorageBlobDataOwner", "account host"),
    ("events", CONTRIBUTOR, "dead-letters"),
    ("trainer", READER, "packages"),
    ("operator", CONTRIBUTOR, "packages"),
    ("functions", "MonitoringMetricsPublisher", "insights"),
    ("functions", "Active learning: keeper of the trainers", "group rg-al-trainers"),
    ("trainer", "Active learning: a trainer that leaves", "group rg-al-trainers"),
}
"""Every right there is; infra/README.md says why. More than this is too much, less is too little."""

ONLY_ELSEWHERE = {azure_address.CONNECTION_VARIABLE, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
"""Read by the code, never set in the cloud: connection strings hold keys, and keys are switched off; the others are for desks whose
network has certificates of its own."""

READ_BY_AZURE = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AZURE_CLIENT_ID",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
}
"""Settings of the Functions host and of azure-identity, which no code of ours reads."""


def address(outputs: dict[str, Any]) -> azure_address.Address:
    """How the code understands the store that a deployment hands out."""
    return azure_address.parse(outputs["ACTIVELEARNING_STORE"])[0]


def below(deployment: Any, account: str, wanted: str) -> set[str]:
    """The names of what is made in a storage account."""
    return {entry.name for entry in of_kind(deployment, wanted) if f"/storageAccounts/{account}/" in entry.id}


@pytest.mark.parametrize("params", [OWN, PHOTOS, THEIRS], ids=["own", "photos", "theirs"])
def test_the_store_that_is_handed_out_has_the_containers_and_queues_that_are_made(params: dict[str, str]) -> None:
    deployment = deploy(**params)
    outputs = deployment.outputs()
    store = address(outputs)
    assert outputs["ACTIVELEARNING_QUEUE_PREFIX"] == store.queue_prefix
    assert store.account == outputs["ACTIVELEARNING_DATA_ACCOUNT"] == params.get("existingAccount", store.account)
    containers = below(deployment, store.account, "Microsoft.Storage/storageAccounts/blobServices/containers")
    assert containers == ({store.labels} if "existingAccount" in params else {store.images, store.labels})
    queues = below(deployment, store.account, "Microsoft.Storage/storageAccounts/queueServices/queues")
    assert queues == {store.queue_prefix + name for queue in QUEUES for name in (queue, layout.poison_queue(queue))}


def test_the_queues_are_those_of_the_layout() -> None:
    tree = ast.parse((ROOT / "functions/activelearning/layout.py").read_text("utf-8"))
    named = {node.targets[0].id for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
    assert {getattr(layout, name) for name in named if name.endswith("_QUEUE")} == set(QUEUES)


@settings(max_examples=25, deadline=None)
@given(from_regex(r"(?!.*--)[a-z0-9][a-z0-9-]{1,37}[a-z0-9]", fullmatch=True))
@example("images")
@example("p" * 39)
def test_whatever_the_images_are_called_the_code_finds_the_rest(name: str) -> None:
    deployment = deploy(imagesContainer=name)
    store = address(deployment.outputs())
    containers = below(deployment, store.account, "Microsoft.Storage/storageAccounts/blobServices/containers")
    queues = below(deployment, store.account, "Microsoft.Storage/storageAccounts/queueServices/queues")
    assert containers == {name, store.labels}
    assert {store.queue_prefix + queue for queue in QUEUES} <= queues
    assert max(map(len, containers | queues)) <= 63  # Azure's limit of both


@pytest.mark.parametrize("params", [OWN, PHOTOS, THEIRS], ids=["own", "photos", "theirs"])
def test_event_grid_tells_of_the_blobs_that_the_code_waits_for(params: dict[str, str]) -> None:
    deployment = deploy(**params)
    store = address(deployment.outputs())
    containers = {layout.IMAGES: store.images, layout.LABELS: store.labels}
    wanted = {(containers[entry.container], entry.prefix, entry.suffix, store.queue_prefix + entry.queue) for entry in events.SUBSCRIPTIONS}
    heard = of_kind(deployment, "Microsoft.EventGrid/systemTopics/eventSubscriptions")
    assert {told(entry) for entry in heard} == wanted
    assert len(heard) == len(wanted)


def told(subscription: Resource) -> tuple[str, str, str, str]:
    """Container, prefix, suffix and queue of a subscription."""
    rule = subscription.properties["filter"]
    container, _, prefix = rule["subjectBeginsWith"].removeprefix("/blobServices/default/containers/").partition("/blobs/")
    queue = subscription.properties["deliveryWithResourceIdentity"]["destination"]["properties"]["queueName"]
    return container, prefix, rule["subjectEndsWith"], queue


def test_only_finished_uploads_are_told_and_none_is_forgotten() -> None:
    for entry in of_kind(deploy(), "Microsoft.EventGrid/systemTopics/eventSubscriptions"):
        rule, delivery = entry.properties["filter"], entry.properties["deliveryWithResourceIdentity"]
        assert rule["includedEventTypes"] == [events.BLOB_CREATED]
        assert rule["isSubjectCaseSensitive"]
        assert rule["advancedFilters"] == [
            {"operatorType": "StringIn", "key": "data.api", "values": ["PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose"]}
        ]
        assert delivery["identity"]["type"] == "UserAssigned"
        assert delivery["destination"]["properties"]["queueMessageTimeToLiveInSeconds"] == -1
        assert (
            entry.properties["deadLetterWithResourceIdentity"]["deadLetterDestination"]["properties"]["blobContainerName"] == "dead-letters"
        )


def app_settings(**params: Any) -> dict[str, str]:
    """The app settings of the function app."""
    (found,) = of_kind(deploy(**params), "Microsoft.Web/sites/config")
    assert all(isinstance(value, str) for value in found.properties.values())
    return found.properties


def test_the_settings_are_what_the_code_and_the_host_read() -> None:
    ours = code.environment("functions") - ONLY_ELSEWHERE
    connected = {f"{name}__{key}" for name in code.connections() for key in ("blobServiceUri", "queueServiceUri", "credential", "clientId")}
    assert app_settings().keys() == ours | connected | READ_BY_AZURE


def test_the_settings_point_at_the_store() -> None:
    found, store = app_settings(**PHOTOS), address(deploy(**PHOTOS).outputs())
    assert found["ACTIVELEARNING_STORE"] == store.url
    assert found["ACTIVELEARNING_QUEUE_PREFIX"] == store.queue_prefix
    assert (found["Store__blobServiceUri"], found["Store__queueServiceUri"]) == (store.blobs, store.queues)
    assert found["Store__credential"] == "managedidentity"


def test_the_scale_sets_are_named_spot_first() -> None:
    sets = of_kind(deploy(), "Microsoft.Compute/virtualMachineScaleSets")
    spot, regular = sorted(sets, key=lambda entry: entry.properties["virtualMachineProfile"]["priority"], reverse=True)
    assert app_settings()["ACTIVELEARNING_SCALE_SETS"] == f"{spot.id},{regular.id}"
    assert (spot.name, regular.name) == ("trainer-spot", "trainer-regular")
    assert "ACTIVELEARNING_SCALE_SETS" not in app_settings(trainers=False)


def test_the_host_gives_a_message_as_many_chances_as_the_code_says() -> None:
    queues = json.loads((ROOT / "functions" / "host.json").read_text("utf-8"))["extensions"]["queues"]
    assert queues["maxDequeueCount"] == layout.MAX_DEQUEUE_COUNT
    assert queues["messageEncoding"] == "base64"  # Event Grid's, and the store's


def test_the_roles_are_the_built_in_ones_they_are_called_after() -> None:
    assert json.loads((INFRA / "roles.json").read_text("utf-8")) == BUILT_IN


def test_everybody_has_the_rights_they_need_and_no_more() -> None:
    assert rights(deploy()) == RIGHTS


def test_nobody_gets_no_right() -> None:
    found = rights(deploy(operatorId="", annotatorsId="", trainers=False))
    assert found == {right for right in RIGHTS if right[0] in ("functions", "events") and not right[2].endswith("trainers")}


def test_a_right_is_named_after_what_it_gives_so_that_deploying_again_finds_it() -> None:
    names = [entry.id for entry in of_kind(deploy(), "Microsoft.Authorization/roleAssignments")]
    assert len(names) == len(set(names)) == len(RIGHTS)
    assert sorted(names) == sorted(entry.id for entry in of_kind(deploy(), "Microsoft.Authorization/roleAssignments"))


def test_somebody_elses_account_is_left_as_it_is() -> None:
    made = {kind(entry) for entry in deploy(**THEIRS).resources() if "/storageAccounts/theirs" in entry.id}
    assert made == {
        "Microsoft.Authorization/roleAssignments",
        "Microsoft.Storage/storageAccounts/blobServices/containers",
        "Microsoft.Storage/storageAccounts/queueServices/queues",
    }
    (topic,) = of_kind(deploy(**THEIRS), "Microsoft.EventGrid/systemTopics")
    assert topic.properties["source"].endswith("/resourceGroups/rg-theirs/providers/Microsoft.Storage/storageAccounts/theirs")
    assert topic.body["location"] == f"<{topic.properties['source']}.location>"


def test_without_trainers_there_is_nothing_that_costs_when_idle() -> None:
    kinds = {kind(entry) for entry in deploy(trainers=False).resources()}
    assert not any(found.startswith(("Microsoft.Compute/", "Microsoft.Network/")) for found in kinds)
    assert [entry.name for entry in of_kind(deploy(trainers=False), "Microsoft.Resources/resourceGroups")] == ["rg-al"]


def test_a_machine_is_told_who_it_is_and_where_its_store_is() -> None:
    deployment = deploy()
    outputs = deployment.outputs()
    for entry in of_kind(deployment, "Microsoft.Compute/virtualMachineScaleSets"):
        told_to_it = base64.b64decode(entry.properties["virtualMachineProfile"]["osProfile"]["customData"]).decode()
        package = f"{outputs['ACTIVELEARNING_PACKAGES_ACCOUNT']}.blob.core.windows.net/packages/{outputs['ACTIVELEARNING_PACKAGE']}"
        assert outputs["ACTIVELEARNING_STORE"] in told_to_it
        assert package in told_to_it
        assert not [word for word in ("__STORE__", "__CLIENT_ID__", "__IDLE_MINUTES__", "__PACKAGE_URI__") if word in told_to_it]


def test_the_package_is_the_one_that_the_project_builds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert deploy().outputs()["ACTIVELEARNING_PACKAGE"] == f"{project['name']}-{project['version']}-py3-none-any.whl"


def test_azd_finds_the_service_in_the_one_group_it_knows() -> None:
    deployment = deploy()
    (site,) = of_kind(deployment, "Microsoft.Web/sites")
    tagged = [entry.name for entry in of_kind(deployment, "Microsoft.Resources/resourceGroups") if "azd-env-name" in entry.tags]
    assert tagged == [deployment.outputs()["AZURE_RESOURCE_GROUP"]]
    assert f"/resourceGroups/{tagged[0]}/" in site.id
    assert site.tags["azd-service-name"] == "functions"


def test_the_budget_watches_every_group() -> None:
    (budget,) = of_kind(deploy(), "Microsoft.Consumption/budgets")
    watched = budget.properties["filter"]["dimensions"]["values"]
    placed = {entry.id.split("/")[4] for entry in deploy().resources() if "/resourceGroups/" in entry.id}
    assert set(watched) == placed
    assert budget.properties["timePeriod"]["startDate"] == "2026-11-01"
    assert all(notice["contactRoles"] == ["Owner"] for notice in budget.properties["notifications"].values())
    assert of_kind(deploy(budgetAmount=0), "Microsoft.Consumption/budgets") == []


def test_the_deployment_is_the_same_every_time() -> None:
    first, second = ([(entry.id, dict(entry.body)) for entry in deploy().resources()] for _ in range(2))
    assert first == second
    assert {last(entry) for entry, _ in first} != set(GIVEN)
