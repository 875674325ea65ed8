"""The server's binary is replaced, the server executes another program, or it forks."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Iterator

import pytest
from conftest import BUILD, PATIENCE, Room, wait_until
from support import COUNT, LINES, NO_MOUNTS, PROGRAMS, SCRIPT, Serve, Trace, check_played, folders_of


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("new", [None, "2020-06"])
def test_binary_is_replaced(serve: Serve, trace: Trace, tmp_path: Path, program: str, new: str | None) -> None:
    """An upgrade replaced the file: the running binary is traced, not the new file."""
    versions = BUILD / "t" / "standin"
    binary = tmp_path / "server"
    shutil.copy(versions / "standin-2026-06", binary)
    server = serve(script=SCRIPT, binary=binary)
    if new is None:
        binary.unlink()
    else:
        shutil.copy(versions / f"standin-{new}", tmp_path / "new")
        os.rename(tmp_path / "new", binary)
    tracer = trace(server, program=program)
    check_played(server, COUNT)
    if new is not None:
        upgraded = serve(script=SCRIPT, binary=binary)
        assert upgraded.play() == (0, COUNT)
    assert tracer.stop() == 0
    assert tracer.lines() == LINES
    assert server.play() == (0, COUNT)


# --- children ---


class Forker:
    """A server that forks workers (t/standin/forker.c)."""

    FIRINGS = 100

    BINARY = BUILD / "t" / "standin" / "standin-forker"

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen([str(self.BINARY), *arguments], stdout=subprocess.PIPE, text=True)
        self.pid, _ = self.hear("ready")

    def hear(self, what: str) -> tuple[int, int]:
        """Waits for a message. Returns its PID and its semaphore."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.fullmatch(rf"{what} pid (\d+) semaphore (\d+)\n", line)
        assert match is not None, line
        return int(match.group(1)), int(match.group(2))

    def fork(self) -> int:
        os.kill(self.pid, signal.SIGUSR2)
        return self.hear("forked")[0]

    def fire(self, pid: int) -> int:
        os.kill(pid, signal.SIGUSR1)
        fired, semaphore = self.hear("fired")
        assert fired == pid
        return semaphore


@pytest.fixture
def forker() -> Iterator[Forker]:
    opened = Forker()
    yield opened
    opened.process.kill()
    opened.process.communicate()


@pytest.mark.parametrize("program", PROGRAMS)
def test_executes_another_program_during_attaching(room: Room, tmp_path: Path, program: str) -> None:
    """The new program is not traced with offsets of the old one. It could be a program of root, with offsets of an
    attacker."""
    other = tmp_path / "other"
    shutil.copy(Forker.BINARY, other)
    forker = Forker(str(other))
    folders = lambda: folders_of(room, process.pid)  # noqa: E731
    try:
        process = room.start(program, "-p", str(forker.pid), before=NO_MOUNTS, stderr=subprocess.PIPE)
        wait_until(lambda: any((folder / "include").exists() for folder in folders()), "compiling")
        process.send_signal(signal.SIGSTOP)
        os.kill(forker.pid, signal.SIGHUP)
        assert forker.hear("ready") == (forker.pid, 0)
        process.send_signal(signal.SIGCONT)
        _, messages = process.communicate(timeout=PATIENCE)
        sentence = f"h2olog: process {forker.pid} has executed another program while h2olog attached to it\n"
        assert process.returncode == 1
        *missing, last = messages.decode().splitlines(keepends=True)
        assert last == sentence
        assert len(missing) == 3 and all(" has no probe for " in line for line in missing)
        assert forker.fire(forker.pid) == 0
    finally:
        forker.process.kill()
        forker.process.communicate()


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_children_are_not_traced(forker: Forker, trace: Trace, program: str, number: int) -> None:
    """Neither existing nor later children are traced, and their probes are disabled, although they are copies."""
    before = forker.fork()
    tracer = trace(forker, program=program)
    while_tracing = [forker.fork(), forker.fork()]
    assert forker.fire(forker.pid) == 1
    for child in (before, *while_tracing):
        forker.fire(child)
    assert forker.fire(forker.pid) == 1
    lines = [f"{forker.pid} {nth} TxStatus   200" for nth in range(forker.FIRINGS)] * 2
    assert tracer.wait_lines(len(lines)) == lines
    tracer.stop(number)
    assert tracer.lines() == lines
    after = forker.fork()
    for process in (forker.pid, before, *while_tracing, after):
        wait_until(lambda: forker.fire(process) == 0, "the probes to be disabled")  # noqa: B023


@pytest.mark.parametrize("program", PROGRAMS)
def test_child_can_be_traced(forker: Forker, trace: Trace, program: str) -> None:
    """h2o's worker is a child of its master."""
    child, sibling = forker.fork(), forker.fork()
    tracer = trace(SimpleNamespace(pid=child), program=program)
    for process in (forker.pid, sibling, child):
        forker.fire(process)
    assert tracer.stop() == 0
    assert tracer.lines() == [f"{child} {nth} TxStatus   200" for nth in range(forker.FIRINGS)]
    wait_until(lambda: forker.fire(child) == 0, "the probes to be disabled")
