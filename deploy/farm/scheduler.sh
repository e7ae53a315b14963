#!/bin/sh
# Start the scheduler of a farm, in the foreground: sh deploy/farm/scheduler.sh [options of dask scheduler]
#
# It writes its address into EDW_SCHEDULER_FILE (scheduler.json here), which listeners and jobs read. It listens on the
# address of this host that the nodes reach: EDW_SCHEDULER_HOST, such as tcp://10.0.0.1 or tls://10.0.0.1 (docs/farm.md).
set -eu
cd "$(dirname "$0")/../.."
exec "${EDW_PYTHON:-.venv/bin/python}" -m dask scheduler \
    --host "${EDW_SCHEDULER_HOST:-tcp://127.0.0.1}" --port "${EDW_SCHEDULER_PORT:-8786}" --no-dashboard \
    --scheduler-file "${EDW_SCHEDULER_FILE:-scheduler.json}" "$@"
