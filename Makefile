# make demo    sets everything up and runs the main job, showing every HTTP call
# make test    sets everything up and passes all tests
# make serve   starts the server on http://localhost:8080
# make check   lint, format, types, import contracts, dependencies (the first stage of CI)
# make audit   looks the locked packages up among published vulnerabilities, where these can be reached
# make lock    resolves the dependencies anew
# make wheel   builds dist/stoa_server-*.whl
# make image   builds a container, where docker or podman is there
# make clients builds the client libraries: dist/stoa_client-*.whl and dist/stoa-client-*.tgz

# ARGS adds to a command: make serve ARGS="--port 9000", make test ARGS="tests/unit -k chunking".

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
# --no-deps: the lock files are complete, and one package must come without what it declares.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes
ARGS ?=

.PHONY: demo test serve check audit lock wheel image clients clean

demo: $(VENV)/run.stamp
	@$(BIN)/stoa demo $(ARGS)

serve: $(VENV)/run.stamp
	@$(BIN)/stoa serve $(ARGS)

test: $(VENV)/dev.stamp
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --numprocesses auto --dist loadscope --no-loadscope-reorder $(ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check src tests bench tools clients
	$(BIN)/ruff format --check src tests bench tools clients
	$(BIN)/pyright
	$(BIN)/pyright --project clients/python
	$(BIN)/lint-imports
	$(BIN)/deptry src
	cd clients/python && ../../$(BIN)/deptry src

	@$(BIN)/python tools/supply/audit.py

audit: $(VENV)/dev.stamp
	@$(BIN)/python tools/supply/audit.py

wheel: $(VENV)/build.stamp
	@$(BIN)/python -m hatchling build --target wheel --directory dist

image:
	@engine=$$(command -v docker || command -v podman) || { echo "Neither docker nor podman was found." >&2; exit 1; }; \
		$$engine build --file deploy/Containerfile --tag stoa .

clients: $(VENV)/build.stamp
	@mkdir -p dist
	@cd clients/python && ../../$(BIN)/python -m hatchling build --target wheel --directory ../../dist
	@command -v npm >/dev/null 2>&1 || { echo "npm, which packs the JavaScript client, was not found." >&2; exit 1; }
	@cd clients/javascript && npm pack --offline --silent --pack-destination ../../dist

lock: $(VENV)/dev.stamp
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade \
		--output-file requirements/build.txt requirements/build.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade \
		--constraint requirements/build.txt --output-file requirements/run.txt pyproject.toml requirements/build.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade \
		--constraint requirements/run.txt --output-file requirements/dev.txt pyproject.toml requirements/build.in requirements/dev.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-deps --upgrade \
		--output-file requirements/embedder.txt requirements/embedder.in
	$(BIN)/python tools/supply/sbom.py

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Stoa needs Python 3.11 or newer; none was found." >&2; exit 1; }
	@echo "Setting up $(VENV) (once) …"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/build.stamp: requirements/build.txt | $(VENV)/bin/python
	@$(PIP_INSTALL) -r requirements/build.txt
	@touch $@

$(VENV)/run.stamp: requirements/run.txt requirements/embedder.txt pyproject.toml | $(VENV)/bin/python
	@$(PIP_INSTALL) -r requirements/run.txt -r requirements/embedder.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	@$(PIP_INSTALL) -r requirements/dev.txt
	@touch $@

clean:
	rm -rf $(VENV) dist
