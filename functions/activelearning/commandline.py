"""What all our commands share: one plain sentence and exit code 1 on a user's error, JSON on request, progress on long work."""

import argparse
import contextlib
import io
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from activelearning.errors import StoreError, UserError
from activelearning.labels import Problem

_QUIET_SECONDS = 2.0
_SECRET = re.compile(r"\b(AccountKey|SharedAccessSignature|sig|code)=[^;&'\"\s]+", re.IGNORECASE)
_MOST_WARNINGS = 20

Command = Callable[[argparse.Namespace], None]
_EXTRAS = frozenset(
    {
        *("azure", "obstore", "requests"),
        *("faster_coco_eval", "matplotlib", "numpy", "onnx", "onnxruntime", "onnxscript", "pyarrow", "scipy", "torch"),
    }
)
"""What comes only with the extras `azure`, `functions` and `trainer`."""
_FOR_AZURE = ("azure.core", "azure.identity", "azure.storage", "obstore", "requests")
T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line, but never repeats a key that stands in it."""

    def error(self, message: str) -> NoReturn:
        super().error(_SECRET.sub(r"\1=…", message))


class Commands:
    """The sub-commands of one program; every help ends in an example."""

    def __init__(self, program: str, purpose: str, example: str):
        self.program = program
        self.parser = _Parser(program, description=purpose, **_ends_in(example))
        self._subparsers = self.parser.add_subparsers(metavar="COMMAND", required=True)

    def add(self, name: str, run: Command, purpose: str, example: str) -> argparse.ArgumentParser:
        """Add a command and return its parser, for its arguments."""
        shown = _ends_in(f"{self.program} {example}")
        sub: argparse.ArgumentParser = self._subparsers.add_parser(name, help=purpose, description=purpose, **shown)
        sub.set_defaults(run=run)
        return sub

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command line and return the exit code."""
        arguments = self.parser.parse_args(argv)
        return guarded(lambda: arguments.run(arguments))


def _ends_in(example: str) -> dict[str, Any]:
    return {"epilog": f"example:\n  {example}", "formatter_class": argparse.RawDescriptionHelpFormatter}


def guarded(work: Callable[[], None]) -> int:
    """Run a command: a user's error is one sentence on stderr and exit code 1, Ctrl-C is 130."""
    try:
        _print_any_name()
        work()
    except (UserError, StoreError) as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); there is nobody left to tell.
        sys.stderr.close()
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        return _failed(f"{error.filename}: {error.strerror}")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in _EXTRAS:
            raise
        return _failed(_lacking(str(error.name)))
    return 0


def _lacking(module: str) -> str:
    if module.startswith(_FOR_AZURE):
        return f'{module} is missing: a store on Azure needs more than one in a directory, install "activelearning[azure]"'
    return f'{module} is missing: this command needs more than an annotator does, install "activelearning[all]"'


def _failed(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 1


def _print_any_name() -> None:
    # A console of Windows or a file name that is no text must not end a command that has done its work.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def add_json(sub: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    sub.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def emit(arguments: argparse.Namespace, value: dict[str, Any], text: str) -> None:
    """Print a command's result, as JSON (ASCII, so that no pipe can spoil it) where that was asked for."""
    print(json.dumps(value) if arguments.json else text, flush=True)


def warn(problems: Sequence[Problem]) -> None:
    """Tell of what was left out, on stderr: problems of one kind in one line, and no more lines than a person reads."""
    alike: dict[str, list[Problem]] = {}
    for problem in problems:
        alike.setdefault(problem.what, []).append(problem)
    told = list(alike.values())[:_MOST_WARNINGS]
    for first, *others in told:
        print(f"warning: {first}" + (f" (and {len(others):,} more like this)" if others else ""), file=sys.stderr)
    untold = len(problems) - sum(map(len, told))
    if untold:
        print(f"warning: {plural(untold, 'other problem')} not shown; --json names every one", file=sys.stderr)


def progress(things: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield the things, and on anything longer than two seconds say on stderr how far it is."""
    started = told = time.monotonic()
    for number, thing in enumerate(things, 1):
        yield thing
        now = time.monotonic()
        if now - started > _QUIET_SECONDS and now - told > 1:
            told = now
            remaining = (now - started) / number * max(total - number, 0)
            print(f"{what}: {number:,} of {total:,}, {remaining:.0f} s left", file=sys.stderr)


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """While one long step runs that cannot say how far it is, say on stderr that it goes on."""
    done = threading.Event()
    teller = threading.Thread(target=_tell_until, args=(done, what), daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _tell_until(done: threading.Event, what: str) -> None:
    started = time.monotonic()
    while not done.wait(_QUIET_SECONDS):
        print(f"{what}: {time.monotonic() - started:.0f} s", file=sys.stderr)


def plural(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") else f"{number:,} {noun}{'es' if noun.endswith(('s', 'x')) else 's'}"
