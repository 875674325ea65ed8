"""Namespaces, lockdown, locked memory: a server in a container, and h2olog in one."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest
from conftest import (
    BUILD, HAS_LINKS, KERNEL, Server, Tracer, change_uprobe_events, children_of, refusing, run, take_uprobe_events,
    uprobe_events, wait_until,
)  # fmt: skip
from support import COUNT, LINES, PROGRAMS, SCRIPT, Memory, Serve, Trace, check_played

# --- the server is in a container ---


class Contained(Server):
    """A stand-in in its own PID namespace and mount namespace, which alone has its binary."""

    def __init__(self, version: str, folder: Path, script: Path) -> None:
        inside = 'mount -t tmpfs none "$1"; cp "$2" "$1/server"; cp "$3" "$1/script"; exec "$1/server" --script "$1/script"'
        self.binary = folder / "server"
        self.process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount", "sh", "-ec", inside, "sh", str(folder),
             str(BUILD / "t" / "standin" / f"standin-{version}"), str(script)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        match = re.match(r"listening on 127\.0\.0\.1:(\d+) pid 1 ", self.process.stdout.readline())
        assert match is not None
        self.url = f"http://127.0.0.1:{match.group(1)}"
        (self.pid,) = children_of(self.process.pid)

    def start_playing(self) -> None:
        os.kill(self.pid, signal.SIGUSR1)

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def contain(tmp_path: Path) -> Iterator[Callable[..., Contained]]:
    contained: list[Contained] = []

    def start(script: str, outside: str | None) -> Contained:
        """`outside`: the file that the host has at the path of the binary."""
        folder, file = tmp_path / "folder", tmp_path / "script"
        folder.mkdir()
        file.write_text(script)
        if outside is not None:
            shutil.copy(BUILD / "t" / "standin" / f"standin-{outside}", folder / "server")
        contained.append(Contained("2026-06", folder, file))
        return contained[-1]

    yield start
    for server in contained:
        server.close()


@pytest.mark.parametrize("outside", [None, "2020-06"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_server_in_a_container(
    contain: Callable[..., Contained], trace: Trace, program: str, outside: str | None
) -> None:
    server = contain(SCRIPT, outside)
    assert server.pid != 1 and server.binary.exists() == (outside is not None)
    tracer = trace(server, program=program)
    check_played(server, COUNT)
    assert tracer.stop() == 0
    assert tracer.lines() == LINES
    assert server.play() == (0, COUNT)


@pytest.mark.parametrize("program", PROGRAMS)
def test_threads_of_a_server_in_a_container(contain: Callable[..., Contained], trace: Trace, program: str) -> None:
    """Threads have the ids in the server's namespace."""
    server = contain("threads 3\nrepeat 10\nh2o:send_response conn_id=tid req_id=thread status=200\nend\n", None)
    tracer = trace(server, "all", "-t", "h2o:send_response", program=program)
    check_played(server, 30)
    assert tracer.stop() == 0
    events = [json.loads(line) for line in tracer.lines()]
    assert len(events) == 30
    assert all(event["tid"] == event["conn-id"] for event in events)
    outside = {int(name) for name in os.listdir(f"/proc/{server.pid}/task")}
    tids = {event["tid"] for event in events}
    assert len(tids) == 3 and max(tids) < min(outside) or tids.isdisjoint(outside)


# --- h2olog is in a container ---


# Docker's default capabilities of a container, and those to add for h2olog (--cap-add).
DOCKER = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write "
    "setfcap"
).split()
BASE = ["cap_39", "cap_38", "sys_ptrace"]  # bpf and perfmon: setpriv of Debian 11 does not know these by name
ADDED = BASE if KERNEL >= (5, 11) else [*BASE, "sys_resource"]  # for the limit of locked memory

CONTAINER = """
root=$1 program=$2 capabilities=$3; shift 3
mount -t tmpfs -o mode=755 none "$root"
mkdir "$root/proc" "$root/sys" "$root/tmp"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for folder in usr bin lib lib64 sbin; do
    if [ -L /$folder ]; then
        cp -P /$folder "$root"
    elif [ -e /$folder ]; then
        mkdir "$root/$folder"
        mount --bind -o ro /$folder "$root/$folder"
    fi
done
cp "$program" "$root/h2olog"
exec chroot "$root" setpriv --bounding-set "$capabilities" --inh-caps -all /h2olog "$@"
"""


def start_in_container(folder: Path, server: Server, program: str, capabilities: list[str]) -> Tracer:
    """A container that sees the processes of the host.
    It has no /run, /dev and /etc, and only the needed capabilities."""
    root, out = folder / "root", folder / "tracer"
    root.mkdir()
    out.mkdir()
    bounding = "-all," + ",".join(f"+{name}" for name in DOCKER + capabilities)
    words = ["sh", "-ec", CONTAINER, "sh", str(root), str(BUILD / program), bounding, "-d", "-p", str(server.pid)]
    return Tracer(out, "--mount", *words, program="/usr/bin/unshare", attached=False)


@pytest.mark.parametrize(
    "program, more", [("h2olog", [] if HAS_LINKS else ["sys_admin"]), ("h2olog-single", ["sys_admin"])]
)
def test_h2olog_in_a_container(serve: Serve, tmp_path: Path, program: str, more: list[str]) -> None:
    server = serve(script=SCRIPT)
    memory = Memory(server)
    tracer = start_in_container(tmp_path, server, program, ADDED + more)
    try:
        tracer.wait_attached()
        check_played(server, COUNT)
        assert tracer.wait_lines(COUNT) == LINES
        inside = Path(f"/proc/{tracer.process.pid}")
        assert os.readlink(inside / "ns" / "mnt") != os.readlink("/proc/self/ns/mnt")
        assert list((inside / "root" / "tmp").iterdir()) == []
        assert tracer.stop() == 0
    finally:
        tracer.stop(signal.SIGKILL)
    assert tracer.lines() == LINES
    assert memory.switched_on() == set()
    assert left_in_tracefs(tracer.process.pid) == []


# --- named uprobes, which do not end with their creator ---


def left_in_tracefs(pid: int) -> list[str]:
    """Returns named uprobes of a process. They do not end with the process."""
    return [line for line in uprobe_events().read_text().splitlines() if f"h2olog_{pid}_" in line]


def test_event_in_tracefs_is_found(serve: Serve) -> None:
    """The tests below rely on this."""
    server, name = serve(), f"h2olog_{os.getpid()}_found"
    assert left_in_tracefs(os.getpid()) == [] and take_uprobe_events(server) == []
    change_uprobe_events(f"p:{name} /proc/{server.pid}/exe:0x1000")
    try:
        assert len(left_in_tracefs(os.getpid())) == len(take_uprobe_events(server)) == 1
    finally:
        for line in left_in_tracefs(os.getpid()):
            change_uprobe_events(f"-:{line.split()[0].partition(':')[2]}")
    assert left_in_tracefs(os.getpid()) == []


def test_uprobes_need_admin(serve: Serve, tmp_path: Path) -> None:
    """Before Linux 6.10, the kernel refuses uprobes without CAP_SYS_ADMIN. h2olog does not use another way, which would
    ignore the semaphores."""
    server = serve()
    tracer = start_in_container(tmp_path, server, "h2olog-single", ADDED)
    try:
        wait_until(lambda: tracer.process.poll() is not None or "Attaching" in tracer.messages(), "the start")
    finally:
        tracer.stop(signal.SIGKILL)
    assert tracer.process.returncode == 1
    assert tracer.messages().startswith("h2olog: the kernel refuses uprobes: Permission denied; ")
    assert "CAP_SYS_ADMIN" in tracer.messages()
    assert left_in_tracefs(tracer.process.pid) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_event_is_left_in_tracefs(serve: Serve, trace: Trace, program: str) -> None:
    """Neither after a run, nor after a run whose uprobes were refused."""
    server = serve()
    tracer = trace(server, program=program)
    assert tracer.stop() == 0
    refused = trace(server, program=program, attached=False, before=refusing("perf_event_open", errno.EACCES))
    wait_until(lambda: refused.process.poll() is not None or "Attaching" in refused.messages(), "the start")
    refused.stop()
    assert refused.process.returncode == (0 if program == "h2olog" and HAS_LINKS else 1)
    for ended in (tracer, refused):
        assert left_in_tracefs(ended.process.pid) == []


# --- locked memory, and a kernel that is locked down ---


if KERNEL < (5, 11):  # later kernels do not count maps as locked memory

    def test_locked_memory_takes_a_capability(serve: Serve, tmp_path: Path) -> None:
        tracer = start_in_container(tmp_path, serve(), "h2olog", BASE)
        wait_until(lambda: tracer.process.poll() is not None or "Attaching" in tracer.messages(), "the start")
        assert tracer.stop() == 1
        said = tracer.messages()
        assert re.fullmatch(r"h2olog: the kernel refuses BPF maps: .*ulimit -l.*CAP_SYS_RESOURCE.*\n", said), said


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_locked_memory(serve: Serve, trace: Trace, program: str) -> None:
    """Since 5.11, BPF does not count as locked memory; before, root may raise the limit."""
    server = serve(script=SCRIPT)
    limit = lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))  # noqa: E731
    tracer = trace(server, program=program, before=limit)
    check_played(server, COUNT)
    assert tracer.stop() == 0
    assert tracer.lines() == LINES


def test_lockdown_is_reported(serve: Serve) -> None:
    """A locked-down kernel is simulated: its status file, and the refusal."""
    server, lockdown = serve(), "/sys/kernel/security/lockdown"
    script = "mount -t tmpfs none /sys/kernel\nmkdir /sys/kernel/security\n"
    script += f"echo 'none integrity [confidentiality]' >{lockdown}\n"
    done = run(
        "--mount", "sh", "-ec", f'{script}exec "$0" "$@"', str(BUILD / "h2olog"), "-p", str(server.pid),
        program="/usr/bin/unshare", before=refusing("bpf", errno.EPERM),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"h2olog: the kernel refuses BPF maps: .*locked down.*lockdown=integrity.*\n", done.stderr)
