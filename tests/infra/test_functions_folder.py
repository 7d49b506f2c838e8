"""What is sent to Azure with the functions: everything the app imports, and exactly the versions that were tested."""

from fnmatch import fnmatch

from tests.infra import requirements
from tests.infra.places import ROOT

FUNCTIONS = ROOT / "functions"


def test_the_requirements_are_those_of_the_project_at_the_versions_that_were_tested() -> None:
    assert (FUNCTIONS / "requirements.txt").read_text("utf-8") == requirements.wanted()


def test_nothing_is_installed_that_constraints_do_not_pin() -> None:
    pinned = requirements.pins()
    assert {name: version for name, version in requirements.required().items() if pinned.get(name) != version} == {}
    assert {
        "azure-functions",
        "azure-identity",
        "azure-storage-blob",
        "azure-storage-queue",
        "obstore",
        "tinydb",
    } <= requirements.required().keys()


def test_the_heavy_parts_stay_at_home() -> None:
    assert requirements.required().keys().isdisjoint({"torch", "onnx", "onnxruntime", "numpy"})


def test_the_core_and_the_app_are_sent_and_caches_are_not() -> None:
    lines = (FUNCTIONS / ".funcignore").read_text("utf-8").splitlines()
    ignored = [line.rstrip("/") for line in lines if line and not line.startswith("#")]
    kept = [
        path
        for path in FUNCTIONS.rglob("*")
        if not any(fnmatch(part, rule) for part in path.relative_to(FUNCTIONS).parts for rule in ignored)
    ]
    names = {path.relative_to(FUNCTIONS).as_posix() for path in kept if path.is_file()}
    assert {"function_app.py", "host.json", "requirements.txt", "activelearning/steps.py", "activelearning/store/azure.py"} <= names
    assert {name for name in names if "__pycache__" in name} == set()
