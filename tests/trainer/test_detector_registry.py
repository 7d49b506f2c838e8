"""Families that need further packages: what is said where one is missing, and that none is loaded before it is needed."""

import subprocess
import sys

import pytest

from activelearning.errors import UserError
from trainer import detectors

_MODULES = tuple(dict.fromkeys(module for name, module in detectors.FAMILIES.items() if name.startswith(("rfdetr", "dfine", "rtdetrv2"))))


@pytest.mark.parametrize("name", ["rfdetr-small", "rfdetr-seg-nano", "dfine-nano", "rtdetrv2-r18"])
def test_a_family_whose_package_is_missing_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (*_MODULES, "trainer.detectors.queries_hybrid", "trainer.detectors.queries_network"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    # so Python finds none
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=rf"detector '{name}' needs transformers: pip install 'activelearning\[transformers\]'"):
        detectors.family(name)


def test_nothing_heavy_is_loaded_before_it_is_asked_for() -> None:
    pytest.importorskip("transformers", reason="the families with object queries need the extra 'transformers'")
    program = """
import sys
from trainer import detectors
detectors.family("compact")
print("transformers" in sys.modules)
detectors.family("rfdetr-small")
print("transformers" in sys.modules, any(name.startswith("transformers.models.rf_detr.") for name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
