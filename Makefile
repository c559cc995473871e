# The front door: `make run` shows a real OOM with and without a policy, `make test` proves the rest.
# Everything is set up in .venv; as root on Debian, missing Debian packages are installed first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat pyproject.toml scripts/setup | cksum | cut -d' ' -f1)

.PHONY: help run check test test-guest soak bench format clean

help:
	@echo "make run         set up, then a real, contained OOM, with and without a policy"
	@echo "make check       ruff, mypy, import contracts, unit tests, doctests"
	@echo "make test        that, real OOMs in memcgs of our own (root), and the core of the guest tests"
	@echo "make test-guest  all guest tests"
	@echo "make soak        2,000 random OOMs with compiled policies, and 100,000 cases through every executor"
	@echo "make bench       the measurements that the documents quote"
	@echo "make format      ruff format and fixes"

$(READY): pyproject.toml scripts/setup
	PYTHON=$(PYTHON) scripts/setup $(VENV)
	@touch $@

run: $(READY)
	$(BIN)/oompolicy demo

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m "not root and not guest"

test: $(READY)
	scripts/setup --real $(VENV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	scripts/test $(BIN)

test-guest: $(READY)
	scripts/setup --real $(VENV)
	$(BIN)/pytest -m guest

SOAK := tests/guest/test_hook_compiled.py::test_what_a_compiled_policy_answers_is_what_the_model_says

soak: $(READY)
	scripts/setup --real $(VENV)
	OOMPOLICY_RANDOM_OOMS=2000 $(BIN)/pytest -s "$(SOAK)[6.12-2000]"
	OOMPOLICY_DIFFERENTIAL_CASES=100000 $(BIN)/pytest tests/compiler -k differential

bench: $(READY)
	for each in bench/*.py; do echo "== $$each"; PYTHONPATH=. $(BIN)/python $$each || exit 1; done

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
