#!/bin/sh
# What every batch job of a farm does: one Dask worker with as many places for callbacks as the job has cores.
#
#   sh deploy/farm/worker.sh CORES [options of dask worker]
#
# EDW_SCHEDULER_FILE is the file that the scheduler wrote. When the scheduler is away the worker ends, and is started
# again here; a SIGTERM, as batch systems send it at the end, ends both.
set -u
cd "$(dirname "$0")/../.."
cores=$1
shift
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
# Each callback has one core: threads of the linear algebra would only wait for each other.
export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/edw-worker-XXXXXX") || exit 1
worker=
ends=
end() {
    ends=yes
    [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null
}
trap end TERM INT
trap 'rm -rf "$scratch"' EXIT
while [ -z "$ends" ]; do
    # Without a nanny, whose workers may have no children, and in which Dask would start them again unseen.
    "${EDW_PYTHON:-.venv/bin/python}" -m dask worker --scheduler-file "${EDW_SCHEDULER_FILE:-scheduler.json}" \
        --no-nanny --nthreads "$cores" --memory-limit 0 --no-dashboard --local-directory "$scratch" "$@" &
    worker=$!
    wait "$worker"
    # A trap has ended the wait: the worker ends in its own time.
    [ -z "$ends" ] || wait "$worker"
    worker=
    [ -n "$ends" ] || { sleep 5 & wait $!; }
done
