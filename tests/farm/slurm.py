"""A real Slurm on loopback: munged, slurmctld and one slurmd as processes of a test, without systemd and cgroups."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

from tests.programs import program
from tests.scripts import LIMIT, Process, wait_until

SETTINGS = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2,batch_sched_delay=0
ReturnToService=2
KillWait=5
MpiDefault=none
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=16000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=60 State=UP
"""


class Slurm:
    """It is ended with the block, and so are all its jobs."""

    def __init__(self, folder: Path) -> None:
        """Skips the test where its programs are not here."""
        self._programs = {
            name: program(name, package=package)
            for name, package in (('munged', 'munge'), ('slurmctld', 'slurmctld'), ('slurmd', 'slurmd'))
        }
        program('sbatch', package='slurm-client')
        self._folder = folder
        self._started: list[Process] = []
        self.environment = {**os.environ, 'SLURM_CONF': str(folder / 'slurm.conf')}

    def __enter__(self) -> Slurm:
        host = socket.gethostname().partition('.')[0]
        for name in ('state', 'spool'):
            (self._folder / name).mkdir()
        key = self._folder / 'munge.key'
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        ports = {'controller_port': free_port(), 'node_port': free_port()}
        (self._folder / 'slurm.conf').write_text(SETTINGS.format(host=host, folder=self._folder, **ports))
        munge = {
            'socket': 'munge.socket',
            'key-file': 'munge.key',
            'pid-file': 'munged.pid',
            'log-file': 'munged.log',
            'seed-file': 'munged.seed',
        }
        options = [f'--{option}={self._folder / name}' for option, name in munge.items()]
        self._start('munged', '--foreground', '--force', *options)
        wait_until(lambda: (self._folder / 'munge.socket').exists())
        self._start('slurmctld', '-D')
        self._start('slurmd', '-D', '-N', host)
        wait_until(lambda: 'idle' in self.ask('sinfo', '--noheader', '--format=%T'))
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.ask('scancel', '--user=root')
            wait_until(lambda: not self.ask('squeue', '--noheader'))
        finally:
            for process in reversed(self._started):
                process.send(signal.SIGTERM)
            for process in reversed(self._started):
                process.end()

    def ask(self, *command: str, **more: str) -> str:
        """What one of Slurm's commands says; '' where it does not answer."""
        done = subprocess.run(
            command,
            env={**self.environment, **more},
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ''

    def _start(self, name: str, *options: str) -> None:
        self._started.append(Process([self._programs[name], *options], env=self.environment, cwd=self._folder))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return int(found.getsockname()[1])
