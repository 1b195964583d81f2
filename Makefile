# Everything a developer runs. It needs GNU make and Python 3.11 or newer; the rest is installed, hash-checked,
# into .venv.

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
PACKAGES := isthmus audit gateway services
SOURCES := $(PACKAGES) tests proto

# Where the environment is and by which Python it is made: it can be neither moved nor carried to another version.
HOME_LINE := $(CURDIR) $(shell $(PYTHON) -c 'import sys; print(sys.version.split()[0])' 2>/dev/null)
# A stamp is named after what it stands for, so that only a change of content reinstalls anything.
key = $(shell { echo '$(HOME_LINE)'; cat $(1) pyproject.toml; } | cksum | cut -d ' ' -f 1)
RUNTIME_LOCKS := requirements/runtime.txt requirements/build.txt
RUNTIME_STAMP := $(VENV)/.runtime-$(call key,$(RUNTIME_LOCKS))
DEV_STAMP := $(VENV)/.dev-$(call key,requirements/dev.txt)
BENCH_STAMP := $(VENV)/.bench-$(call key,$(RUNTIME_LOCKS) requirements/bench.txt)

.DEFAULT_GOAL := help
.PHONY: help demo test bench bench-quick lint fmt types imports proto proto-lint drift lock check clean python-check

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14
	@echo
	@echo 'make demo ARGS="..." passes options on to `isthmus demo`; ARGS works the same way for test and bench.'
	@echo 'PYTHON=/path/to/python chooses the interpreter, WORKERS=n the number of test processes.'

demo: $(RUNTIME_STAMP) ## run every part on this machine and show an exchange
	@$(BIN)/isthmus demo $(ARGS)

test: $(DEV_STAMP) ## run the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

bench: $(BENCH_STAMP) ## measure speed against proxies; writes build/bench.json
	@$(BIN)/python -m tests.bench.run $(ARGS)

bench-quick: $(BENCH_STAMP) ## the same in under a minute, over less
	@$(BIN)/python -m tests.bench.run --quick $(ARGS)

lint: $(DEV_STAMP) ## check style and formatting
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

fmt: $(DEV_STAMP) ## format Python and proto files in place
	$(BIN)/ruff check --fix --exit-zero --quiet $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/buf format -w --path proto/isthmus

types: $(DEV_STAMP) ## check types, strictly
	$(BIN)/mypy --strict $(PACKAGES) tests proto/generate.py proto/contracts.py

imports: $(DEV_STAMP) ## check which package imports which
	$(BIN)/lint-imports --no-logo

proto: $(DEV_STAMP) ## regenerate the stubs from proto/
	$(BIN)/python proto/generate.py

proto-lint: $(DEV_STAMP) ## lint the contracts; refuse one that breaks its callers (AGAINST=git-ref)
	$(BIN)/python proto/contracts.py $(if $(AGAINST),--against $(AGAINST))

drift: $(DEV_STAMP) ## check that the committed stubs match proto/
	$(BIN)/python proto/generate.py --check

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links $(UPGRADE)

lock: $(DEV_STAMP) ## resolve requirements/*.txt again (UPGRADE=--upgrade for newer versions)
	$(LOCK) pyproject.toml --group dev --group build -o requirements/dev.txt
	$(LOCK) pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	$(LOCK) --group pyproject.toml:build -c requirements/dev.txt -o requirements/build.txt
	$(LOCK) --group pyproject.toml:bench -c requirements/dev.txt -o requirements/bench.txt

check: test lint types imports proto-lint drift ## everything above that can fail

clean: ## remove the environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

python-check:
	@command -v $(PYTHON) >/dev/null || { echo "Isthmus needs Python 3.11 or newer and finds no '$(PYTHON)'." \
	  "Install it, or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Isthmus needs Python 3.11 or" \
	  "newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name a newer one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments." \
	  "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# An environment made elsewhere, or by another Python, is emptied; any other is completed in place.
define environment
@if [ -f $(VENV)/.home ] && [ "$$(cat $(VENV)/.home)" != "$(HOME_LINE)" ]; then rm -rf $(VENV); fi
@$(PYTHON) -m venv $(VENV) && echo "$(HOME_LINE)" > $(VENV)/.home
endef

$(RUNTIME_STAMP): | python-check
	$(environment)
	@if [ ! -f $(DEV_STAMP) ]; then echo "installing what Isthmus runs on" >&2; \
	  $(PIP) install --require-hashes $(RUNTIME_LOCKS:%=-r %); fi
	@$(PIP) install --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.runtime-* && touch $@

$(DEV_STAMP): | python-check
	$(environment)
	@echo "installing what Isthmus is built and tested with" >&2
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.dev-* && touch $@

$(BENCH_STAMP): | $(RUNTIME_STAMP)
	@echo "installing what Isthmus is measured with" >&2
	@$(PIP) install --require-hashes -r requirements/bench.txt
	@rm -f $(VENV)/.bench-* && touch $@
