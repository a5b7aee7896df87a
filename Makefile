# `make` lists what there is. Everything goes into .venv, which is made when absent.
PYTHON ?= python3
# an index with another build of torch, such as the CPU one; empty: pip's own
TORCH_INDEX_URL ?=
bin := .venv/bin
installed := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-all images clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

install: $(installed)  ## make .venv and install mood_vae with all it needs

$(installed): requirements.txt $(addprefix requirements-,cluster.txt dev.txt prepare.txt review.txt) pyproject.toml
	test -x $(bin)/python || $(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX_URL),$(bin)/python -m pip install --index-url "$(TORCH_INDEX_URL)" "$$(grep ^torch== requirements.txt)")
	$(bin)/python -m pip install --editable . --requirement requirements-cluster.txt \
		--requirement requirements-dev.txt --requirement requirements-prepare.txt --requirement requirements-review.txt
	touch $@

demo: $(installed)  ## show what it does: large toy anomalies in two real brains, a table, a picture
	$(bin)/mood-vae demo

test: $(installed)  ## lint, check types, run the quick tests
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/pytest -m "not slow and not gpu"

test-slow: $(installed)  ## run the tests that `make test` leaves out; those for a GPU skip themselves without one
	$(bin)/pytest -m "slow or gpu"

test-all: test test-slow  ## everything that this machine can run, but for the containers

images: $(installed)  ## build both container images and try them on toy data
	sh docker/build.sh $(if $(TORCH_INDEX_URL),--build-arg TORCH_INDEX_URL="$(TORCH_INDEX_URL)")
	sh docker/test_run.sh

clean:  ## remove .venv and what the tools left
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
