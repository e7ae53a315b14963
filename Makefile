# make demo   the whole chain on an embedded server, from nothing to finished documents
# make test   style, then all tests; EDW_TEST_SERVER=http://USER:PASSWORD@HOST:5984 for another server
# make bench  speed and cost beside the original's pattern and the floor; SERVER=http://HOST:5984 for another server
# make bench-peers  the same beside Celery and Procrastinate, which it installs with their servers, on Debian, as root
# make chaos  ten minutes of everything going wrong at once; EDW_CHAOS_SEED=N repeats the choices of a run

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test bench bench-peers chaos clean

demo: $(VENV)/ready
	@$(BIN)/python demo.py

test: $(VENV)/ready-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -q

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

$(VENV)/ready-dev: requirements-dev.txt $(VENV)/ready
	@echo 'installing the test tools into $(VENV), once'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) local_couchdb/node_modules
