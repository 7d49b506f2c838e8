"""What makes a machine a trainer: the cloud-init with its service, and the container image; every word of ours in them must exist."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from configparser import ConfigParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from trainer import cli

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra" / "trainer"
CLOUD_INIT = (FOLDER / "cloud-init.yaml").read_text("utf-8")
PLACES = {
    "__STORE__": "https://account.blob.core.windows.net/photos",
    "__CLIENT_ID__": "00000000-0000-0000-0000-00000000000c",
    "__IDLE_MINUTES__": "10",
    "__PACKAGE_URI__": "https://host.blob.core.windows.net/packages/activelearning-0.5.0-py3-none-any.whl",
}
ENVIRONMENT = {"ACTIVELEARNING_STORE", "ACTIVELEARNING_QUEUE_PREFIX", "ACTIVELEARNING_SCALE_SETS", "AZURE_CLIENT_ID"}
"""The names that our programs read; besides these a machine sets only what belongs to its system."""


def filled() -> dict:
    """The cloud-init as main.bicep hands it over."""
    text = CLOUD_INIT
    for place, value in PLACES.items():
        text = text.replace(place, value)
    return yaml.safe_load(text)


def written(path: str) -> str:
    (found,) = (file["content"] for file in filled()["write_files"] if file["path"] == path)
    return found


INSTALLER = "/usr/local/sbin/install-activelearning"
UNIT = "/etc/systemd/system/activelearning-trainer.service"


def unit() -> ConfigParser:
    parsed = ConfigParser(interpolation=None, delimiters=("=",), strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(written(UNIT))
    return parsed


def test_the_places_to_fill_in_are_the_known_ones() -> None:
    assert set(re.findall(r"__[A-Z_]+__", CLOUD_INIT)) == PLACES.keys()
    assert "__" not in re.sub(r"__init__", "", json.dumps(filled()))


def test_cloud_init_holds_what_cloud_init_knows() -> None:
    assert CLOUD_INIT.startswith("#cloud-config\n")
    assert filled().keys() == {"package_update", "packages", "write_files", "runcmd"}
    for file in filled()["write_files"]:
        assert file.keys() == {"path", "permissions", "content"} and re.fullmatch("0[0-7]{3}", file["permissions"])
    assert len(CLOUD_INIT) < 64_000, "Azure takes no more"


def test_every_line_fits_what_bicep_inserts_and_nothing_is_secret() -> None:
    words = re.findall(r"(?i)\b(?:password|passwd|secret|accountkey|sig=|connection_string)\b", re.sub(r"(?m)^\s*#.*$", "", CLOUD_INIT))
    assert words == []


def test_the_service_runs_a_command_that_exists() -> None:
    (start,) = re.findall(r"^ExecStart=(.*)$", written(UNIT), re.MULTILINE)
    program, *words = shlex.split(start.replace("${ACTIVELEARNING_STORE}", PLACES["__STORE__"]))
    parsed = cli.commands().parser.parse_args(words)
    assert program == "/opt/activelearning/venv/bin/trainer" and words[0] == "serve"
    assert (parsed.store, parsed.idle_minutes, parsed.remove_machine) == (PLACES["__STORE__"], 10.0, True)
    assert "trainer" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_the_service_is_restarted_after_a_failure_only_and_given_time_to_stop() -> None:
    service = unit()["Service"]
    assert (service["Restart"], service["KillSignal"], service["DynamicUser"]) == ("on-failure", "SIGTERM", "yes")
    assert int(service["TimeoutStopSec"]) > 30 and int(service["TimeoutStartSec"]) >= 900
    assert service["ExecStartPre"].split() == [f"+{INSTALLER}", PLACES["__PACKAGE_URI__"]]
    assert [service["EnvironmentFile"]] == [f["path"] for f in filled()["write_files"] if f["path"].endswith(".env")]
    assert filled()["runcmd"][-1][-1] == UNIT.rpartition("/")[2]


def test_the_environment_is_the_one_our_programs_read() -> None:
    lines = dict(line.split("=", 1) for line in written("/etc/activelearning/trainer.env").splitlines())
    assert lines == {"ACTIVELEARNING_STORE": PLACES["__STORE__"], "AZURE_CLIENT_ID": PLACES["__CLIENT_ID__"]}
    named = set(re.findall(r"\b(?:ACTIVELEARNING|AZURE)_[A-Z_]+\b", CLOUD_INIT + (FOLDER / "Dockerfile").read_text("utf-8")))
    assert named <= ENVIRONMENT


def test_systemd_understands_the_service(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not on this machine, so the unit was only parsed")
    folders = {"/opt/activelearning/venv/bin": tmp_path / "bin", "/usr/local/sbin": tmp_path / "bin", "/etc/activelearning": tmp_path}
    text = written(UNIT)
    (tmp_path / "bin").mkdir()
    (tmp_path / "trainer.env").write_text("")
    for program in ("trainer", "install-activelearning"):
        (tmp_path / "bin" / program).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / program).chmod(0o755)
    for place, here in folders.items():
        text = text.replace(place, str(here))
    path = tmp_path / "activelearning-trainer.service"
    path.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True)
    told = [line for line in done.stderr.splitlines() if "activelearning-trainer" in line]
    assert (done.returncode, told) == (0, [])
    path.write_text(text.replace("TimeoutStopSec=120", "TimeoutStopSec=soon"))
    broken = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True)
    assert "TimeoutStopSec" in broken.stderr or "soon" in broken.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine on which curl answers as Azure does, and pip installs nothing; both write down how they were called."""
    tools = tmp_path / "tools"
    tools.mkdir()
    curl = """#!/bin/sh
printf '%s\\n' "$*" >> "$LOG/curl"
for last; do :; done
case "$last" in http://169.254.169.254/*) printf '{"access_token": "TOKEN"}'; exit;; esac
cat >> "$LOG/headers"
while [ "$1" != --output ]; do shift; done
printf content > "$2"
"""
    python = f"""#!/bin/sh
if [ "$1 $2" != '-m venv' ]; then exec {shutil.which("python3")} "$@"; fi
mkdir -p "$3/bin"
printf '#!/bin/sh\\nprintf "%%s\\\\n" "$*" >> "$LOG/pip"\\nexit ${{PIP_FAILS:-0}}\\n' > "$3/bin/pip"
chmod +x "$3/bin/pip"
"""
    for name, text in {"curl": curl, "python3": python, "install": written(INSTALLER)}.items():
        (tools / name).write_text(text)
        (tools / name).chmod((tools / name).stat().st_mode | stat.S_IXUSR)
    return tmp_path


def install(machine: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": f"{machine}/tools:{os.environ['PATH']}", "LOG": str(machine), "AZURE_CLIENT_ID": "cid", **environment}
    call = ["sh", str(machine / "tools" / "install"), PLACES["__PACKAGE_URI__"], str(machine / "home")]
    return subprocess.run(call, env=variables, capture_output=True, text=True)


def test_the_package_is_fetched_as_the_machine_and_installed_once(machine: Path) -> None:
    assert install(machine).returncode == 0
    wheel = machine / "home" / "activelearning-0.5.0-py3-none-any.whl"
    (line,) = (machine / "pip").read_text().splitlines()
    assert line.split()[-3:] == ["--constraint", f"{machine}/home/constraints.txt", f"{wheel}[all]"]
    asked = [line.split()[-1] for line in (machine / "curl").read_text().splitlines()]
    beside = PLACES["__PACKAGE_URI__"].rpartition("/")[0] + "/constraints.txt"
    assert [url for url in asked if urlsplit(url).hostname != "169.254.169.254"] == [PLACES["__PACKAGE_URI__"], beside]
    assert all("client_id=cid" in url for url in asked if urlsplit(url).hostname == "169.254.169.254")
    assert install(machine).returncode == 0
    assert len((machine / "pip").read_text().splitlines()) == 1


def test_the_token_is_on_no_command_line_and_in_no_file(machine: Path) -> None:
    install(machine)
    assert (machine / "headers").read_text() == "Authorization: Bearer TOKEN\n" * 2
    kept = [path for path in machine.rglob("*") if path.is_file() and path.name not in ("headers", "curl") and path.parent.name != "tools"]
    assert kept and not any("TOKEN" in path.read_text() for path in kept)
    assert "TOKEN" not in (machine / "curl").read_text()


def test_an_installation_that_failed_is_done_again(machine: Path) -> None:
    assert install(machine, PIP_FAILS="1").returncode == 1
    assert install(machine).returncode == 0
    assert len((machine / "pip").read_text().splitlines()) == 2


def test_an_image_with_an_old_python_is_one_sentence(machine: Path) -> None:
    (machine / "tools" / "python3").write_text("#!/bin/sh\nexit 1\n")
    done = install(machine)
    assert (done.returncode, done.stderr) == (
        1,
        "The Python of this image is older than 3.11: choose another image in infra/modules/scale-set.bicep.\n",
    )


def dockerfile() -> list[tuple[str, str]]:
    lines = (line.strip() for line in (FOLDER / "Dockerfile").read_text("utf-8").splitlines())
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line and not line.startswith("#"))]


def test_the_container_runs_the_trainer_and_not_as_root() -> None:
    last = dict(dockerfile())
    program, *words = json.loads(last["ENTRYPOINT"])
    parsed = cli.commands().parser.parse_args([*words, "./birds"])
    assert (program, parsed.store) == ("trainer", "./birds")
    assert last["USER"].isdecimal() and int(last["USER"]) > 0
    assert last["STOPSIGNAL"] == "SIGTERM"


def test_the_container_is_built_from_files_that_exist_and_from_pinned_versions() -> None:
    assert {rest.partition(" AS ")[0] for word, rest in dockerfile() if word == "FROM"} == {"python:3.12-slim"}
    sources = [name for word, rest in dockerfile() if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in sources)
    allowed = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    assert allowed == set(sources)
    assert "constraints.txt" in dict(dockerfile())["ENV"] or ("ENV", "PIP_CONSTRAINT=/source/constraints.txt") in dockerfile()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = set(re.findall(r"\[([a-z,]+)\]\"", (FOLDER / "Dockerfile").read_text("utf-8") + written(INSTALLER)))
    assert extras == {"all"} and "all" in project["project"]["optional-dependencies"]


def test_the_command_in_the_dockerfiles_head_parses() -> None:
    (line,) = re.findall(r"^#\s+docker run .* activelearning-trainer (.*)$", (FOLDER / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert cli.commands().parser.parse_args(["serve", *line.split()]).idle_minutes == 10.0
