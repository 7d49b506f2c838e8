"""`python -m trainer.call_function module:function FOLDER`: a function as a training program (`trainer.custom`), `function(Path(FOLDER))`.

Rule: it runs in a process of its own, like any other program, so that it can be ended with the lease. Modules are looked for from the
current directory on too.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path


def main(arguments: Sequence[str]) -> None:
    """Call the function. Whatever it raises ends the process, and its last line is the reason that the trainer gives."""
    where, folder = arguments
    module, _, name = where.partition(":")
    getattr(import_module(module), name)(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
