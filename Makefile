# Every target makes what it needs: the first run takes a minute, later ones start at once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(VENV)/.ready-run
DEV    := $(VENV)/.ready-dev
SEEDS  ?= 100000

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs clean soak lock proto release-contract format

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUN)  ## run an ETL over a real public dataset and print where its chart is
	@mkdir -p out/demo
	$(BIN)/formicary run examples/jobs/etl/earth_rotation.yaml -p out="$(CURDIR)/out/demo"
	@ls out/demo/*.svg | sed 's|^|chart: $(CURDIR)/|'

test: $(DEV)  ## run every test except the long ones
	$(BIN)/python -m tests.side_by_side -m "not soak"

check: $(DEV)  ## format, lint, types, layers, house rules, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@mkdir -p build
	$(COMPILER) --image build/contract.binpb
	$(BIN)/buf lint build/contract.binpb --config proto/buf.yaml
	$(BIN)/buf breaking build/contract.binpb --against proto/released.binpb --config proto/buf.yaml
	$(BIN)/python -m pytest -q tests/unit/test_tidy.py

format: $(DEV)  ## let ruff rewrite what `make check` would complain about
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEV)  ## measure the engine, gateway, headers, access, events and idempotency beside peers and floors
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.gateway
	$(BIN)/python -m bench.headers
	$(BIN)/python -m bench.access
	$(BIN)/python -m bench.messages
	$(BIN)/python -m bench.events
	$(BIN)/python -m bench.composition
	$(BIN)/python -m bench.artifacts
	$(BIN)/python -m bench.cron
	$(BIN)/python -m bench.idempotency

soak: $(DEV)  ## the long tests: 100,000 simulated seeds (SEEDS=n), the marked tests
	$(BIN)/python -m pytest -q -m soak
	$(BIN)/python -m tests.simulation.run --seeds $(SEEDS)
	$(BIN)/python -m tests.simulation.run --seeds $(SEEDS) --workload placed

docs: $(DEV)  ## write the generated pages of docs/reference
	$(BIN)/python -m docs.generate

proto: $(DEV)  ## generate src/formicary/v1 from proto/
	$(COMPILER)

release-contract: $(DEV)  ## make the present contract the one that later changes may not break
	$(COMPILER) --image proto/released.binpb --bare

COMPILER = $(BIN)/python -W ignore proto/generate.py

clean:  ## remove everything that was generated, the virtual environment included
	rm -rf $(VENV) out dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------------- the environment
# Locked versions with hashes; the project itself is installed in place. The developer's set contains the runtime's.
$(RUN): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test $(DEV) -nt requirements.lock || $(BIN)/pip install -q --require-hashes -r requirements.lock
	@$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

# Only the default index counts, whatever pip's configuration says; an existing lock is kept where it still fits.
COMPILE := env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL -u PIP_INDEX_URL -u PIP_CONSTRAINT PIP_CONFIG_FILE=/dev/null \
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-options --build-deps-for editable

lock: | $(VENV)  ## resolve requirements*.lock anew from pyproject.toml (UPGRADE=-U takes the newest)
	$(COMPILE) $(UPGRADE) --extra postgres --extra redis --extra mysql --extra artifacts --extra nats --extra websocket --extra oidc --extra otel --extra examples -o requirements.lock pyproject.toml
	$(COMPILE) $(UPGRADE) --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml

$(VENV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q pip-tools
