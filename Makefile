# Targets for developers and continuous integration. They need only Python 3.11 or newer, and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# onnxruntime and onnxruntime-gpu must never share an environment: one of the two, by what the machine has.
ENGINE := $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help demo docs programs check test test-wheel nightly lint bench model clean

help:
	@echo "make demo   train, export and run a denoiser on examples/ (about 4 minutes)"
	@echo "make check  what to run after each change: make lint and the fast tests (about a minute)"
	@echo "make test   run the tests, all but those of make test-wheel and make nightly (about 8 minutes)"
	@echo "make test-wheel  install the wheel in an environment of its own, and test it there"
	@echo "make nightly  slow tests with extra requirements: damaged files, emulated processors, browsers, other engines (docs/fuzzing.md)"
	@echo "make lint   ruff, mypy and codespell"
	@echo "make docs   build the documentation into .site/html; a dead link fails it"
	@echo "make bench  time the exported graphs and write docs/benchmarks.md"
	@echo "make model NAME=gray DATA=photos/ TEST=set12/   train, export and describe a bundled model (docs/models)"
	@echo "make clean  remove all outputs and the environment"

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; received $$($(PYTHON) --version). Name another with: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(ENGINE),train,export]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(ENGINE),train,export,dev,hosts]"
	@touch $@

demo: $(VENV)/.installed
	@BIN=$(BIN) examples/demo.sh

# What some tests need and apt can bring without a question: qemu's user mode for tests/processors, NTFS as a disk that folds case,
# Tesseract for tests/ocr. Without them these are skipped.
INSTALL := DEBIAN_FRONTEND=noninteractive timeout 180 apt-get install -qq -y --no-install-recommends
programs:
	@exec >/dev/null 2>&1; wanted=; \
	command -v qemu-x86_64-static || command -v qemu-x86_64 || wanted=qemu-user-static; \
	command -v lowntfs-3g || wanted="$$wanted ntfs-3g"; \
	command -v tesseract || wanted="$$wanted tesseract-ocr"; \
	if [ -n "$$wanted" ] && command -v apt-get && [ "$$(id -u)" = 0 ]; then \
	  $(INSTALL) $$wanted || { timeout 120 apt-get update -qq && $(INSTALL) $$wanted; }; fi || true

# Two processes, each with whole files, so that what a file trains or exports once is not made twice.
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n 2 --dist loadfile

check: lint
	$(PYTEST) $(PARALLEL) -m "not slow and not network and not alone" tests/test_*.py tests/runtime tests/export tests/train

test: $(VENV)/.installed-dev programs
	$(PYTEST) $(PARALLEL) -m "not network and not alone"
	$(PYTEST) -m alone

test-wheel: $(VENV)/.installed-dev
	$(PYTEST) -m network

nightly: $(VENV)/.installed-dev programs
	DAE_FUZZ_IMAGES=20000 DAE_FUZZ_MODELS=6000 DAE_FUZZ_KILLS=50 $(PYTEST) -s tests/fuzz
	$(PYTEST) -s tests/processors/check_*.py
	$(PYTEST) tests/examples/nightly/check_*.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

docs: $(VENV)/.installed-dev
	$(BIN)/python -m dae_tools.site

bench: $(VENV)/.installed-dev
	$(BIN)/python -m dae_tools.export_bench --output docs/benchmarks.md

# A bundled model from data to file and card. Each step is left out where its output is there and newer than its input, and a
# interrupted training continues; delete RUN to train again. For pairs: DATA=noisy TARGET=clean TEST=noisy REFERENCE=clean.
# TRAIN and EXPORT hold further flags of those two commands, DEVICE that of the training, STEPS how long its parts in float are.
RUN ?= runs/$(NAME)
MODEL ?= runtime/dae_runtime/models/$(NAME).onnx
CARD ?= docs/models/$(NAME).md
RECIPE ?= train/dae_train/recipes/$(NAME).toml
WORDS ?= tools/dae_tools/cards/$(NAME).toml

model: $(VENV)/.installed-dev
	@test -n "$(NAME)" -a -n "$(DATA)" -a -n "$(TEST)" || { echo "error: expected NAME, DATA and TEST; say for instance: make model NAME=gray DATA=photos TEST=set12" >&2; exit 2; }
	@$(MAKE) --no-print-directory $(CARD)

# Where the recipe has a part before it, the network starts from that.
START := $(wildcard $(RECIPE:.toml=-start.toml))

ifneq ($(START),)
$(RUN)/result.toml: $(RUN)-start/result.toml

$(RUN)-start/result.toml:
	if [ -f $(RUN)-start/run.toml ]; then $(BIN)/dae-train --resume -o $(RUN)-start $(if $(DEVICE),--device $(DEVICE)); \
	else $(BIN)/dae-train $(DATA) --config $(START) $(if $(TARGET),--target $(TARGET)) $(if $(DEVICE),--device $(DEVICE)) $(if $(STEPS),--steps $(STEPS)) $(TRAIN) -o $(RUN)-start; fi
endif

$(RUN)/result.toml:
	if [ -f $(RUN)/run.toml ]; then $(BIN)/dae-train --resume -o $(RUN) $(if $(DEVICE),--device $(DEVICE)); \
	else $(BIN)/dae-train $(DATA) --config $(RECIPE) $(if $(START),--init $(RUN)-start) $(if $(TARGET),--target $(TARGET)) $(if $(DEVICE),--device $(DEVICE)) $(if $(STEPS),--steps $(STEPS)) $(TRAIN) -o $(RUN); fi

# Where the recipe has a second part, the network is trained on with weights and activations rounded as in INT8, to give what its
# teacher gives.
SECOND := $(wildcard $(RECIPE:.toml=-int8.toml))
LAST := $(RUN)$(if $(SECOND),-int8)

# What teaches that part: the network itself, or, where a recipe has one trained on white noise, the mean of the two.
WHITE := $(wildcard $(RECIPE:.toml=-white.toml))
TEACHER := $(RUN)$(if $(WHITE),-blend.keras)

ifneq ($(WHITE),)
$(RUN)-white/result.toml: $(RUN)/result.toml
	if [ -f $(RUN)-white/run.toml ]; then $(BIN)/dae-train --resume -o $(RUN)-white $(if $(DEVICE),--device $(DEVICE)); \
	else $(BIN)/dae-train $(DATA) --config $(WHITE) --init $(RUN) $(if $(DEVICE),--device $(DEVICE)) $(if $(STEPS),--steps $(STEPS)) $(TRAIN) -o $(RUN)-white; fi

$(TEACHER): $(RUN)-white/result.toml
	$(BIN)/python -m dae_tools.blend $(RUN) $(RUN)-white -o $@

$(LAST)/result.toml: $(TEACHER)
endif

ifneq ($(SECOND),)
$(LAST)/result.toml: $(RUN)/result.toml
	if [ -f $(LAST)/run.toml ]; then $(BIN)/dae-train --resume -o $(LAST) $(if $(DEVICE),--device $(DEVICE)); \
	else $(BIN)/dae-train $(DATA) --config $(SECOND) --init $(RUN) --teacher $(TEACHER) --teacher-weight 1 $(if $(TARGET),--target $(TARGET)) $(if $(DEVICE),--device $(DEVICE)) $(TRAIN) -o $(LAST); fi
endif

$(MODEL): $(LAST)/result.toml
	@mkdir -p $(@D)
	$(BIN)/dae-export $(LAST) --name $(NAME) --quantize $(EXPORT) --overwrite -o $@

$(CARD): $(MODEL) $(WORDS)
	@mkdir -p $(@D)
	$(BIN)/python -m dae_tools.cards --run $(LAST) --model $(MODEL) --words $(WORDS) --test $(TEST) $(if $(REFERENCE),--reference $(REFERENCE)) -o $@

clean:
	rm -rf $(VENV) .emulation .site demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
