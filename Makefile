# Two commands for a newcomer: `make demo` and `make test`. Both set themselves up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Photographs that are not in the package; tests that need them are skipped where this is empty.
export HUB_MODELS_DATA ?= $(realpath ../shared/data)
# What pytest runs besides the quick tests, e.g. `make test TESTS="slow or data or browser or not slow"`.
TESTS ?= not slow and not data and not browser

.PHONY: demo test lint types format dist docs evidence clean

demo: $(VENV)/.demo
	$(BIN)/hub-models demo --output out/demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "$(TESTS)"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# All Spaces on this machine, with a start page at http://127.0.0.1:7860.
spaces: $(VENV)/.dev
	$(BIN)/hub-models space

# The documentation as a site, out/site; a warning is an error.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Wheel and sdist in dist/, checkpoints, pipelines and cards in them; a commit gives the same bytes each time.
dist: $(VENV)/.dev
	rm -rf build dist/*.whl dist/*.tar.gz
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --outdir dist .

# Every figure in the cards and the README, from the images in HUB_MODELS_DATA (hours on two cores).
evidence: $(VENV)/.dev
	for size in 0 1 2; do \
		$(BIN)/hub-models train hub_models/checkpoints/uncertainty-efficientnet-lite$$size/recipe.toml && \
		$(BIN)/hub-models evaluate uncertainty-efficientnet-lite$$size --suite zero-shot --seeds 5 || exit 1; \
	done
	$(BIN)/python benchmarks/without_imagenette.py
	$(BIN)/python benchmarks/gradient_conflict.py
	$(BIN)/python benchmarks/feature_cache.py

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[demo]"
	touch $@

# Tests run with the versions that the Spaces pin, so that what is pinned is what is tested.
PINS := $(wildcard spaces/*/requirements.txt)
$(VENV)/.dev: pyproject.toml $(PINS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]" $(PINS:%=--constraint %)
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build dist out *.egg-info
