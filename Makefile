.DEFAULT_GOAL := help
.PHONY: help setup demo test check docs screenshots faults bench package release fix clean

PYTHON ?= python3
export PYTHON
INPUTS := scripts/setup.sh constraints.txt pyproject.toml
DEMO := recipes/debian_noisy_speech/band_gain_gru/baseline.toml
RESULT := exp/band_gain_gru/metrics/test.txt
BEST := exp/band_gain_gru/checkpoints/best/validation.json

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

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

check: .venv/.ready-dev ## lint, format, types, changelog against version
	.venv/bin/ruff check .
	.venv/bin/ruff check --preview --select PLW1514 audiozen recipes scripts # text files are UTF-8 everywhere
	.venv/bin/ruff format --check .
	@scripts/check_types.sh
	.venv/bin/python scripts/changelog.py

test: check ## everything that must hold: check and the tests
	.venv/bin/pytest -n 2 --dist loadfile

docs: .venv/.ready-dev ## build the site: build/docs/index.html
	.venv/bin/sphinx-build --quiet --fail-on-warning --keep-going --doctree-dir build/doctrees --conf-dir docs . build/docs

screenshots: .venv/.ready-dev ## make the pictures in docs/images again
	.venv/bin/python scripts/screenshots.py

faults: .venv/.ready-dev ## inflict every fault, and print what was tried and survived (10 minutes)
	.venv/bin/python -m tests.faults.run

bench: ## time AudioZEN beside others, in an environment of its own (30 minutes): benchmarks/RESULTS.md
	@scripts/bench.sh

package: .venv/.ready-dev ## build what is published into dist/, and try it where nothing else is installed (4 minutes)
	@scripts/package.sh

release: .venv/.ready-dev ## make release VERSION=0.2.0: version, changelog, tests, package, commit, tag
	@scripts/release.sh $(VERSION)

fix: .venv/.ready-dev ## mend what the linter and the formatter can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean: ## remove what was built; experiments stay
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
