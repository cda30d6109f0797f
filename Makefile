# The only door. `make demo` and `make test` need Python 3.11 and make, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SAMPLE := samples/librispeech-1320-122612-0008.ogg

.PHONY: demo test test-models test-serving check bench accuracy clean

demo: $(VENV)/demo.stamp
	$(BIN)/auricle transcribe $(SAMPLE)

test: $(VENV)/test.stamp check
	@echo "The tests run in two halves, side by side; each prints when it has ended, after some 15 minutes."
	@$(MAKE) --no-print-directory --keep-going --output-sync=target --jobs=2 test-models test-serving

# The models of the tests are tiny: one thread is faster than two that wait for each other. The browser comes last in
# its half, since its event loop stays.
test-models:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/unit tests/parity

test-serving:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/architecture tests/cluster tests/server tests/web

check: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What docs/accuracy.md says, measured again.
accuracy: $(VENV)/test.stamp
	$(BIN)/python benchmarks/wer.py --speech ../shared/speech

# How fast it is beside other libraries: the short set. Each script alone measures a figure in full (benchmarks/*.py).
bench: $(VENV)/bench.stamp
	$(BIN)/python benchmarks/short_clip.py --short
	$(BIN)/python benchmarks/long_form.py --short
	$(BIN)/python benchmarks/decode_step.py --short
	$(BIN)/python benchmarks/encoder.py --short
	$(BIN)/python benchmarks/ctc.py --short
	$(BIN)/python benchmarks/bundled.py --short
	$(BIN)/python benchmarks/cold_start.py --short

clean:
	rm -rf $(VENV) build dist src/*.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/test.stamp: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@# kenlm is compiled from source; without a compiler its tests are skipped and say so.
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lm]'
	@# Older clients that the server is tested with, beside the newest one.
	for v in 0.23.4 0.36.0; do $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--target $(VENV)/clients/huggingface_hub-$$v huggingface_hub==$$v; done
	@touch $@ $(VENV)/demo.stamp

$(VENV)/bench.stamp: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@ $(VENV)/demo.stamp
