# Each target is a few lines that a person could type: `make demo` first, `make check` while you work, `make test` at the end.
PYTHON ?= python3
CONSTRAINTS ?= .ci/constraints.txt
ifeq ($(OS),Windows_NT)
BIN = .venv/Scripts
else
BIN = .venv/bin
endif
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c $(CONSTRAINTS)
PYTEST = $(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

.PHONY: demo check test device-check lab notebooks site js clean

demo: .venv/lab
	$(BIN)/course demo

check: .venv/test
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(PYTEST) tests -o addopts=-q -m "not slow and not browser and not thorough"

test: .venv/test
	$(PYTEST)

device-check: .venv/test
	$(PYTEST) tests/test_devices.py tests/test_device_types.py tests/test_device_lessons.py -o addopts=-q --dist=worksteal

lab: .venv/lab
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

notebooks: .venv/lab
	$(BIN)/course build

site: .venv/lab
	$(BIN)/course site

# What only those who change the widgets' JavaScript need: its types and its style. Needs Node.
js:
	cd course_lib/widgets && npx --yes --package typescript@7.0.2 tsc --project jsconfig.json
	cd course_lib/widgets && npx --yes @biomejs/biome@2.6.8 check . ../teaching/*.js ../teaching/publish/page

clean:
	rm -rf .venv build

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("The course needs Python 3.11 or newer, and $(PYTHON) is %d.%d: name another, as in make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv

.venv/lab: pyproject.toml $(CONSTRAINTS) | .venv/pyvenv.cfg
	$(INSTALL) -e ".[lab]"
	@touch $@

.venv/test: pyproject.toml $(CONSTRAINTS) | .venv/pyvenv.cfg
	$(INSTALL) -e ".[test]"
	@touch .venv/lab $@
