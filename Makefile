.DEFAULT_GOAL := help
.PHONY: help setup demo test check faults bench fix clean

PYTHON ?= python3
export PYTHON
INPUTS := scripts/setup.sh constraints.txt pyproject.toml
DEMO := recipes/debian_noisy_speech/band_gain_gru/baseline.toml
RESULT := exp/band_gain_gru/metrics/test.txt
BEST := exp/band_gain_gru/checkpoints/best/validation.json

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/.ready ## build .venv, with everything that training needs

.venv/.ready: $(INPUTS)
	@scripts/setup.sh
	@touch $@

.venv/.ready-dev: $(INPUTS)
	@scripts/setup.sh dev
	@touch $@ .venv/.ready

demo: setup ## train a denoiser on recorded speech for three minutes, then test it
	@.venv/bin/audiozen train $(DEMO) --resume
	@if [ $(RESULT) -nt $(BEST) ]; then cat $(RESULT); else .venv/bin/audiozen test $(DEMO); fi
	@.venv/bin/audiozen report exp/band_gain_gru

check: .venv/.ready-dev ## lint, format, types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

test: check ## everything that must hold: check and the tests
	.venv/bin/pytest -n 2 --dist loadfile

faults: .venv/.ready-dev ## inflict every fault, and print what was tried and survived (10 minutes)
	.venv/bin/python -m tests.faults.run

bench: ## time AudioZEN beside others, in an environment of its own (30 minutes): benchmarks/RESULTS.md
	@scripts/bench.sh

fix: .venv/.ready-dev ## mend what the linter and the formatter can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean: ## remove what was built; experiments stay
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
