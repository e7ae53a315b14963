#!/bin/sh
# A farm's workers on PBS, twenty jobs of eight cores: for i in $(seq 20); do qsub deploy/farm/pbs.sh; done
#PBS -N edw
#PBS -l select=1:ncpus=8:mem=16gb
#PBS -l walltime=24:00:00
#PBS -r y
#PBS -j oe

# A job cannot put itself into the queue again here: two minutes before the wall time it submits another one.
cd "${EDW_HOME:-$PBS_O_WORKDIR}" || exit 1
sh deploy/farm/worker.sh "${NCPUS:-1}" --name "pbs-$(echo "$PBS_JOBID" | tr -c 'A-Za-z0-9\n' '-')-$(date +%s)" &
worker=$!
trap 'kill -TERM "$worker"' TERM INT
trap 'qsub deploy/farm/pbs.sh; kill -TERM "$worker"' USR1
(sleep 86280 && kill -USR1 $$) &
timer=$!
while kill -0 "$worker" 2>/dev/null; do
    wait "$worker"
done
kill "$timer" 2>/dev/null
