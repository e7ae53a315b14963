#!/bin/sh
# A farm's workers on Slurm, twenty jobs of eight cores: sbatch --array=1-20 deploy/farm/slurm.sh
#SBATCH --job-name=edw
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=2G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --output=edw-%A_%a.log
#SBATCH --open-mode=append

# Two minutes before the wall time, and when it is preempted: the job goes back to the queue.
again() {
    [ -z "${SLURM_JOB_ID:-}" ] || scontrol requeue "$SLURM_JOB_ID"
}
trap again USR1
# Not by $0, which is a copy in Slurm's spool.
sh "${EDW_HOME:-$SLURM_SUBMIT_DIR}/deploy/farm/worker.sh" "${SLURM_CPUS_PER_TASK:-1}" \
    --name "slurm-${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}-${SLURM_ARRAY_TASK_ID:-0}-${SLURM_RESTART_COUNT:-0}" &
worker=$!
trap 'kill -TERM "$worker"' TERM INT
while kill -0 "$worker" 2>/dev/null; do
    wait "$worker"
done
