"""Which server h2olog traces: the only one, the one that listens on a port, or the newest of a supervisor.

All servers are in a pid namespace, so it does not matter what else runs on the machine. The pids are those in there.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import pytest
from conftest import BUILD, PATIENCE, PidNamespace, children_of, wait_until
from support import START_SERVER

COULD_NOT_TRACE, WRONG_USAGE = 1, 2
STANDIN = BUILD / "t" / "standin" / "standin-2026-06"
FORKER = BUILD / "t" / "standin" / "standin-forker"
LISTENING = r"listening on 127\.0\.0\.1:(\d+) pid (\d+) threads \d+\n"

NONE = "h2olog: no process with the name h2o runs here; a server that has another name is traced with -p PID\n"
SEVERAL = "h2olog: several servers run here; say which one to trace: -p PID, or --port PORT"

# Runs a command with a network of its own, in which loopback is up.
IN_A_NETWORK = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
os.execv(sys.argv[1], sys.argv[1:])
"""


class Started(NamedTuple):
    process: subprocess.Popen[str]
    pid: int  # in the namespace
    port: int

    @property
    def outside(self) -> int:
        """Its pid out here."""
        (child,) = children_of(self.process.pid)
        return child


class Place:
    """Where servers are started and found."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pids = folder, PidNamespace()

    def copy(self, binary: Path, name: str) -> str:
        copied = self.folder / binary.name / name
        if not copied.exists():
            copied.parent.mkdir(exist_ok=True)
            copied.write_bytes(binary.read_bytes())
            copied.chmod(0o755)
        return str(copied)

    def popen(self, *words: str, sockets: tuple[socket.socket, ...] = ()) -> subprocess.Popen[str]:
        """The process inherits the sockets."""
        how: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return self.pids.start(*words, pass_fds=[one.fileno() for one in sockets], **how)

    def start(
        self, name: str = "h2o", sockets: tuple[socket.socket, ...] = (), before: tuple[str, ...] = ()
    ) -> Started:
        """A server, with a port of its own and the sockets."""
        process = self.popen(*before, self.copy(STANDIN, name), sockets=sockets)
        pid, port = next_server(process)
        return Started(process, pid, port)

    def supervise(self, name: str = "h2o", sockets: tuple[socket.socket, ...] = ()) -> Started:
        """A supervisor with its first server; `pid` is that of the supervisor."""
        script = self.folder / "start_server"
        script.write_text(START_SERVER)
        process = self.popen("perl", str(script), "keep", self.copy(STANDIN, name), sockets=sockets)
        _, port = next_server(process)
        return Started(process, self.pids.pid_of(process), port)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.pids.run(str(BUILD / "h2olog"), *words, timeout=PATIENCE)

    def traced(self, *words: str) -> tuple[int, str]:
        """Which process is traced, and what is said before that."""
        done = self.run(*words, "-d", "--for", "1ms")
        said = re.fullmatch(r"(.*\n|)\S+ Attaching: tracing PID (\d+) \(.*\n(.*\n)*", done.stderr)
        assert said is not None and done.returncode == 0, done.stderr
        return int(said.group(2)), said.group(1)

    def fails(self, status: int, sentence: str, *words: str) -> None:
        done = self.run(*words)
        assert (done.stderr, done.returncode, done.stdout) == (f"h2olog: {sentence}\n", status, "")

    def table(self) -> list[list[str]]:
        """The lines of --servers, by columns."""
        done = self.run("--servers")
        assert (done.returncode, done.stderr) == (0, "")
        return columns(done.stdout)


def columns(table: str) -> list[list[str]]:
    heading, *lines = (line.split(None, 5) for line in table.splitlines())
    assert heading == ["PID", "GENERATION", "SINCE", "USER", "PORTS", "COMMAND"]
    return lines


def next_server(process: subprocess.Popen[str]) -> tuple[int, int]:
    """The pid and the port of the next server that says that it listens."""
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.fullmatch(LISTENING, line)
    assert match is not None, line
    return int(match.group(2)), int(match.group(1))


def renew(supervisor: Started) -> int:
    """As `kill -HUP` does; the old server stays."""
    os.kill(supervisor.outside, signal.SIGHUP)
    return next_server(supervisor.process)[0]


def newest_child(place: Place, supervisor: Started) -> int:
    """The pid of the last line of a supervisor's servers."""
    children = children_of(supervisor.outside)
    status = Path(f"/proc/{children[-1]}/status").read_text()
    return int(status.partition("\nNSpid:")[2].partition("\n")[0].split()[-1])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.pids.close()


def bound(family: int, type_: int, port: int = 0) -> socket.socket:
    made = socket.socket(family, type_)
    made.bind(("127.0.0.1" if family == socket.AF_INET else "::1", port))
    if type_ == socket.SOCK_STREAM:
        made.listen()
    return made


# --- the only one ---


def test_no_server(place: Place) -> None:
    place.start("other")
    done = place.run()
    assert (done.stderr, done.returncode, done.stdout) == (NONE, WRONG_USAGE, "")
    done = place.run("--servers")
    assert (done.stderr, done.returncode, done.stdout) == ("h2olog: no process with the name h2o runs here\n", 0, "")


def test_one_server(place: Place) -> None:
    server = place.start()
    place.start("other")
    assert place.traced() == (server.pid, "") == place.traced("-p", str(server.pid))
    assert place.traced("quic") == (server.pid, "")
    ((pid, generation, since, user, ports, command),) = place.table()
    assert (int(pid), generation, user, ports) == (server.pid, "-", "root", str(server.port))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", since)
    assert command == place.copy(STANDIN, "h2o")


def test_list_of_tracepoints_needs_no_server(place: Place) -> None:
    """With a server, too, it has all tracepoints, unless -p or --port says otherwise."""
    without = place.run("-l")
    server = place.start()
    assert (without.returncode, without.stderr) == (0, "")
    assert place.run("-l").stdout == without.stdout
    named = place.run("-l", "-p", str(server.pid))
    assert named.returncode == 0 and named.stdout != without.stdout
    assert place.run("-l", "--port", str(server.port)).stdout == named.stdout


def test_several_servers(place: Place) -> None:
    servers, file = [place.start(), place.start()], place.folder / "written"
    done = place.run("-w", str(file))
    first, _, table = done.stderr.partition("\n")
    assert (first, done.returncode, done.stdout) == (SEVERAL, WRONG_USAGE, "")
    assert not file.exists()
    assert columns(table) == place.table()
    assert [(int(line[0]), int(line[4])) for line in place.table()] == [(one.pid, one.port) for one in servers]
    for server in servers:
        assert place.traced("-p", str(server.pid)) == (server.pid, "")


def test_children_of_a_server_are_not_chosen(place: Place) -> None:
    """neverbleed, which has the name and the probes of the server; and one that its server has left behind."""
    parent = place.popen(place.copy(FORKER, "h2o"))
    assert parent.stdout is not None and parent.stdout.readline().startswith("ready ")
    (outside,) = children_of(parent.pid)
    os.kill(outside, signal.SIGUSR2)
    assert parent.stdout.readline().startswith("forked ")
    orphan = place.popen("bash", "-c", 'exec -a neverbleed "$0"', place.copy(FORKER, "h2o"))
    assert orphan.stdout is not None and orphan.stdout.readline().startswith("ready ")
    assert len(children_of(outside)) == 1
    assert [int(line[0]) for line in place.table()] == [place.pids.pid_of(parent)]


def test_processes_that_come_and_go(place: Place) -> None:
    server = place.start()
    short = place.copy(Path("/bin/true").resolve(), "h2o")
    place.popen("sh", "-c", 'while :; do "$0" & "$0"; done', short)
    for _ in range(20):
        done = place.run("--servers")
        assert (done.returncode, done.stderr) == (0, "")
        assert [str(server.pid)] == [line[0] for line in columns(done.stdout) if line[4] == str(server.port)]


# --- generations ---


@pytest.mark.parametrize("name", ["h2o", "my-server"])
def test_supervisor(place: Place, name: str) -> None:
    """It is what pid-file holds."""
    supervisor = place.supervise(name)
    begin, pid = f"h2olog: process {supervisor.pid} is a supervisor (start_server); tracing its ", str(supervisor.pid)
    first = newest_child(place, supervisor)
    assert place.traced("-p", pid) == (first, f"{begin}server, process {first}\n")
    second = renew(supervisor)
    assert place.traced("-p", pid) == (second, f"{begin}newest server, process {second}\n")


def test_generations_are_one_server(place: Place) -> None:
    shared = bound(socket.AF_INET, socket.SOCK_STREAM)
    port = str(shared.getsockname()[1])
    supervisor = place.supervise(sockets=(shared,))
    shared.close()
    first = newest_child(place, supervisor)
    assert place.traced() == (first, "")
    second = renew(supervisor)
    said = f"h2olog: process {first} is leaving; tracing {second}\n"
    assert place.traced() == place.traced("--port", port) == (second, said)
    assert place.run("-l", "--port", port).stderr == said.replace("tracing", "listing")
    third = renew(supervisor)
    assert place.traced() == (third, f"h2olog: processes {second} and {first} are leaving; tracing {third}\n")
    assert [(int(line[0]), line[1]) for line in place.table()] == [(third, "3"), (second, "2"), (first, "1")]
    alone = place.start()
    done = place.run()
    assert done.stderr.startswith(SEVERAL) and done.returncode == WRONG_USAGE
    assert place.traced("--port", str(alone.port)) == (alone.pid, "")


def test_supervisor_without_a_server(place: Place) -> None:
    supervisor = place.supervise()
    os.kill(children_of(supervisor.outside)[-1], signal.SIGKILL)
    wait_until(lambda: children_of(supervisor.outside) == [], "the server to end")
    sentence = "is a supervisor (start_server), but none of its servers runs; try again when it has started one"
    place.fails(COULD_NOT_TRACE, f"process {supervisor.pid} {sentence}", "-p", str(supervisor.pid))


# --- ports ---


def test_port(place: Place) -> None:
    servers = [place.start(), place.start()]
    for server in servers:
        assert place.traced("--port", str(server.port)) == (server.pid, "")


@pytest.mark.parametrize(
    "family, type_, shown",
    [
        (socket.AF_INET, socket.SOCK_DGRAM, "/udp"),
        (socket.AF_INET6, socket.SOCK_STREAM, ""),
        (socket.AF_INET6, socket.SOCK_DGRAM, "/udp"),
    ],
)
def test_other_sockets(place: Place, family: int, type_: int, shown: str) -> None:
    """Servers that listen on the same port with other protocols are told apart by what they have open."""
    other, listening = place.start(), bound(family, type_)
    port = listening.getsockname()[1]
    server = place.start(sockets=(listening,))
    listening.close()
    assert place.traced("--port", str(port)) == (server.pid, "")
    assert {int(line[0]): set(line[4].split(",")) for line in place.table()} == {
        other.pid: {str(other.port)}, server.pid: {str(server.port), f"{port}{shown}"}
    }  # fmt: skip


def test_port_of_several_servers(place: Place) -> None:
    """One has it for TCP, the other for UDP; a third one has another port."""
    first = place.start()
    place.start()
    listening = bound(socket.AF_INET, socket.SOCK_DGRAM, first.port)
    second = place.start(sockets=(listening,))
    listening.close()
    done = place.run("--port", str(first.port))
    said, _, table = done.stderr.partition("\n")
    assert said == f"h2olog: several servers listen on port {first.port}; say which one to trace: -p PID"
    assert (done.returncode, done.stdout) == (WRONG_USAGE, "")
    assert [int(line[0]) for line in columns(table)] == [first.pid, second.pid]


def test_port_of_another_program(place: Place) -> None:
    place.start()
    other = place.start("h2o-2026")
    place.fails(
        COULD_NOT_TRACE,
        f"no process with the name h2o listens on port {other.port}, but process {other.pid} (h2o-2026) does; "
        f"if that is your server: -p {other.pid}",
        "--port", str(other.port),
    )  # fmt: skip
    assert place.traced("-p", str(other.pid)) == (other.pid, "")


def test_port_of_nobody(place: Place) -> None:
    place.start()
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and does not listen
        port = str(reserved.getsockname()[1])
        sentence = f"no h2o listens on port {port}; h2olog --servers lists the servers and their ports"
        place.fails(COULD_NOT_TRACE, sentence, "--port", port)


def test_who_is_not_root_sees_no_ports(place: Place) -> None:
    """The program is a descriptor, because the user may not look into every folder either."""
    server, fd = place.start(), os.open(BUILD / "h2olog", os.O_RDONLY)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"/proc/self/fd/{fd}"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            place.pids.command(*nobody, *words), pass_fds=[fd], capture_output=True, text=True, timeout=PATIENCE
        )

    try:
        ((pid, generation, _, user, ports, _),) = columns(run("--servers").stdout)
        assert (int(pid), generation, user, ports) == (server.pid, "?", "root", "?")
        done = run("--port", str(server.port))
        assert (done.returncode, done.stdout) == (COULD_NOT_TRACE, "")
        assert done.stderr == (
            f"h2olog: it cannot be seen who listens on port {server.port}, because processes of other users may not be "
            "looked into; this needs root or CAP_SYS_PTRACE\n"
        )
        assert run().stderr.startswith("h2olog: this process lacks CAP_BPF and CAP_PERFMON, ")
    finally:
        os.close(fd)


# --- containers ---


def test_server_in_a_container(place: Place) -> None:
    """It has other pids and ports than the machine, and is found as the others are."""
    network = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", sys.executable, "-c", IN_A_NETWORK)
    process = place.popen(*network, place.copy(STANDIN, "h2o"))
    inner, port = next_server(process)
    assert inner == 1
    (unshare,) = children_of(process.pid)
    status = Path(f"/proc/{children_of(unshare)[0]}/status").read_text()
    pid = int(status.partition("\nNSpid:")[2].partition("\n")[0].split()[-2])
    assert place.traced() == place.traced("--port", str(port)) == (pid, "")
    ((listed, _, _, _, ports, _),) = place.table()
    assert (int(listed), ports) == (pid, str(port))
