"""Nothing that is made is open, keyed, forgetful or too mighty; and each of these checks can fail."""

from pathlib import Path

import pytest

from tests.infra.places import broken, deploy
from tests.infra.safety import complaints


@pytest.mark.parametrize("params", [{}, {"imagesContainer": "photos"}, {"trainers": False}, {"operatorId": "", "annotatorsId": ""}])
def test_nothing_that_is_made_is_unsafe(params: dict[str, object]) -> None:
    assert complaints(deploy(**params)) == []


def test_an_unprotected_account_is_something_one_has_to_ask_for() -> None:
    assert complaints(deploy(protectData=False)) == ["the data's account is not locked against deletion"]


DATA, PROJECT, HOST = "modules/data-account.bicep", "modules/project.bicep", "modules/host-account.bicep"
ROLES, SETS, NETWORK, APP = "modules/machine-roles.bicep", "modules/scale-set.bicep", "modules/network.bicep", "modules/functions.bicep"


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        (DATA, "allowSharedKeyAccess: false", "allowSharedKeyAccess: true", "allowSharedKeyAccess is True, not False"),
        (DATA, "    allowSharedKeyAccess: false\n", "", "allowSharedKeyAccess is None, not False"),
        (HOST, "allowSharedKeyAccess: false", "allowSharedKeyAccess: true", "allowSharedKeyAccess is True, not False"),
        (DATA, "allowBlobPublicAccess: false", "allowBlobPublicAccess: true", "allowBlobPublicAccess is True"),
        (DATA, "TLS1_2", "TLS1_0", "minimumTlsVersion is 'TLS1_0'"),
        (DATA, "isHnsEnabled: false", "isHnsEnabled: true", "hierarchical namespaces"),
        (DATA, "isVersioningEnabled: true", "isVersioningEnabled: false", "isVersioningEnabled is False"),
        (DATA, "    deleteRetentionPolicy: { enabled: true, days: 30 }\n", "", "deleteRetentionPolicy.enabled is None"),
        (DATA, "containerDeleteRetentionPolicy: { enabled: true, days: 30 }", "containerDeleteRetentionPolicy: { enabled: true, days: 1 }",
         "containerDeleteRetentionPolicy.days is 1"),
        (DATA, "changeFeed: { enabled: true", "changeFeed: { enabled: false", "changeFeed.enabled is False"),
        (DATA, "if (protect)", "if (!protect)", "is not locked"),
        (DATA, "level: 'CanNotDelete'", "level: 'NotSpecified'", "is not locked"),
        ("main.bicep", "name: 'rg-${environmentName}-trainers'", "name: dataGroup", "`azd down` would delete it"),
        (PROJECT, "name: labelsContainer\n  properties: { publicAccess: 'None' }",
         "name: labelsContainer\n  properties: { publicAccess: 'Blob' }", "publicAccess is 'Blob'"),
        (PROJECT, "    scope: labels\n", "", "is too wide"),
        (PROJECT, "    scope: images\n", "    scope: storage\n", "is too wide"),
        (PROJECT, "    scope: storage\n", "    scope: resourceGroup()\n", "is too wide"),
        ("modules/queue.bicep", "    scope: queue\n", "    scope: storage\n", "is too wide"),
        (HOST, "    scope: packages\n", "    scope: account\n", "is too wide"),
        ("roles.json", "ba92f5b4-2d11-453d-a403-e96b0029c9fe", "b24988ac-6180-42a0-ab88-20f7382dd24c", "somebody is Contributor"),
        (ROLES, "'Microsoft.Compute/virtualMachineScaleSets/write'", "'Microsoft.Compute/*'", "Microsoft.Compute/*"),
        (ROLES, "var here = resourceGroup().id", "var here = subscription().id", "can be given outside"),
        (SETS, "capacity: 0", "capacity: 1", "starts with machines"),
        (SETS, "spot ? 'Delete' : null", "spot ? 'Deallocate' : null", "is kept and paid for"),
        (SETS, "disablePasswordAuthentication: true", "disablePasswordAuthentication: false", "take passwords"),
        (SETS, "subnet: { id: subnetId }", "subnet: { id: subnetId }, publicIPAddressConfiguration: { name: 'x' }", "public addresses"),
        (NETWORK, "access: 'Deny'", "access: 'Allow'", "somebody may come in"),
        (NETWORK, "          networkSecurityGroup: { id: guard.id }\n", "", "a subnet without a guard"),
        (APP, "httpsOnly: true", "httpsOnly: false", "httpsOnly is False"),
        (APP, "ftpsState: 'Disabled', ", "", "siteConfig.ftpsState is None"),
        (APP, "name: 'scm'\n  properties: { allow: false }", "name: 'scm'\n  properties: { allow: true }", "passwords for publishing"),
        (APP, "maximumInstanceCount: 40", "maximumInstanceCount: 1000", "more than 100 instances"),
        (APP, "  Store__credential: 'managedidentity'", "  Store__credential: 'AccountKey=x'", "looks like a key"),
        ("modules/monitoring.bicep", "    DisableLocalAuth: true\n", "", "DisableLocalAuth is None"),
    ],
)  # fmt: skip
def test_every_check_notices_what_it_is_for(tmp_path: Path, file: str, old: str, new: str, complaint: str) -> None:
    found = complaints(deploy(broken(tmp_path, file, old, new)))
    assert any(complaint in sentence for sentence in found), found


def test_what_is_not_made_must_not_be_asked_for(tmp_path: Path) -> None:
    before = "eventsId: eventsIdentity.outputs.principalId\n    trainerId: "
    guarded = (
        f"{before}trainers ? trainerIdentity!.outputs.principalId : ''\n    operatorId: operatorId\n    operatorType: operatorType\n  "
    )
    copy = broken(tmp_path, "main.bicep", f"{guarded}}}", guarded.replace("trainers ? ", "").replace(" : ''", "") + "}")
    assert complaints(deploy(copy)) == []
    with pytest.raises(ValueError, match="'trainerIdentity' is not made, yet its 'outputs' is asked for"):
        deploy(copy, trainers=False).resources()
