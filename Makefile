# `make demo` and `make test` set up everything they need in .venv; nothing else has to be installed first but Python >= 3.11.
PYTHON ?= python3
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
export OMP_WAIT_POLICY = PASSIVE

.PHONY: demo test lint bench clean

# `make demo DETECTOR=rfdetr-nano`: a short one with another family of detectors.
demo: .venv/demo-ready $(if $(DETECTOR),.venv/detectors-ready)
	.venv/bin/python -m demo.play $(if $(DETECTOR),--detector $(DETECTOR))

test: .venv/test-ready .venv/azurite-ready lint
	.venv/bin/python -m pytest -n 2 --dist loadfile

lint: .venv/test-ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/test-ready
	.venv/bin/python -m tests.bench

clean:
	rm -rf .venv .cache demo/run demo/run-azurite demo/summary.json

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo-ready: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing into .venv (a few minutes: torch is large)"
	$(PIP) --editable ".[all]"
	touch $@

.venv/detectors-ready: .venv/demo-ready
	@echo "installing the other detectors' libraries into .venv (a minute or two)"
	$(PIP) --editable ".[all,detectors]"
	touch $@

.venv/test-ready: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing into .venv (a few minutes: torch is large)"
	$(PIP) --editable ".[dev]"
	touch $@

# The emulator of Azure's storage, for the tests; without it they are skipped and say so.
.venv/azurite-ready: .venv/test-ready tests/azurite/package-lock.json
	@echo "installing Azurite into .venv (half a minute)"
	.venv/bin/python -m tests.azurite && touch $@ || echo "Azurite could not be installed: the tests that need it are skipped"
