# Everything happens in a virtual environment of its own; `make test` on a fresh machine needs nothing before it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test check format bench deepstream-check clean

help:
	@echo "make setup   virtual environment with tensortap and its tools in $(VENV)"
	@echo "make demo    people with skeletons in demo.mp4 and demo.jsonl, without model, camera or GPU of yours"
	@echo "make test    the tests (TENSORTAP_TEST_ASSETS=folder adds those on real models and videos)"
	@echo "make check   ruff and mypy"
	@echo "make bench   the benchmarks; prints tables"
	@echo "make deepstream-check   on a machine with NVIDIA's DeepStream: a self-test, step by step"

setup: $(BIN)/.ready

$(BIN)/.ready: pyproject.toml
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || tools/install-venv.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --editable ".[web]" --group test --group check
	@touch $@

demo: setup
	$(BIN)/tensortap demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python benchmarks/run_all.py

# A virtual environment of its own, which sees the system's PyGObject and NVIDIA's bindings.
deepstream-check: $(VENV)-deepstream/.ready
	$(VENV)-deepstream/bin/tensortap deepstream-check

# NVIDIA's pyds does not work with NumPy 2; pyservicemaker lies in the SDK as a wheel.
$(VENV)-deepstream/.ready: pyproject.toml
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || tools/install-venv.sh $(PYTHON)
	$(PYTHON) -m venv --system-site-packages $(VENV)-deepstream
	$(VENV)-deepstream/bin/pip install --quiet --editable . "numpy<2" \
		$(wildcard /opt/nvidia/deepstream/deepstream/service-maker/python/pyservicemaker*.whl)
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-deepstream build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
