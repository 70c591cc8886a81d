"""The batch script on a real Slurm of one node, which is this machine."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from darkroom.runs.reading import records
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import PAINT, ROOT, command
from tests.servers import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.drill,
    pytest.mark.skipif(
        os.name != "posix" or os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)),
        reason="needs root and Slurm: apt-get install slurmctld slurmd slurm-client munge",
    ),
]


def configuration(folder: Path) -> str:
    return f"""\
ClusterName=test
SlurmctldHost={socket.gethostname().split(".")[0]}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=one NodeHostname={socket.gethostname().split(".")[0]} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def slurm() -> Iterator[dict[str, str]]:
    """The environment of those who use it."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="slurm"))
    folder.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    (folder / "slurm.conf").write_text(configuration(folder))
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    munge = [
        "munged",
        "--foreground",
        "--force",
        f"--key-file={folder}/key",
        f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munge.pid",
        f"--log-file={folder}/munge.log",
        f"--seed-file={folder}/seed",
    ]
    with ExitStack() as stack:
        for start in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "one"]):
            process = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            time.sleep(1)
        wait_until_idle(environment)
        yield environment
    shutil.rmtree(folder, ignore_errors=True)


def wait_until_idle(environment: dict[str, str]) -> None:
    said = ""
    for _ in range(60):
        said = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True, check=False
        ).stdout
        if said.strip() == "idle":
            return
        time.sleep(1)
    raise RuntimeError(f"the node is {said}")


def test_an_array_renders_the_parts_of_a_run_and_ends_with_their_code(slurm: dict[str, str], tmp_path: Path) -> None:
    words = [
        "to=slurm",
        "to.num_parts=2",
        f"to.setup=export PYTHONPATH={ROOT}/pipeline",
        "job=generate",
        f"shared=[{tmp_path}]",
        *PAINT,
        "engine.shard_size=1",
        "prompts=template",
        "prompts.pattern=it's a $HOME {x}",
        "prompts.slots={x: [a, b, c]}",
        f"output.uri={tmp_path}/run",
    ]
    done = subprocess.run(
        command("submit", *words), env=slurm, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert len(list(tmp_path.glob("*.log"))) == 2, logs
    prompts = sorted(record.prompt for record in records(open_store(parse_spec(f"{tmp_path}/run"))))
    assert prompts == [f"it's a $HOME {x}" for x in "abc"]
