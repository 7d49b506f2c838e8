"""The scripts around `azd provision`, run for real with an `az` that writes down what it is asked for."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.infra.places import INFRA, ROOT

HOOKS = INFRA / "hooks"
AZD = {"AZURE_ENV_NAME": "al", "AZURE_LOCATION": "westeurope", "AZURE_SUBSCRIPTION_ID": "S", "TRAINER_SSH_PUBLIC_KEY": "ssh-ed25519 AAAA"}
OUTPUTS = {
    "ACTIVELEARNING_PACKAGE": "activelearning-0.5.0-py3-none-any.whl",
    "ACTIVELEARNING_PACKAGES_ACCOUNT": "sthost",
    "ACTIVELEARNING_PACKAGES_CONTAINER": "packages",
    "RETRY_SECONDS": "0",
}
pytestmark = pytest.mark.skipif(os.name == "nt", reason="runs the scripts for sh; Windows has others")


def program(folder: Path, name: str, script: str) -> None:
    """Put a program into a folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    path.chmod(0o755)


def run(folder: Path, hook: str, values: dict[str, str], az: str = "exit 0") -> tuple[int, list[str], str]:
    """Exit code, the calls of `az` and `python`, and what was said."""
    program(folder, "az", f'echo "az $*" >> {folder}/calls; {az}')
    program(folder, "python3", f'echo "python $*" >> {folder}/calls; mkdir -p dist; : > "dist/$ACTIVELEARNING_PACKAGE"')
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", **values}
    done = subprocess.run(["sh", HOOKS / f"{hook}.sh"], env=environment, cwd=folder, capture_output=True, text=True, check=False)
    calls = (folder / "calls").read_text("utf-8").splitlines() if (folder / "calls").exists() else []
    return done.returncode, calls, done.stderr.strip()


def test_the_group_of_the_data_is_made_before_everything_else(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "preprovision", AZD)
    assert (code, said) == (0, "")
    assert calls == ["az group create --subscription S --name rg-al-data --location westeurope --output none"]


def test_it_is_the_group_that_the_template_puts_the_data_in() -> None:
    assert "var dataGroup = 'rg-${environmentName}-data'" in (INFRA / "main.bicep").read_text("utf-8")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (AZD | {"TRAINER_SSH_PUBLIC_KEY": ""}, "The machines need a public SSH key"),
        (AZD | {"EXISTING_ACCOUNT": "theirs"}, "EXISTING_ACCOUNT is set, its resource group is not"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(tmp_path: Path, values: dict[str, str], sentence: str) -> None:
    code, calls, said = run(tmp_path, "preprovision", values)
    assert (code, calls) == (1, [])
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    "values",
    [
        AZD | {"EXISTING_ACCOUNT": "theirs", "EXISTING_ACCOUNT_GROUP": "rg-theirs"},
        AZD | {"EXISTING_ACCOUNT": "theirs", "EXISTING_ACCOUNT_GROUP": "rg-theirs", "TRAINERS": "false", "TRAINER_SSH_PUBLIC_KEY": ""},
    ],
)
def test_an_account_that_exists_needs_no_group(tmp_path: Path, values: dict[str, str]) -> None:
    assert run(tmp_path, "preprovision", values) == (0, [], "")


def test_a_group_that_cannot_be_made_stops_the_deployment(tmp_path: Path) -> None:
    assert run(tmp_path, "preprovision", AZD, az="exit 3")[0] == 3


def test_the_trainers_package_is_built_and_uploaded(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("", "utf-8")
    code, calls, said = run(tmp_path, "postprovision", OUTPUTS)
    assert (code, said) == (0, "")
    assert calls[0] == "python -m pip wheel . --quiet --no-deps --wheel-dir dist"
    place = "az storage blob upload --auth-mode login --account-name sthost --container-name packages"
    wheel = OUTPUTS["ACTIVELEARNING_PACKAGE"]
    assert [call.partition(" --overwrite")[0] for call in calls[1:]] == [
        f"{place} --name {wheel} --file dist/{wheel}",
        f"{place} --name constraints.txt --file constraints.txt",
    ]


def test_it_waits_until_the_right_to_upload_has_arrived(tmp_path: Path) -> None:
    code, calls, _ = run(tmp_path, "postprovision", OUTPUTS, az=f'[ "$(wc -l < {tmp_path}/calls)" -gt 5 ]')
    assert code == 0
    assert len(calls) == 7  # the build, four refusals, the wheel, the constraints


def test_it_gives_up_with_one_sentence(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "postprovision", OUTPUTS, az="exit 1")
    assert code == 1
    assert len(calls) == 11
    assert (
        said
        == "The trainers' package could not be uploaded; the machines cannot start without it: run `azd hooks run postprovision` again."
    )


def test_without_trainers_nothing_is_built(tmp_path: Path) -> None:
    assert run(tmp_path, "postprovision", OUTPUTS | {"ACTIVELEARNING_TRAINERS": "false"}) == (0, [], "")


@pytest.mark.parametrize("hook", ["preprovision", "postprovision"])
def test_both_systems_do_the_same(hook: str) -> None:
    posix, windows = ((HOOKS / f"{hook}.{suffix}").read_text("utf-8") for suffix in ("sh", "ps1"))
    for asked in (r"\baz (?:\w+ )+", r"--[a-z-]+", r"pip wheel", r"(?:AZURE|ACTIVELEARNING|TRAINER|EXISTING)\w*", r"rg-\$(?:env:)?AZURE"):
        assert {re.sub("env:", "", found) for found in re.findall(asked, posix)} == {
            re.sub("env:", "", found) for found in re.findall(asked, windows)
        }, asked


def test_the_names_the_scripts_read_are_those_azd_and_the_template_give() -> None:
    given = {*AZD, "TRAINERS", "EXISTING_ACCOUNT", "EXISTING_ACCOUNT_GROUP", "RETRY_SECONDS", "PYTHON"}
    outputs = set(re.findall(r"^output (\w+)", (INFRA / "main.bicep").read_text("utf-8"), re.MULTILINE))
    for path in HOOKS.glob("*.sh"):
        read = set(re.findall(r"\$\{?([A-Z_]{2,})", path.read_text("utf-8")))
        assert read - given <= outputs, path.name
    assert ROOT.joinpath("pyproject.toml").is_file()
