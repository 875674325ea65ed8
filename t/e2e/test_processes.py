"""A process that is not the server: h2olog names the server. The end of the server: h2olog reports it, and its
successor."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Iterator

import pytest
from conftest import BUILD, PATIENCE, Tracer, children_of, run, wait_until
from support import START_SERVER

COULD_NOT_TRACE, WRONG_USAGE = 1, 2
STANDIN = BUILD / "t" / "standin" / "standin-2026-06"
FORKER = BUILD / "t" / "standin" / "standin-forker"
KINDS = [[], ["-l"]]

class Family:
    """Starts processes, and ends them with all their descendants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def copy(self, binary: Path, name: str = "h2o") -> Path:
        """Copies a program with another name into its own folder."""
        copied = self.folder / binary.name / name
        if not copied.exists():
            copied.parent.mkdir(exist_ok=True)
            copied.write_bytes(binary.read_bytes())
            copied.chmod(0o755)
        return copied

    def start(self, *command: str | Path, executable: Path | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(word) for word in command], executable=executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def supervise(self, policy: str = "keep") -> Supervisor:
        script = self.folder / "start_server"
        script.write_text(START_SERVER)
        return Supervisor(self.start("perl", script, policy, self.copy(STANDIN)))

    def close(self) -> None:
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.communicate()


class Supervisor:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.pid = process, process.pid

    def wait_server(self) -> int:
        """Returns the PID of the next server that reports that it listens."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening on 127\.0\.0\.1:\d+ pid (\d+) threads \d+\n", line)
        assert match is not None, line
        return int(match.group(1))

    def renew(self) -> int:
        """Like `kill -HUP`. The old server continues to run."""
        self.process.send_signal(signal.SIGHUP)
        return self.wait_server()


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    started = Family(tmp_path)
    yield started
    started.close()


def wait_child(pid: int, name: str) -> int:
    def has_child() -> bool:
        return [Path(f"/proc/{child}/comm").read_text() for child in children_of(pid)] == [f"{name}\n"]

    wait_until(has_child, f"{name} to start")
    return children_of(pid)[0]


def fails(pid: int, sentence: str, *words: str) -> None:
    done = run(*words, "-p", str(pid))
    assert (done.stderr, done.returncode, done.stdout) == (f"h2olog: {sentence}\n", COULD_NOT_TRACE, "")


# --- which process to trace ---


def test_supervisor(family: Family, tmp_path: Path) -> None:
    """The supervisor is the process in `pid-file`. Its newest server is traced."""
    supervisor = family.supervise()
    begin = f"h2olog: process {supervisor.pid} is a supervisor (start_server); "
    server = supervisor.wait_server()
    assert attaches(tmp_path / "one", supervisor.pid, server) == f"{begin}tracing its server, process {server}\n"
    assert run("-l", "-p", str(supervisor.pid)).stderr == f"{begin}listing its server, process {server}\n"
    supervisor.renew()
    third = supervisor.renew()
    assert attaches(tmp_path / "all", supervisor.pid, third) == f"{begin}tracing its newest server, process {third}\n"


def test_other_supervisors(family: Family) -> None:
    """Other processes that have started a server, directly or through others: a shell, sudo, an init of a container."""
    server = f"{family.copy(STANDIN)} & wait"
    outer = family.start("bash", "-c", f"bash -c '{server}' & wait")
    inner = wait_child(outer.pid, "bash")
    pid = wait_child(inner, "h2o")
    for parent in (outer.pid, inner):
        begin = f"process {parent} (bash) is not the server, but has started it"
        fails(parent, f"{begin}; the server is process {pid}; trace that: -p {pid}")


def is_listed(pid: int) -> bool:
    return any(line.split()[0] == str(pid) for line in run("--servers").stdout.splitlines())


def test_server_that_has_ended_is_not_named(family: Family) -> None:
    """It is a zombie until its parent reads its status."""
    script = "import subprocess, sys; p = subprocess.Popen(sys.argv[1], stdout=subprocess.DEVNULL); "
    script += "print(p.pid, flush=True); input()"
    parent = family.start("/usr/bin/python3", "-c", script, family.copy(STANDIN))
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_child(parent.pid, "h2o")
    name = Path(f"/proc/{parent.pid}/comm").read_text().strip()
    assert is_listed(pid)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_listed(pid), "the list of servers to be without it")
    fails(parent.pid, f"PID {parent.pid} ({name}) has no h2o probes; h2o needs -DWITH_DTRACE=on")


@pytest.mark.parametrize("words", KINDS)
def test_helper_of_a_server(family: Family, words: list[str]) -> None:
    """h2o has a Perl script that annotates backtraces, CGI programs, and others."""
    server = family.start(family.copy(Path("/bin/bash").resolve()), "-c", "sleep 1000 & wait")
    helper = wait_child(server.pid, "sleep")
    sentence = f"process {helper} (sleep) is a helper that process {server.pid} (h2o) has started"
    fails(helper, f"{sentence}; trace that: -p {server.pid}", *words)


def start_forker(family: Family, name: str, word: str) -> tuple[int, int]:
    """A server with a forked child."""
    parent = family.start(word, executable=family.copy(FORKER, name))
    assert parent.stdout is not None and parent.stdout.readline().startswith("ready ")
    parent.send_signal(signal.SIGUSR2)
    assert parent.stdout.readline().startswith("forked ")
    return parent.pid, wait_child(parent.pid, name)


def attaches(folder: Path, pid: int, traced: int | None = None) -> str:
    """Returns the messages of h2olog without -d for a process that it traces, or that it replaces by `traced`."""
    folder.mkdir()
    tracer = Tracer(folder, "-d", "-p", str(pid))
    assert tracer.stop() == 0
    assert f" Attaching: tracing PID {traced or pid} (" in tracer.messages()
    return "".join(line + "\n" for line in tracer.messages().splitlines() if " Attaching: " not in line)


@pytest.mark.parametrize("words", KINDS)
@pytest.mark.parametrize("name, word", [("h2o", "h2o"), ("h2o-2026", "neverbleed"), ("h2o", "neverbleed")])
def test_child_with_the_private_keys(family: Family, tmp_path: Path, name: str, word: str, words: list[str]) -> None:
    """It runs the server's program, so it has the probes, but never fires one."""
    parent, child = start_forker(family, name, word)
    sentence = f"process {child} ({name}) keeps the private keys (neverbleed) of process {parent} and does not serve"
    fails(child, f"{sentence}; trace that: -p {parent}", *words)
    assert "h2olog: process " not in attaches(tmp_path / "parent", parent)


def test_forked_servers_of_another_name(family: Family, tmp_path: Path) -> None:
    """A server that was built with h2o's library can fork workers that serve."""
    _, child = start_forker(family, "server", "server")
    assert "h2olog: process " not in attaches(tmp_path / "child", child)


# --- the end ---


def messages_at_the_end(tracer: Tracer) -> list[str]:
    """Returns the messages after attaching."""
    assert tracer.process.wait(PATIENCE) == 0
    return tracer.messages().split("\n")[:-1]


def start_tracer(folder: Path, pid: int, program: str = "h2olog") -> Tracer:
    """Starts h2olog without -d. It is attached when it has given up its privileges."""
    folder.mkdir()
    tracer = Tracer(folder, "-p", str(pid), program=program, attached=False)
    status = Path(f"/proc/{tracer.process.pid}/status")
    wait_until(lambda: tracer.process.poll() is not None or "\nSeccomp:\t2" in status.read_text(), "attaching")
    assert tracer.process.poll() is None, tracer.messages()
    return tracer


@pytest.mark.parametrize("program", ["h2olog", "h2olog-single"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_end_without_a_supervisor(family: Family, tmp_path: Path, program: str, number: int) -> None:
    server = Supervisor(family.start(family.copy(STANDIN)))
    assert server.wait_server() == server.pid
    tracer = start_tracer(tmp_path / "tracer", server.pid, program)
    server.process.send_signal(number)
    assert messages_at_the_end(tracer) == [f"h2olog: process {server.pid} ended"]


def test_end_by_ctrl_c(family: Family, tmp_path: Path) -> None:
    supervisor = family.supervise()
    tracer = start_tracer(tmp_path / "tracer", supervisor.wait_server())
    supervisor.renew()
    assert tracer.stop() == 0
    assert tracer.messages() == ""


def test_end_after_a_graceful_restart(family: Family, tmp_path: Path) -> None:
    supervisor = family.supervise()
    first = supervisor.wait_server()
    tracer = start_tracer(tmp_path / "tracer", first)
    second = supervisor.renew()
    os.kill(first, signal.SIGTERM)
    assert messages_at_the_end(tracer) == [f"h2olog: process {first} ended; process {second} took over: -p {second}"]


def test_end_of_a_server_that_crashes(family: Family, tmp_path: Path) -> None:
    """Its supervisor starts another one a little later."""
    supervisor = family.supervise("restart")
    first = supervisor.wait_server()
    tracer = start_tracer(tmp_path / "tracer", first)
    os.kill(first, signal.SIGKILL)
    second = supervisor.wait_server()
    assert messages_at_the_end(tracer) == [f"h2olog: process {first} ended; process {second} took over: -p {second}"]


def test_older_server_does_not_take_over(family: Family, tmp_path: Path) -> None:
    supervisor = family.supervise()
    supervisor.wait_server()
    second = supervisor.renew()
    tracer = start_tracer(tmp_path / "tracer", second)
    os.kill(second, signal.SIGKILL)
    assert messages_at_the_end(tracer) == [f"h2olog: process {second} ended"]


def test_end_with_the_supervisor(family: Family, tmp_path: Path) -> None:
    supervisor = family.supervise()
    server = supervisor.wait_server()
    tracer = start_tracer(tmp_path / "tracer", server)
    supervisor.process.send_signal(signal.SIGTERM)
    assert messages_at_the_end(tracer) == [f"h2olog: process {server} ended"]


@pytest.mark.parametrize("words", KINDS)
def test_old_generation(family: Family, tmp_path: Path, words: list[str]) -> None:
    """It is traced, but h2olog says that new connections go to another process."""
    supervisor = family.supervise()
    first = supervisor.wait_server()
    second = supervisor.renew()
    sentence = (
        f"h2olog: process {first} is an old generation of this server and will end soon; new connections go to process "
        f"{second}; trace that: -p {second}\n"
    )
    if words:
        assert run(*words, "-p", str(first)).stderr == sentence
        assert run(*words, "-p", str(second)).stderr == ""
    else:
        assert attaches(tmp_path / "first", first) == sentence
        assert attaches(tmp_path / "second", second) == ""
