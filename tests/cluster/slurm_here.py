"""A Slurm cluster of two nodes on this machine, from Debian's packages, for the time of a block."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "squeue", "munged", "mungekey")
INSTALL = (
    f"no Slurm here; `apt-get update && apt-get install -y {' '.join(PACKAGES)}` as root installs "
    "it"
)
NODES = ("left", "right")
PATIENCE = 60  # seconds: a busy machine starts slowly

# Timeouts are as short as Slurm takes them: a node that is gone is seen within some seconds.
CONF = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={socket}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=1,bf_interval=1
JobRequeue=1
ReturnToService=2
SlurmdTimeout=5
KillWait=1
InactiveLimit=0
MinJobAge=300
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=60 State=UP OverSubscribe=NO
"""


@dataclass(frozen=True)
class SlurmHere:
    """A running cluster.

    Attributes:
        environment: What its programs, and those that use it, need to be told.
        nodes: The process of each node's daemon, by its name.
    """

    environment: Mapping[str, str]
    folder: Path
    nodes: dict[str, subprocess.Popen[bytes]]

    def says(self, *command: str) -> str:
        """What one of Slurm's programs prints."""
        return subprocess.run(
            command, env=self._whole(), check=True, capture_output=True, text=True
        ).stdout

    def start(self, node: str) -> None:
        """Starts a node's daemon."""
        self.nodes[node] = subprocess.Popen(
            ["slurmd", "-D", "-N", node], env=self._whole(), stderr=subprocess.DEVNULL
        )

    def take_down(self, node: str) -> None:
        """A node is lost, with all that runs on it."""
        self.nodes[node].kill()
        self.nodes[node].wait()
        self.kill_jobs_on(node)
        self.says("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def node_of(self, job: str) -> str:
        """The node that a job runs on."""
        return self.says("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()

    def kill_jobs_on(self, node: str) -> None:
        """Kills what runs on a node at once, without the time that Slurm gives it to end."""
        for process in _children_of(self.folder, node):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def hasten(self, job: str) -> None:
        """Waits until a job is queued again, and lets it start: Slurm waits two minutes."""
        end = time.monotonic() + PATIENCE
        while dict(self.jobs())[job] != "PENDING":
            if time.monotonic() > end:
                raise TimeoutError(f"job {job} is not queued again")
            time.sleep(0.1)
        self.says("scontrol", "update", f"jobid={job}", "starttime=now")

    def bring_up(self, node: str) -> None:
        """A node is there again."""
        self.start(node)
        self.says("scontrol", "update", f"nodename={node}", "state=resume")
        self.wait_idle()

    def wait_idle(self) -> None:
        """Waits until all nodes take jobs."""
        end, states = time.monotonic() + PATIENCE, ""
        while time.monotonic() < end:
            with suppress(subprocess.CalledProcessError):  # the controller is starting
                states = self.says("sinfo", "--noheader", "--Node", "--format=%T")
                if states.split() == ["idle"] * len(NODES):
                    return
            time.sleep(0.2)
        raise TimeoutError(f"the nodes are {states.split()}; logs are in {self.folder}")

    def jobs(self) -> list[tuple[str, str]]:
        """The id and the state of all jobs that Slurm remembers."""
        lines = self.says("squeue", "--noheader", "--array", "--states=all", "--format=%i %T")
        return [(job, state) for job, state in map(str.split, lines.splitlines())]

    def _whole(self) -> dict[str, str]:
        return dict(os.environ) | dict(self.environment)


@contextmanager
def slurm_here(folder: Path) -> Iterator[SlurmHere]:
    """A cluster of two nodes of one processor each; all of it ends with the block.

    Args:
        folder: Where it keeps its files; a short path, since a socket is among them.
    """
    for name in ("state", "munge", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o755)
    socket_file, key = folder / "munge" / "socket", folder / "munge" / "key"
    _write_conf(folder, socket_file)
    subprocess.run(["mungekey", "--create", f"--keyfile={key}"], check=True)
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    with ExitStack() as ending:
        _started(ending, _munged(folder, socket_file, key), {})
        _wait_for(socket_file)
        here = SlurmHere(environment, folder, {})
        _started(ending, ["slurmctld", "-D", "-c"], environment)
        ending.callback(_end_nodes, here)
        for node in NODES:
            here.start(node)
        here.wait_idle()
        try:
            yield here
        finally:
            with suppress(subprocess.CalledProcessError):
                here.says("scancel", f"--user={getpass.getuser()}")


def is_missing() -> bool:
    """Whether a program is not installed, or this user may not start it."""
    return os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS))


def _write_conf(folder: Path, socket_file: Path) -> None:
    host = socket.gethostname().partition(".")[0]
    ports = _free_ports(1 + len(NODES))
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 "
        "RealMemory=1000 State=UNKNOWN"
        for node, port in zip(NODES, ports[1:], strict=True)
    )
    text = CONF.format(
        host=host,
        user=getpass.getuser(),
        ctld_port=ports[0],
        folder=folder,
        socket=socket_file,
        nodes=nodes,
        names=",".join(NODES),
    )
    (folder / "slurm.conf").write_text(text)


def _munged(folder: Path, socket_file: Path, key: Path) -> list[str]:
    return [
        "munged", "--foreground", "--force", f"--socket={socket_file}", f"--key-file={key}",
        f"--pid-file={folder}/munge/pid", f"--log-file={folder}/munge/log",
        f"--seed-file={folder}/munge/seed",
    ]  # fmt: skip


def _started(ending: ExitStack, command: list[str], environment: Mapping[str, str]) -> None:
    """Starts a daemon that ends with a block."""
    process = subprocess.Popen(
        command,
        env=dict(os.environ) | dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ending.callback(_end, process)


def _end_nodes(here: SlurmHere) -> None:
    for node, process in here.nodes.items():
        here.kill_jobs_on(node)
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _children_of(folder: Path, node: str) -> list[int]:
    """Processes of jobs on a node: its name stands in their environment, as does the cluster."""
    found = []
    marks = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={folder}/slurm.conf".encode()}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and marks <= set((entry / "environ").read_bytes().split(b"\0")):
                found.append(int(entry.name))
    return found


def _free_ports(count: int) -> list[int]:
    with ExitStack() as closing:
        sockets = [closing.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_for(file: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not file.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{file} does not come")
        time.sleep(0.05)
