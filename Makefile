# Two commands do everything: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TFVENV := .venv-tf

.PHONY: setup demo test test-arm networks fuzz conformance lint format test-tf bench clean

setup: $(VENV)/.stamp

# Debian's python3 may lack ensurepip; virtualenv from pip then makes the environment.
$(VENV)/.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m pip install --user --break-system-packages virtualenv && $(PYTHON) -m virtualenv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	touch $@

demo: setup
	$(BIN)/python examples/demo.py

test: setup
	$(BIN)/python -m pytest -q -n 2

# The kernels of ARM rows under QEMU's user mode (Debian: qemu-user-static, gcc-aarch64-linux-gnu).
test-arm: setup
	OCTOLITE_TEST_EMULATED=aarch64 $(BIN)/python -m pytest -q -n 2 -rs tests/kernels -k "generic-arm or neondot or neoni8mm"

# All networks of docs/networks.md, those of large packages too: 150 MB are fetched the first time.
networks: setup
	OCTOLITE_NETWORKS=all $(BIN)/python -m pytest -q -n 2 -rs tests/networks

# 100,000 mutants of models and graphs, each to end in a result or an OctoliteError within 10 s and
# 2 GB (docs/robustness.md); those that do not are written to build/fuzz. SEED=… for other mutants.
MUTANTS ?= 100000
SEED    ?= 0

fuzz: setup
	$(BIN)/python -m tests.fuzz --mutants $(MUTANTS) --seed $(SEED)

# Many drawn examples of every operator against LiteRT (docs/conformance.md); an ordinary test run
# draws a dozen.
DRAWS ?= 500

conformance: setup
	$(BIN)/python -m tests.conformance --draws $(DRAWS)

lint: setup
	$(BIN)/ruff check src tests benchmarks examples tools
	$(BIN)/ruff format --check src tests benchmarks examples tools
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix src tests benchmarks examples tools
	$(BIN)/ruff format src tests benchmarks examples tools

# ONNX Runtime and OpenVINO are installed for comparison; without them, the benchmarks do with LiteRT.
bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks --threads 1 2

# TensorFlow is needed only here: it makes the large models and records the small ones again.
$(TFVENV)/.stamp:
	$(PYTHON) -m venv $(TFVENV)
	$(TFVENV)/bin/python -m pip install --quiet --disable-pip-version-check tensorflow==2.21.0 tf_keras==2.21.0 scikit-learn -e '.[test]'
	touch $@

test-tf: $(TFVENV)/.stamp
	$(TFVENV)/bin/python -m pytest -q -m tf

clean:
	rm -rf $(VENV) $(TFVENV) build out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
