# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

NOT_LOCKED := torch triton cuda-bindings cuda-pathfinder cuda-toolkit $(patsubst %,nvidia-%,cublas cuda-cupti cuda-nvrtc \
    cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)

.PHONY: demo test test-slow lint lock clean

demo: $(INSTALLED)
	$(BIN)/ecgjepa demo --out demo --overwrite

test: $(INSTALLED)
	$(BIN)/pytest -n auto --dist loadfile -m 'not slow'

# Kills, real processes, tutorials: minutes more.
test-slow: $(INSTALLED)
	$(BIN)/pytest -n auto --dist loadfile -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ecgjepa needs Python 3.11 or newer, found " + sys.version.split()[0] + "; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache

# Versions and hashes of the container. PyTorch's own libraries are left out: constraints.txt names its version, and which
# of its builds is taken is said when the image is built.
lock: $(INSTALLED)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --constraint constraints.txt --extra serve --extra edf --extra dicom $(NOT_LOCKED:%=--no-emit-package %) \
	    --output-file requirements.lock pyproject.toml
