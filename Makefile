# Everything runs in .venv, which is made on first use. PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest -n auto --benchmark-disable
# pip does not compile .pyc files: Python does so for the modules that are imported. (0 means --no-compile.)
export PIP_NO_COMPILE := 0
SOURCES := $(shell find fastmlp kernels tools -name '*.py' -o -name '*.html' -o -name '*.pyx' -o -name '*.h') setup.py pyproject.toml MANIFEST.in README.md LICENSE

.PHONY: demo test test-all torture bench gpu-check examples docs lint clean bench-tables bench-scaling \
	reproducible test-oldest test-newest

demo: .venv/fastmlp
	mkdir -p demo
	$(BIN)/fastmlp train digits --compare --out demo/digits.fastmlp --plot demo/digits.png

# On the wheel: tests import what a user would install, never the checkout.
test: .venv/installed
	wheel=$$(ls dist/*.whl) && FASTMLP_WHEEL=$$wheel $(PYTEST) --ignore=tests/cuda -m "not exhaustive" $(ARGS)

# What 'make test' leaves out: whole grids, and code for GPUs against a simulated driver; then the kernels of GPUs in a
# simulator, which needs processes of its own; then the engine as older x86-64 processors run it.
test-all: .venv/installed
	$(PYTEST) --ignore=tests/cuda -m exhaustive $(ARGS)
	$(PYTEST) tests/cuda $(ARGS)
	@for level in $(OLDER_LEVELS); do \
		echo "== FASTMLP_LEVEL=$$level"; FASTMLP_LEVEL=$$level $(PYTEST) $(LEVEL_TESTS) $(ARGS) || exit 1; \
	done

# All tests of Cython, which is compiled already; of Numba the products and one training loop, because it compiles each.
OLDER_LEVELS := $(if $(filter x86_64,$(shell uname -m)),baseline x86_64_v3)
LEVEL_TESTS := $(patsubst %,tests/kernels/test_%.py,parity features matmul_precision sparse_rows) -m "not exhaustive" \
	-k "cython or products_equal_the_reference or numba-highest"

# Tries to break it, for an hour or more: the figures of docs/reliability.md. ARGS="fuzz --seed 1" runs a part.
torture: .venv/installed
	wheel=$$(ls dist/*.whl) && FASTMLP_WHEEL=$$wheel $(BIN)/python -P tests/torture/torture.py $(ARGS)

# Figures and numbers. Each of the second list needs the data set after its colon, in the folder that FASTMLP_DATA names.
EXAMPLES := logic_gates universal_approximation iris wheels vanishing_gradient symmetry overfitting activations pole_balancing
DATA_EXAMPLES := vowels:vowels_pb52 head_direction:cmu_faces

examples: .venv/installed
	@for name in $(EXAMPLES); do \
		echo "== $$name"; $(BIN)/python examples/$$name.py --out examples/figures || exit 1; \
	done
	@for pair in $(DATA_EXAMPLES); do \
		name=$${pair%%:*}; data="$$FASTMLP_DATA/$${pair##*:}"; echo "== $$name"; \
		if test -d "$$data"; then $(BIN)/python examples/$$name.py --out examples/figures --data "$$data" || exit 1; \
		else echo "skipped: FASTMLP_DATA names no folder with $${pair##*:}"; fi; \
	done

# The site of documentation, from docs/ and the docstrings: docs/_build/html/index.html.
docs: .venv/installed
	wheel=$$(ls dist/*.whl) && $(BIN)/pip install --quiet "$$wheel[docs]"
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# Against the peers of the extra bench; set FASTMLP_DATA for the accuracy on Fashion-MNIST.
bench: .venv/installed
	wheel=$$(ls dist/*.whl) && $(BIN)/pip install --quiet "$$wheel[bench]"
	$(BIN)/pytest benchmarks -o python_files='bench_*.py' -o python_functions='bench_*' \
		--benchmark-json=benchmarks/results.json --benchmark-columns=median,iqr,rounds $(ARGS)
	$(BIN)/python benchmarks/report.py benchmarks/results.json

# Errors and times on real tables; FASTMLP_DATA names their folder. ARGS="--rows 0" trains on all rows.
bench-tables: .venv/installed
	wheel=$$(ls dist/*.whl) && $(BIN)/pip install --quiet "$$wheel[bench]"
	$(BIN)/python benchmarks/tables.py $(ARGS)

# How fits scale over MPI ranks, beside torch's; FASTMLP_DATA names the data for test scores. ARGS="--only steps"
# measures a part.
bench-scaling: .venv/installed
	wheel=$$(ls dist/*.whl) && $(BIN)/pip install --quiet "$$wheel[bench]"
	$(BIN)/python benchmarks/scaling/measure.py $(ARGS)
	$(BIN)/python benchmarks/scaling/scale_page.py

# On a machine with a GPU, perhaps for minutes and without a network, with the packages that PYTHON has: it says which
# are missing. ARGS="--minutes 5" is all the time that it may take.
gpu-check:
	$(PYTHON) benchmarks/gpu_check.py $(ARGS)

# Source distribution and wheel have the same bytes when they are built again.
reproducible: .venv/installed
	$(BIN)/python -P tools/reproducible.py

# A part of the tests with the oldest dependencies that pyproject.toml allows, or with their newest pre-releases.
OTHER_TESTS := tests/io tests/tables tests/model/test_model.py tests/estimators/test_estimators.py \
	tests/estimators/test_tabular.py tests/export/test_exports.py tests/cli/test_cli.py tests/cli/test_cli_reading.py
OTHER_EXTRAS := cli,plot,onnx,parquet

test-oldest test-newest: test-%: .venv/fastmlp
	test -x .venv-$*/bin/pip || $(PYTHON) -m venv .venv-$*
	test $* = newest || $(PYTHON) tools/oldest_dependencies.py $(OTHER_EXTRAS) > .venv-$*/constraints.txt
	wheel=$$(ls dist/*.whl) && .venv-$*/bin/pip install --quiet $(if $(filter oldest,$*),--constraint .venv-oldest/constraints.txt,--pre --upgrade) \
		"$$wheel[$(OTHER_EXTRAS)]" "pytest>=8" "hypothesis>=6.100"
	.venv-$*/bin/python -P -m pytest -q -m "not exhaustive" $(OTHER_TESTS) $(ARGS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The wheel, built in isolation as pip does it for users, and what the command line and figures need.
.venv/fastmlp: $(SOURCES)
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	rm -rf dist build
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	@wheel=$$(ls dist/*.whl) && $(BIN)/pip install --quiet --force-reinstall --no-deps "$$wheel" \
		&& $(BIN)/pip install --quiet "$$wheel[cli,plot]"
	touch $@

# And what tests, benchmarks and the linter need; the source distribution has a test of its own.
.venv/installed: .venv/fastmlp
	wheel=$$(ls dist/*.whl) && $(BIN)/pip install --quiet "$$wheel[test]" "ruff>=0.17,<0.18" "mypy>=2.4,<2.5"
	$(BIN)/python -c "from setuptools.build_meta import build_sdist; build_sdist('dist')" >/dev/null
	touch $@

clean:
	rm -rf .venv .venv-oldest .venv-newest .aarch64 benchmarks/gpu/site build dist demo docs/_build \
		*.egg-info kernels/cpu/_engine.pxi kernels/cpu/*.so
