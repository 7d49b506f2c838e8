"""What every command shares: sentences, exit codes, warnings, progress."""

import argparse
import importlib
import json
import time

import pytest

from activelearning import commandline
from activelearning.commandline import busy, emit, guarded, plural, progress, warn
from activelearning.errors import BlobMissing, UserError
from activelearning.labels import Problem


def raising(error: BaseException) -> int:
    def work() -> None:
        raise error

    return guarded(work)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("a.csv: is empty"), 1, "error: a.csv: is empty\n"),
        (BlobMissing("there is no blob 'x'"), 1, "error: there is no blob 'x'\n"),
        (PermissionError(13, "Permission denied", "/data/x"), 1, "error: /data/x: Permission denied\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
    ],
)
def test_what_a_person_can_mend_is_one_sentence(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(error) == code
    assert capsys.readouterr() == ("", said)


def test_our_own_mistakes_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())
    with pytest.raises(OSError, match="no name"):
        raising(OSError("no name"))


def test_warnings_of_one_kind_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    warn([Problem(f"image {n}", "is gone") for n in range(1200)] + [Problem("b.csv row 3", "has 2 fields")])
    assert capsys.readouterr().err.splitlines() == [
        "warning: image 0: is gone (and 1,199 more like this)",
        "warning: b.csv row 3: has 2 fields",
    ]


def test_no_more_warnings_than_a_person_reads(capsys: pytest.CaptureFixture[str]) -> None:
    warn([Problem(f"row {n}", f"is wrong in way {n}") for n in range(50)])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and lines[-1] == "warning: 30 other problems not shown; --json names every one"


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    emit(argparse.Namespace(json=True), {"name": "鳥"}, "text")
    out = capsys.readouterr().out
    assert out.isascii() and json.loads(out) == {"name": "鳥"}
    emit(argparse.Namespace(json=False), {"name": "鳥"}, "text")
    assert capsys.readouterr().out == "text\n"


def test_short_work_says_nothing_of_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(3), "counting", 3)) == [0, 1, 2]
    with busy("thinking"):
        pass
    assert capsys.readouterr() == ("", "")


def test_long_work_tells_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 100, 2))
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: float(next(seconds)))
        list(progress("abcd", "fetching", 4))
    assert capsys.readouterr().err.splitlines() == [
        "fetching: 2 of 4, 4 s left", "fetching: 3 of 4, 2 s left", "fetching: 4 of 4, 0 s left",
    ]  # fmt: skip
    monkeypatch.setattr(commandline, "_QUIET_SECONDS", 0.01)
    with busy("writing labels"):
        time.sleep(0.1)
    assert capsys.readouterr().err.startswith("writing labels: 0 s\n")


def test_plurals() -> None:
    said = [plural(1, "image"), plural(1200, "image"), plural(2, "box"), plural(0, "class"), plural(2, "body")]
    assert said == ["1 image", "1,200 images", "2 boxes", "0 classes", "2 bodies"]


def test_what_only_an_extra_brings_is_named_when_it_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: importlib.import_module("onnxscript.no_such_part") and None) == 1
    assert "activelearning[all]" in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError):
        guarded(lambda: importlib.import_module("no_such_package_of_ours") and None)
