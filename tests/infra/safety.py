"""What must hold of every deployment whatever is built on it: no keys, nothing public, nothing lost, no right too wide.

Rule: a check looks at the resources that would be made and returns sentences; none means that all is well.
"""

from collections.abc import Callable, Iterator

from tests.infra.deployment import Deployment, Resource
from tests.infra.places import kind, of_kind

_DATA_GROUP = "/resourceGroups/rg-al-data/"
_NEVER = {"Owner": "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c"}


def complaints(deployment: Deployment) -> list[str]:
    """Everything that is wrong with what would be made."""
    return [sentence for check in _CHECKS for sentence in check(deployment)]


def _lacking(entry: Resource, wanted: dict[str, object]) -> Iterator[str]:
    for path, value in wanted.items():
        found: object = entry.properties
        for step in path.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        if found != value:
            yield f"{entry.name}: {path} is {found!r}, not {value!r}"


def _accounts(deployment: Deployment) -> Iterator[str]:
    for entry in of_kind(deployment, "Microsoft.Storage/storageAccounts"):
        yield from _lacking(
            entry,
            {
                "allowSharedKeyAccess": False,
                "allowBlobPublicAccess": False,
                "isLocalUserEnabled": False,
                "minimumTlsVersion": "TLS1_2",
                "supportsHttpsTrafficOnly": True,
            },
        )
        if entry.properties.get("isHnsEnabled"):
            yield f"{entry.name}: has hierarchical namespaces, which exclude versioning"


def _containers(deployment: Deployment) -> Iterator[str]:
    for entry in of_kind(deployment, "Microsoft.Storage/storageAccounts/blobServices/containers"):
        yield from _lacking(entry, {"publicAccess": "None"})


def _history(deployment: Deployment) -> Iterator[str]:
    services = [entry for entry in of_kind(deployment, "Microsoft.Storage/storageAccounts/blobServices") if _DATA_GROUP in entry.id]
    if len(services) != 1:
        yield f"{len(services)} blob services keep the data's history, not 1"
    wanted = {
        "isVersioningEnabled": True,
        "changeFeed.enabled": True,
        "deleteRetentionPolicy.enabled": True,
        "deleteRetentionPolicy.days": 30,
        "containerDeleteRetentionPolicy.enabled": True,
        "containerDeleteRetentionPolicy.days": 30,
    }
    yield from (sentence for entry in services for sentence in _lacking(entry, wanted))
    yield from (f"{entry.id}: a lifecycle rule" for entry in of_kind(deployment, "Microsoft.Storage/storageAccounts/managementPolicies"))


def _data_stays(deployment: Deployment) -> Iterator[str]:
    if any(entry.name == "rg-al-data" for entry in of_kind(deployment, "Microsoft.Resources/resourceGroups")):
        yield "the template makes the data's group, so `azd down` would delete it"
    locks = [entry for entry in of_kind(deployment, "Microsoft.Authorization/locks") if _DATA_GROUP in entry.scope + "/"]
    if [(entry.properties["level"], entry.scope.split("/")[-2]) for entry in locks] != [("CanNotDelete", "storageAccounts")]:
        yield "the data's account is not locked against deletion"


def _rights(deployment: Deployment) -> Iterator[str]:
    for entry in of_kind(deployment, "Microsoft.Authorization/roleAssignments"):
        role = entry.properties["roleDefinitionId"]
        yield from (f"somebody is {name}" for name, value in _NEVER.items() if role.endswith(value))
        if not _narrow(entry):
            yield f"a right of {role.rpartition('/')[2]} on {entry.scope} is too wide"


def _narrow(assignment: Resource) -> bool:
    """On one thing; a key to sign with on an account; the host's on its own account; machines in the trainers' group."""
    place, role = assignment.scope, assignment.properties["roleDefinitionId"].rpartition("/")[2]
    if place.endswith(("/containers/" + place.rpartition("/")[2], "/queues/" + place.rpartition("/")[2])) or "/components/" in place:
        return True
    allowed = {"db58b8e5-c6ad-4a2a-8342-4190687cbf4a": "data", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "host"}
    if role in allowed:
        return "/storageAccounts/" in place and place.endswith(allowed[role])
    return place.endswith("/resourceGroups/rg-al-trainers")


def _custom_roles(deployment: Deployment) -> Iterator[str]:
    for entry in of_kind(deployment, "Microsoft.Authorization/roleDefinitions"):
        if not all(scope.endswith("/resourceGroups/rg-al-trainers") for scope in entry.properties["assignableScopes"]):
            yield f"{entry.properties['roleName']}: can be given outside the trainers' group"
        actions = [action for grant in entry.properties["permissions"] for action in (*grant["actions"], *grant["dataActions"])]
        yield from (f"{entry.properties['roleName']}: {action}" for action in actions if "*" in action or "Authorization" in action)


def _machines(deployment: Deployment) -> Iterator[str]:
    for entry in of_kind(deployment, "Microsoft.Compute/virtualMachineScaleSets"):
        profile = entry.properties["virtualMachineProfile"]
        yield from _lacking(entry, {"orchestrationMode": "Flexible"})
        if entry.body["sku"]["capacity"] != 0:
            yield f"{entry.name}: starts with machines"
        if (profile["priority"], profile["evictionPolicy"]) not in (("Spot", "Delete"), ("Regular", None)):
            yield f"{entry.name}: an evicted machine is kept and paid for"
        if "publicIPAddressConfiguration" in str(profile["networkProfile"]):
            yield f"{entry.name}: its machines have public addresses"
        if not profile["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"]:
            yield f"{entry.name}: its machines take passwords"


def _network(deployment: Deployment) -> Iterator[str]:
    for entry in of_kind(deployment, "Microsoft.Network/networkSecurityGroups"):
        rules = [rule["properties"] for rule in entry.properties["securityRules"]]
        if any(rule["access"] == "Allow" for rule in rules if rule["direction"] == "Inbound"):
            yield f"{entry.name}: somebody may come in"
        if not any(rule["access"] == "Deny" and rule["sourceAddressPrefix"] == "*" for rule in rules):
            yield f"{entry.name}: neighbours may come in"
    for entry in of_kind(deployment, "Microsoft.Network/virtualNetworks"):
        subnets = [subnet["properties"] for subnet in entry.properties["subnets"]]
        yield from (f"{entry.name}: a subnet without a guard" for subnet in subnets if not subnet.get("networkSecurityGroup"))


def _app(deployment: Deployment) -> Iterator[str]:
    for entry in of_kind(deployment, "Microsoft.Web/sites"):
        yield from _lacking(entry, {"httpsOnly": True, "siteConfig.ftpsState": "Disabled", "siteConfig.minTlsVersion": "1.2"})
        if entry.properties["functionAppConfig"]["scaleAndConcurrency"]["maximumInstanceCount"] > 100:
            yield f"{entry.name}: may grow to more than 100 instances"
    policies = of_kind(deployment, "Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    if {(entry.name, entry.properties["allow"]) for entry in policies} != {("ftp", False), ("scm", False)}:
        yield "the function app takes passwords for publishing"
    for entry in of_kind(deployment, "Microsoft.Insights/components"):
        yield from _lacking(entry, {"DisableLocalAuth": True})


def _secrets(deployment: Deployment) -> Iterator[str]:
    for entry in deployment.resources():
        if kind(entry) != "Microsoft.Compute/virtualMachineScaleSets" and any(word in str(entry.body) for word in _SECRETS):
            yield f"{entry.name}: holds what looks like a key"


_SECRETS = ("AccountKey", "SharedAccessSignature", "listKeys", "sig=", "password")
_CHECKS: tuple[Callable[[Deployment], Iterator[str]], ...] = (
    _accounts,
    _containers,
    _history,
    _data_stays,
    _rights,
    _custom_roles,
    _machines,
    _network,
    _app,
    _secrets,
)
