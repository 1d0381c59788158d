# make demo: environment, install, the main job on the built-in corpus, a story at the end
# make test: what must always hold, a few minutes on two cores
# make test-long: real runtimes, kills and full disks
# make lint: formatting, types, and imports between layers

PYTHON ?= python3
MINUTES ?= 3
VENV := .venv
BIN := $(VENV)/bin
OLD := .venv-4.57
NODE := tests/parity/node/node_modules
PAGE := page/node_modules
LLAMA := .llama.cpp

.PHONY: demo test test-long lint clean

demo: $(VENV)/.installed
	$(BIN)/aurelius run --minutes $(MINUTES) --out runs/demo
	@echo
	$(BIN)/aurelius generate runs/demo "One day, a little girl" --max-tokens 400
	@echo
	@echo "The command is $(BIN)/aurelius; 'source $(BIN)/activate' lets this shell find it as aurelius."

test: $(VENV)/.installed
	$(BIN)/python -m pytest

test-long: $(VENV)/.installed $(OLD)/.installed $(NODE)/.installed $(PAGE)/.installed $(LLAMA)/.installed
	$(BIN)/python -m pytest -m long --timeout 1200

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@

# The oldest transformers that exported models promise to load in, in an environment of its own.
$(OLD)/.installed: tests/parity/requirements-4.57.lock
	$(PYTHON) -m venv $(OLD)
	$(OLD)/bin/pip install --quiet -r $<
	touch $@

# transformers.js and a prebuilt llama.cpp; install scripts would download what the tests do not use. Not `npm ci`,
# which wants the lock to name the packages of every other system too.
$(NODE)/.installed: tests/parity/node/package-lock.json
	cd tests/parity/node && npm install --no-save --silent --ignore-scripts --no-audit --no-fund
	touch $@

# What the story page is bundled from and with, and what its tests look for.
$(PAGE)/.installed: page/package-lock.json
	cd page && npm install --no-save --silent --ignore-scripts --no-audit --no-fund
	touch $@

# llama.cpp's own converter, from the source archive of its Python package (77 MB, of which 2 MB are kept).
$(LLAMA)/.installed: | $(VENV)/.installed
	rm -rf $(LLAMA)
	$(BIN)/pip download --quiet --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36 --dest $(LLAMA)
	cd $(LLAMA) && tar -xzf *.tar.gz --strip-components=3 $(addprefix llama_cpp_python-0.3.36/vendor/llama.cpp/, \
	  LICENSE convert_hf_to_gguf.py conversion gguf-py/gguf)
	rm $(LLAMA)/*.tar.gz
	touch $@

clean:
	rm -rf $(VENV) $(OLD) $(NODE) $(LLAMA) build runs
