# What CI and people call; `make help` lists it. Needs Python >= 3.10, g++ >= 12 or
# clang >= 14, make, and PyPI. Everything else, cmake and ninja too, is installed into .venv.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test test-peers soak bench lint format stubs clean

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(abspath $(VENV))/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
export PATH := $(BIN):$(PATH)

# The reference engines of test-peers. LLAMA_CPP names a llama.cpp source tree to use instead
# of the one inside the llama-cpp-python package, LLAMA_CPP_BIN a folder with its programs.
# TORCH_INDEX has torch for CPUs; empty or out of reach, torch comes from PyPI (large: CUDA).
LLAMA_CPP_PYTHON ?= 0.3.36
LLAMA_CPP_PACKAGE := build/peers/llama_cpp_python-$(LLAMA_CPP_PYTHON)
LLAMA_CPP ?= $(abspath $(LLAMA_CPP_PACKAGE)/vendor/llama.cpp)
LLAMA_CPP_BIN ?= $(abspath build/peers/llama.cpp/bin)
# More flags for its build: where its AMX kernels crash, -DGGML_NATIVE=OFF -DGGML_AVX512=ON
# -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON.
LLAMA_CMAKE ?=
LLAMA_TARGETS := llama-bench llama-completion llama-perplexity llama-quantize llama-tokenize
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
ours = $(filter file,$(origin $(1)))

CORE := $(shell find core -name '*.cpp' -o -name '*.h' -o -name '*.inc')
CPP := $(filter-out %.inc,$(CORE)) $(wildcard bench/*.cpp tests/peers/*.cpp)
WERROR := $(if $(CI),ON,OFF)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

PROMPT := $$'class Stack:\n    """A stack of items."""\n\n    def __init__(self'
demo: $(VENV)/.package ## build, then let the built-in model complete some Python
	@$(BIN)/zerostall run -m nano --temp 0.6 --top-p 0.9 --repeat-penalty 1.05 --seed 1 -n 96 --echo $(PROMPT)

test: $(VENV)/.package $(VENV)/.test ## run the tests (ARGS="-k name" selects)
	@$(PY) -m pytest $(ARGS)

test-peers: export LLAMA_CPP := $(LLAMA_CPP)
test-peers: export LLAMA_CPP_BIN := $(LLAMA_CPP_BIN)
test-peers: $(VENV)/.package $(VENV)/.test $(VENV)/.peers \
  $(if $(call ours,LLAMA_CPP),$(LLAMA_CPP_PACKAGE)) $(if $(call ours,LLAMA_CPP_BIN),build/peers/.built)
test-peers: ## compare with transformers and llama.cpp, live
	@$(PY) -m pytest -m peers -W default tests/peers $(ARGS)

soak: $(VENV)/.package $(VENV)/.test ## 2,000 requests from 16 clients, many odd ones: the server must not grow or fail
	@$(PY) -m pytest -m slow -s -o faulthandler_timeout=0 tests/serve $(ARGS)

bench: $(VENV)/.package ## measure speed against the machine's limits (ARGS="-m MODEL")
	@$(BIN)/zerostall bench $(ARGS)

# Reads sources and builds nothing; what needs the built core is in tests/built.
LINT := lint-python lint-cpp lint-types lint-house
lint: $(LINT) ## formatting, types, layers, house style (make -k: go on after a fault)
.PHONY: $(LINT)
$(LINT): $(VENV)/.lint
lint-types: $(VENV)/.run
lint-house: $(VENV)/.test

lint-python:
	@$(BIN)/ruff check --quiet && $(BIN)/ruff format --check --quiet

lint-cpp:
	@$(BIN)/clang-format --dry-run -Werror $(CPP)

lint-types:
	@$(PY) -m mypy

lint-house:
	@$(PY) -m pytest tests/house

format: $(VENV)/.lint ## rewrite sources in the house format
	@$(BIN)/ruff check --quiet --fix --exit-zero; $(BIN)/ruff format --quiet; $(BIN)/clang-format -i $(CPP)

stubs: $(VENV)/.package $(VENV)/.lint ## regenerate src/zerostall/_core.pyi from the built module
	@$(PY) -m nanobind.stubgen -q -m zerostall._core -o src/zerostall/_core.pyi

clean: ## remove everything the other targets made
	rm -rf build dist $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# --- stamps: each is newer than what it was made from -----------------------------------

$(VENV)/.venv: tools/check_machine.py
	@$(PYTHON) tools/check_machine.py
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.build $(VENV)/.test $(VENV)/.lint: $(VENV)/.%: $(VENV)/.venv pyproject.toml
	@echo "installing the $* tools"
	@$(PIP) --group $*
	@touch $@

# The libraries zerostall imports, without zerostall: mypy looks their types up.
$(VENV)/.run: $(VENV)/.lint tools/run_requirements.py
	@echo "installing the libraries"
	@$(PY) tools/run_requirements.py >$@.txt
	@$(PIP) -r $@.txt
	@touch $@

$(VENV)/.peers: $(VENV)/.build
	@echo "installing torch and transformers"
	@$(PIP) --group torch --no-deps $(if $(TORCH_INDEX),--retries 1 --extra-index-url $(TORCH_INDEX))
	@$(PIP) --group peers
	@touch $@

# Without build isolation the object files stay in build/ and a rebuild compiles only what
# changed; Python sources are read in place.
$(VENV)/.package: $(VENV)/.build CMakeLists.txt $(CORE)
	@echo "building the core"
	@$(PIP) --no-build-isolation --editable . \
	  -C 'build-dir=build/{wheel_tag}' -C cmake.define.ZS_WERROR=$(WERROR)
	@touch $@

$(LLAMA_CPP_PACKAGE): | $(VENV)/.build
	@mkdir -p build/peers
	@echo "fetching the sources of llama.cpp"
	@$(PY) -m pip --disable-pip-version-check download --quiet --no-deps --no-build-isolation \
	  --no-binary :all: --dest build/peers llama-cpp-python==$(LLAMA_CPP_PYTHON)
	@mkdir -p build/peers/.partial && tar -xzf $@.tar.gz -C build/peers/.partial
	@mv build/peers/.partial/$(@F) $@

build/peers/.built: | $(VENV)/.build $(if $(call ours,LLAMA_CPP),$(LLAMA_CPP_PACKAGE))
	@echo "building llama.cpp (some minutes)"
	@mkdir -p build/peers
	@cmake -S $(LLAMA_CPP) -B build/peers/llama.cpp -G Ninja -DCMAKE_BUILD_TYPE=Release \
	  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF $(LLAMA_CMAKE) \
	  >build/peers/configure.log
	@cmake --build build/peers/llama.cpp --target $(LLAMA_TARGETS) >build/peers/build.log
	@touch $@
