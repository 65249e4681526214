# Each target is one line that a person could type; `make demo` first, `make test` to check everything.
PYTHON ?= python3
CONSTRAINTS ?= .ci/constraints.txt
ifeq ($(OS),Windows_NT)
BIN = .venv/Scripts
else
BIN = .venv/bin
endif
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c $(CONSTRAINTS)

.PHONY: demo test lab notebooks site clean

demo: .venv/lab
	$(BIN)/python -m course_lib.notebooks run 00

test: .venv/test
	$(BIN)/python -m pytest

lab: .venv/lab
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

notebooks: .venv/lab
	$(BIN)/python -m course_lib.notebooks build

site: .venv/lab
	$(BIN)/python -m course_lib.notebooks site

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
