"""The infrastructure as the tests deploy it: the real files or a broken copy of them, and words for what is found."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.infra.deployment import Deployment, Resource, deployed

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
TEMPLATES = (INFRA / "main.bicep", *sorted((INFRA / "modules").glob("*.bicep")))
GIVEN = {
    "environmentName": "al",
    "location": "westeurope",
    "operatorId": "the operator",
    "annotatorsId": "the annotators",
    "trainerSshPublicKey": "ssh-ed25519 AAAA",
}


def deploy(infra: Path = INFRA, **params: Any) -> Deployment:
    """What `azd up` would make with these parameters."""
    return deployed(infra / "main.bicep", GIVEN | params)


def broken(folder: Path, file: str, old: str, new: str) -> Path:
    """A copy of the infrastructure in which a text that is there once is another."""
    copy = shutil.copytree(INFRA, folder / "infra")
    content = (copy / file).read_text("utf-8")
    assert content.count(old) == 1, f"{old!r} is {content.count(old)} times in {file}"
    (copy / file).write_text(content.replace(old, new), "utf-8")
    return copy


def kind(resource: Resource) -> str:
    """The type without its version."""
    return resource.type.partition("@")[0]


def of_kind(deployment: Deployment, wanted: str) -> list[Resource]:
    """The resources of a type, such as `Microsoft.Compute/virtualMachineScaleSets`."""
    return [resource for resource in deployment.resources() if kind(resource) == wanted]


def last(identifier: str) -> str:
    """The name at the end of a resource id."""
    return identifier.rpartition("/")[2]


def rights(deployment: Deployment) -> set[tuple[str, str, str]]:
    """All role assignments as (who, role, on what)."""
    names = {value: name for name, value in json.loads((INFRA / "roles.json").read_text("utf-8")).items()}
    names |= {
        role.name: role.properties["roleName"].partition(" (")[0] for role in of_kind(deployment, "Microsoft.Authorization/roleDefinitions")
    }
    assigned = (resource for resource in of_kind(deployment, "Microsoft.Authorization/roleAssignments"))
    return {(_who(entry), names[last(entry.properties["roleDefinitionId"])], _place(entry.scope)) for entry in assigned}


def _who(assignment: Resource) -> str:
    principal = assignment.properties["principalId"]
    if not principal.startswith("<"):
        return str(principal).removeprefix("the ")
    return last(principal.partition(".properties")[0]).split("-")[1]


def _place(scope: str) -> str:
    """`labels`, `train-jobs`, `account …data`, `group rg-al`: the last two words of an id, without the token."""
    *_, what, name = scope.split("/")
    words = {"storageAccounts": f"account {name[-4:]}", "resourceGroups": f"group {name}", "subscriptions": "subscription"}
    return words.get(what, {"components": "insights"}.get(what, name))
