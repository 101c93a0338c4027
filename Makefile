# Everything from a bare machine: these need python3 (with venv) and make, and fetch the rest into .venv and .nox.
PYTHON ?= python3
NOX := .venv/bin/nox --non-interactive

.PHONY: help demo test lint docs clean

help:
	@echo "make demo           train a small CNN on handwritten digits; LOGGER=wandb|mlflow|csv for another tracker"
	@echo "make test           everything that guards main"
	@echo "make lint           format and rules"
	@echo "make docs           the documentation, into site/"
	@echo "make clean          remove what the others made"
	@echo ".venv/bin/nox -l    every single check"

demo: .venv/ready
	$(NOX) -s demo $(if $(LOGGER),-- --logger $(LOGGER))

test: .venv/ready
	$(NOX)

lint: .venv/ready
	$(NOX) -s lint

docs: .venv/ready
	$(NOX) -s docs

.venv/ready: constraints/dev.txt
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints/dev.txt nox uv
	touch $@

clean:
	rm -rf .venv .nox dist site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
