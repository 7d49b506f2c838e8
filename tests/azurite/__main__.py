"""`python -m tests.azurite`: install the emulator beside this interpreter's packages."""

from tests import azurite

azurite.install()
