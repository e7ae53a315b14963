#!/bin/sh
# A farm's workers on Grid Engine, twenty jobs of eight cores: qsub -t 1-20 deploy/farm/gridengine.sh
#$ -N edw
#$ -S /bin/sh
#$ -cwd
#$ -pe smp 8
#$ -l h_rt=24:00:00,s_rt=23:58:00
#$ -notify
#$ -r y
#$ -j y

# SIGUSR1 comes before a suspension and at s_rt, SIGUSR2 before the job is killed. Exit code 99 puts it into the queue again.
code=0
trap 'code=99; kill -TERM "$worker"' USR1
trap 'kill -TERM "$worker"' USR2 TERM INT
sh "${EDW_HOME:-$SGE_O_WORKDIR}/deploy/farm/worker.sh" "${NSLOTS:-1}" --name "sge-$JOB_ID-$SGE_TASK_ID-$(date +%s)" &
worker=$!
while kill -0 "$worker" 2>/dev/null; do
    wait "$worker"
done
exit "$code"
