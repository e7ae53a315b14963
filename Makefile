# make demo   the whole chain on an embedded server, from nothing to finished documents
# make run    the embedded server, the design document, both listeners and the dashboard in this terminal; Ctrl-C ends all
# make check  style, types and all unit tests but a few slow ones, in seconds: while you write
# make test   the same, and all other tests but the long ones, in minutes; EDW_TEST_SERVER=http://USER:PASSWORD@HOST:5984 for another server
# make test-long  the long ones: odd values everywhere, storage of other machines, clocks that are set
# make bench  speed and cost beside the original's pattern and the floor; SERVER=http://HOST:5984 for another server
# make bench-peers  the same beside Celery and Procrastinate, which it installs with their servers, on Debian, as root
# make chaos  ten minutes of everything going wrong at once; EDW_CHAOS_SEED=N repeats the choices of a run

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Where it is set, as in many images of containers, each of hundreds of processes would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# Tests run in several processes, each with an embedded server of its own; see tests/sharing.py, and tests/conftest.py for
# their number. Unit tests do not wait: they have as many as there are processors.
# Threads of the linear algebra in each of them would only wait for each other.
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --max-worker-restart 0

.PHONY: demo run check unit test quick test-long style bench bench-peers chaos clean

demo: $(VENV)/ready
	@$(BIN)/python demo.py

run: $(VENV)/ready-run
	@$(BIN)/python run_chain.py

check: $(VENV)/ready-dev
	@$(MAKE) --no-print-directory --jobs 2 style unit

unit: $(VENV)/ready-dev
	@$(PYTEST) -n logical --dist loadfile -m 'not slow' --hypothesis-profile check tests/unit

test: $(VENV)/ready-dev
	@$(MAKE) --no-print-directory --jobs 2 style quick

quick: $(VENV)/ready-dev
	@$(PYTEST) -m 'not long'

test-long: $(VENV)/ready-long
	@$(PYTEST) -m long
	@$(PYTEST) --hypothesis-profile long tests/unit/test_cluster_model.py tests/integration/test_any_document.py

style: $(VENV)/ready-dev
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy

bench: $(VENV)/ready-dev
	@$(BIN)/python -m bench $(if $(SERVER),--server $(SERVER)) $(BENCH)

bench-peers: $(VENV)/ready-dev
	@command -v redis-server >/dev/null && ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || \
		{ apt-get update -qq && apt-get install -y -qq redis-server postgresql; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	@$(MAKE) --no-print-directory bench

chaos: $(VENV)/ready-dev
	@EDW_CHAOS_SECONDS=$${EDW_CHAOS_SECONDS:-600} $(BIN)/python -m pytest -q -s tests/chaos/test_chaos.py

$(VENV)/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; make PYTHON=python3.12 ...")'
	@echo 'installing the Python packages into $(VENV), once'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/ready-run: requirements-run.txt $(VENV)/ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-run.txt
	@touch $@

$(VENV)/ready-dev: requirements-dev.txt requirements-run.txt $(VENV)/ready
	@echo 'installing the test tools into $(VENV), once'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(VENV)/ready-long: requirements-long.txt $(VENV)/ready-dev
	@echo 'installing the packages of the long tests into $(VENV), once'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-long.txt
	@touch $@

clean:
	rm -rf $(VENV) local_couchdb/node_modules
