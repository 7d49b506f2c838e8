"""The Bicep files: two parsers read them, every name in them means something, every parameter can be given."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pycep import BicepParser
from tree_sitter import Node

from tests.infra import bicep
from tests.infra.places import INFRA, ROOT, TEMPLATES, broken

PARAMETERS = json.loads((INFRA / "main.parameters.json").read_text("utf-8"))["parameters"]
_FROM_ENVIRONMENT = re.compile(r"\$\{([A-Z_]+)(?:=(.*))?\}")
_GIVEN_BY_AZD = {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID", "AZURE_PRINCIPAL_TYPE"}
ids = [path.name for path in TEMPLATES]


def parsed(path: Path) -> bool:
    """Whether pycep reads a file."""
    try:
        BicepParser().parse(text=path.read_text("utf-8"))
    except Exception as error:  # noqa: BLE001 - it raises whatever its parser generator raises
        return not error
    return True


@pytest.mark.parametrize("path", TEMPLATES, ids=ids)
def test_two_parsers_read_every_file(path: Path) -> None:
    assert parsed(path)
    assert bicep.syntax_errors(bicep.read(path)) == []


@pytest.mark.parametrize("path", TEMPLATES, ids=ids)
def test_every_name_is_declared_once_used_and_pinned(path: Path) -> None:
    assert bicep.faults(path) == []


def test_both_parsers_notice_what_is_torn(tmp_path: Path) -> None:
    copy = broken(tmp_path, "modules/identity.bicep", "  tags: tags\n}", "  tags: tags\n") / "modules" / "identity.bicep"
    assert not parsed(copy)
    assert bicep.syntax_errors(bicep.read(copy)) != []


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("main.bicep", "labelsContainer: labelsContainer", "labelsContainer: labelContainer", "'labelContainer' is not defined"),
        ("main.bicep", "toLower(uniqueString", "tolower(uniqueString", "'tolower()' is not defined"),
        ("main.bicep", "sku: dataSku,", "skew: dataSku,", "module 'dataAccount' has no param 'skew'"),
        ("main.bicep", "sku: dataSku,", "", "module 'dataAccount' needs the param 'sku'"),
        ("main.bicep", "sku: dataSku,", "", "param 'dataSku' is not used"),
        ("main.bicep", "'modules/host-account.bicep'", "'modules/host.bicep'", "in 'modules/host.bicep', which is no file here"),
        ("main.bicep", "host.outputs.deployments", "host.outputs.deployment", "module 'host' has no output 'deployment'"),
        ("main.bicep", "monitoring.outputs.name", "monitoring.outputs.names", "module 'monitoring' has no output 'names'"),
        ("main.bicep", "machines[1].outputs.id", "machines[1].outputs.ids", "module 'machines' has no output 'ids'"),
        ("modules/identity.bicep", "@2023-01-31", "@2023-01-31-preview", "pins no released version"),
        ("modules/identity.bicep", "@2023-01-31", "", "pins no released version"),
        ("modules/identity.bicep", "param tags object", "param tags object\nparam tags object", "'tags' is declared twice"),
        ("modules/events.bicep", "for entry in subscriptions", "for subscribed in subscriptions", "'entry' is not defined"),
        ("modules/queue.bicep", "held => !empty(held.who.id)", "held => !empty(help.who.id)", "'help' is not defined"),
        ("modules/machine-roles.bicep", "resourceGroup().id", "[resourceGroup().id]", "'resourceGroup' is not defined"),
    ],
)  # fmt: skip
def test_a_name_that_means_nothing_is_found(tmp_path: Path, file: str, old: str, new: str, fault: str) -> None:
    found = bicep.faults(broken(tmp_path, file, old, new) / file)
    assert any(fault in line for line in found), found


def literal(node: Node | None) -> object:
    """What a default says, if it is plain."""
    return None if node is None else {"string": bicep.text, "number": bicep.word, "boolean": bicep.word}.get(node.type, lambda _: ...)(node)


def test_every_parameter_is_given_or_has_a_default() -> None:
    declared = bicep.read(INFRA / "main.bicep").of("param")
    assert PARAMETERS.keys() <= declared.keys()
    assert {name for name, entry in declared.items() if name not in PARAMETERS} == {"budgetStart"}
    assert {name for name, entry in declared.items() if entry.value is None} == {"environmentName", "location"}


def test_the_parameter_file_repeats_the_defaults() -> None:
    declared = bicep.read(INFRA / "main.bicep").of("param")
    for name, given in PARAMETERS.items():
        match = _FROM_ENVIRONMENT.fullmatch(given["value"])
        assert match, name
        if match[2] is not None:
            assert match[2] == literal(declared[name].value), name


def test_the_readme_tells_of_every_variable_that_can_be_set() -> None:
    readme = (INFRA / "README.md").read_text("utf-8")
    names = {_FROM_ENVIRONMENT.fullmatch(given["value"])[1] for given in PARAMETERS.values()} - _GIVEN_BY_AZD
    assert {name for name in names if f"`{name}`" not in readme} == set()


def test_azd_finds_the_functions_the_template_and_the_hooks() -> None:
    project = yaml.safe_load((ROOT / "azure.yaml").read_text("utf-8"))
    service = project["services"]["functions"]
    assert (service["language"], service["host"]) == ("python", "function")
    assert (ROOT / service["project"] / "host.json").is_file()
    assert (ROOT / project["infra"]["path"] / f"{project['infra']['module']}.bicep").is_file()
    for hook in project["hooks"].values():
        assert hook.keys() == {"posix", "windows"}
        assert all((ROOT / system["run"]).is_file() for system in hook.values())


def test_azd_is_new_enough_to_spare_a_group_that_the_template_did_not_make() -> None:
    # 1.24.1 mended "subscription-scope deployments incorrectly treating pre-existing resource groups as deployment-owned".
    assert yaml.safe_load((ROOT / "azure.yaml").read_text("utf-8"))["requiredVersions"]["azd"] == ">= 1.24.1"
