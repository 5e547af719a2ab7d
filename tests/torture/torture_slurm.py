"""A SLURM of one node, for the one who runs the test: its own ports, keys and folders.

Needs Debian's `slurm-wlm` (which brings `munge`) and the package snakemake-executor-plugin-slurm.
"""

import contextlib
import getpass
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "pkill")
PATH = f"{os.environ['PATH']}:/usr/sbin"
PLUGIN = "snakemake_executor_plugin_slurm"
SETTINGS = """
ClusterName=torture
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
MinJobAge=600
KillWait=5
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
GRAPHICS = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"  # what the profile asks for


def missing() -> list[str]:
    """What a machine lacks for this."""
    found = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    return found + ([] if importlib.util.find_spec(PLUGIN) else [PLUGIN])


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which SLURM's programs reach a cluster that runs meanwhile."""
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    settings, key, shim = folder / "slurm.conf", folder / "munge.key", folder / "bin" / "srun"
    host, user = socket.gethostname().split(".")[0], getpass.getuser()
    settings.write_text(SETTINGS.format(folder=folder, host=host, user=user, ports=_ports(2)))
    (folder / "gres.conf").write_text(GRAPHICS)
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    # the plugin removes SLURM_CONF from what a job's srun sees
    shim.write_text(f'#!/bin/sh\nSLURM_CONF={settings} exec {shutil.which("srun")} "$@"\n')
    shim.chmod(0o755)
    found = {**os.environ, "SLURM_CONF": str(settings), "PATH": f"{folder / 'bin'}:{PATH}"}
    munged = ["munged", "--force", "--foreground", f"--socket={folder}/munge.socket",
              f"--key-file={key}", f"--pid-file={folder}/munged.pid",
              f"--seed-file={folder}/munged.seed", f"--log-file={folder}/munged.log"]  # fmt: skip
    running = []
    try:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            with (folder / f"{command[0]}.told").open("wb") as told:
                running.append(subprocess.Popen(command, env=found, stdout=told, stderr=told))
        _wait(found)
        yield found
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait()
        # a cancelled job's Snakemake may outlive its step: whatever names this test's folder goes
        subprocess.run(["pkill", "-KILL", "-f", str(folder.parent)], check=False)


def _ports(many: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(many)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait(environment: dict[str, str], seconds: float = 60) -> None:
    """Until the node takes jobs."""
    asked = ["sinfo", "--noheader", "--format=%T"]
    for _ in range(int(seconds / 0.2)):
        told = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
        if told.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    raise RuntimeError(f"no idle node after {seconds} s: {told.stdout}{told.stderr}")


def running(environment: dict[str, str]) -> list[str]:
    """Numbers of the jobs that run now."""
    asked = ["squeue", "--noheader", "--states=RUNNING", "--format=%i"]
    told = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    return told.stdout.split()
