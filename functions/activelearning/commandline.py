"""What all our commands share: one plain sentence and exit code 1 on a user's error, JSON on request, progress on long work."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from activelearning.errors import StoreError, UserError

Command = Callable[[argparse.Namespace], None]
T = TypeVar("T")


def parser(program: str, purpose: str, example: str) -> argparse.ArgumentParser:
    """A parser whose help ends in an example."""
    return argparse.ArgumentParser(
        prog=program, description=purpose, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
    )


class Commands:
    """The sub-commands of one program."""

    def __init__(self, program: str, purpose: str, example: str):
        self.program = program
        self.parser = parser(program, purpose, example)
        self._subparsers = self.parser.add_subparsers(metavar="COMMAND", required=True)

    def add(self, name: str, run: Command, purpose: str, example: str) -> argparse.ArgumentParser:
        """Add a command and return its parser, for its arguments."""
        sub: argparse.ArgumentParser = self._subparsers.add_parser(
            name,
            help=purpose,
            description=purpose,
            epilog=f"example:\n  {self.program} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command line and return the exit code."""
        arguments = self.parser.parse_args(argv)
        return guarded(lambda: arguments.run(arguments))


def guarded(work: Callable[[], None]) -> int:
    """Run a command: a user's error is one sentence on stderr and exit code 1, Ctrl-C is 130."""
    try:
        work()
    except (UserError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); there is nobody left to tell.
        sys.stderr.close()
        return 1
    return 0


def add_json(sub: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    sub.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def emit(arguments: argparse.Namespace, value: dict[str, Any], text: str) -> None:
    """Print a command's result, as JSON where that was asked for."""
    print(json.dumps(value, ensure_ascii=False) if arguments.json else text)


def progress(things: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield the things, and on anything longer than two seconds say on stderr how far it is."""
    started = told = time.monotonic()
    for number, thing in enumerate(things, 1):
        yield thing
        now = time.monotonic()
        if now - started > 2 and now - told > 1:
            told = now
            remaining = (now - started) / number * max(total - number, 0)
            print(f"{what}: {number:,} of {total:,}, {remaining:.0f} s left", file=sys.stderr)


def plural(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") else f"{number:,} {noun}{'es' if noun.endswith(('s', 'x')) else 's'}"
