"""A Slurm of one node on loopback, with everything of it in a folder: for tests, which install nothing."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "BOOT_FAIL", "OUT_OF_MEMORY")
CONFIG = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=36817
SlurmdPort=36818
SlurmUser=root
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
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdTimeout=10
KillWait=10
MinJobAge=600
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP
"""


def missing() -> str | None:
    """What a Slurm needs and is not here, in words."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    if absent:
        return (
            f"{', '.join(absent)} not found: on Debian, apt-get install slurmctld slurmd slurm-client munge"
        )
    return None if os.geteuid() == 0 else "slurmd starts jobs as root only"


def search_path() -> str:
    """Where Debian has daemons, too."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])


class Slurm:
    """Commands and daemons of a cluster in a folder.

    Args:
        folder: of its configuration, state and logs.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": search_path()}
        for name in [name for name in self.environment if name.startswith(("SLURM_JOB", "SLURM_STEP"))]:
            del self.environment[name]
        self.daemons: dict[str, subprocess.Popen] = {}

    def start(self, name: str, *options: str) -> None:
        """Start a daemon in the foreground of a process of ours."""
        with open(self.folder / f"{name}.out", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                [name, *options], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, *command: str, check: bool = True) -> str:
        """What a command of the cluster prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def submit(self, script: Path, *options: str) -> str:
        """Put a batch script into the queue; returns the job's number."""
        return self.run("sbatch", "--parsable", *options, str(script))

    def job(self, number: str) -> dict[str, str]:
        """What the controller knows of a job."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number: str, *states: str, restarts: int = 0, seconds: float = 300) -> dict[str, str]:
        """What is known of the job once it is in one of the states, after so many restarts at least."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            job = self.job(number)
            if job["JobState"] in states and int(job["Restarts"]) >= restarts:
                return job
            if job["JobState"] in ENDED:
                break
            time.sleep(0.5)
        raise AssertionError(f"job {number} is {job['JobState']}, not {states}\n{self.log()}")

    def log(self) -> str:
        """The end of the daemons' logs."""
        logs = [self.folder / f"{name}.log" for name in ("slurmctld", "slurmd")]
        return "\n".join(log.read_text()[-2000:] for log in logs if log.is_file())

    def start_node(self) -> None:
        """Start the node's agent, and wait until the controller knows it."""
        self.start("slurmd", "-D")
        end = time.monotonic() + 60
        while not self.run("sinfo", "--noheader", "--format=%T", check=False).startswith(("idle", "mixed")):
            assert time.monotonic() < end, self.log()
            time.sleep(0.5)

    def kill_node(self) -> None:
        """Kill the node's agent and all that it has started, as a crash of the node would."""
        agent = self.daemons.pop("slurmd")
        agent.kill()
        agent.wait()
        for words in subprocess.run(
            ["ps", "-eo", "pid=,args="], capture_output=True, text=True
        ).stdout.splitlines():
            number, _, command = words.strip().partition(" ")
            if command.startswith("slurmstepd: ["):
                for process in (*descendants(int(number)), int(number)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        """End all daemons, and the jobs that still run."""
        for number in self.run("squeue", "--noheader", "--format=%A", check=False).split():
            self.run("scancel", "--signal=KILL", number, check=False)
        time.sleep(1)
        for name in ("slurmd", "slurmctld", "munged"):
            if (daemon := self.daemons.get(name)) is not None:
                daemon.terminate()
                daemon.wait(30)


def descendants(parent: int) -> list[int]:
    """All processes below one, the youngest first."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True).stdout
    children = [int(word) for word in found.split()]
    return [each for child in children for each in (*descendants(child), child)]


@contextlib.contextmanager
def slurm(folder: Path, cpus: int = 2) -> Iterator[Slurm]:
    """A running cluster of one node with so many slots, which may be more than the machine has cores."""
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = os.uname().nodename.split(".")[0]
    (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, host=host, cpus=cpus))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    cluster = Slurm(folder)
    paths = {name: folder / f"munge.{name}" for name in ("socket", "pid", "seed", "log")}
    options = [f"--{name}-file={path}" for name, path in paths.items() if name != "socket"]
    try:
        cluster.start(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={paths['socket']}", *options
        )
        while not paths["socket"].exists():
            assert cluster.daemons["munged"].poll() is None, (folder / "munged.out").read_text()
            time.sleep(0.1)
        cluster.start("slurmctld", "-D")
        cluster.start_node()
        yield cluster
    finally:
        cluster.stop()
