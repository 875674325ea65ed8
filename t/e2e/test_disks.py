"""A full disk, a file with a size limit: lines are written as long as there is room, and the others are counted."""

from __future__ import annotations

import errno
import os
import re
import resource
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest
from conftest import PATIENCE, SLOWNESS, Tracer, mount_apart, refusing, refusing_uprobes, run, wait_until
from support import PROGRAMS, Memory, Serve, Trace, check_played, cpu_seconds, endless, stopped


def end_of(tracer: Tracer) -> tuple[int, float]:
    """Waits for the end. Returns the status, and the CPU time of the whole run in seconds."""
    wait_until(lambda: os.waitid(os.P_PID, tracer.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None, "end")
    _, status, used = os.wait4(tracer.process.pid, 0)
    tracer.process.returncode = os.waitstatus_to_exitcode(status)
    return tracer.process.returncode, used.ru_utime + used.ru_stime


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Makes a file system in memory with this size, which is not mounted, and ends with its descriptor."""
    root = mount_apart("tmpfs", size=size)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{root}")
    finally:
        os.close(root)


def told_lost(tracer: Tracer, name: Path, reason: str) -> int:
    """Returns the number of lost lines in the message of h2olog. The only other message is that it attached."""
    _, sentence = tracer.messages().splitlines()
    match = re.fullmatch(
        rf"h2olog: cannot write {re.escape(str(name))}: {reason}; (\d+) lines lost", sentence
    )
    assert match is not None, sentence
    return int(match.group(1))


@pytest.mark.parametrize("program", PROGRAMS)
def test_full_disk_loses_whole_lines(serve: Serve, trace: Trace, program: str) -> None:
    """Each line of the events that were fired while h2olog was stopped is in the file, or counted as lost."""
    count, size = 10_000, 64 << 10
    server = serve(script=f"repeat {count}\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    memory = Memory(server)
    with small_disk("64k") as disk:
        tracer = trace(server, "-w", str(disk / "out"), program=program)
        before = cpu_seconds(tracer.process.pid)
        stopped(tracer.process, lambda: check_played(server, count))
        status, used = end_of(tracer)
        content = (disk / "out").read_bytes().decode()
    assert status == 1 and used - before < 1.0 * SLOWNESS
    assert len(content) == size  # as many as fit
    lines = content.split("\n")[:-1]
    assert lines == [f"1 {number} TxStatus   200" for number in range(len(lines))]
    assert len(lines) + told_lost(tracer, disk / "out", "No space left on device") == count
    assert tracer.lines() == []
    assert memory.switched_on() == set()
    assert server.play() == (0, count)


def test_full_disk_in_mid_traffic(serve: Serve, trace: Trace) -> None:
    """It ends as soon as the disk is full, and does not continue to trace and count."""
    server = serve(script=endless(50_000))
    memory = Memory(server)
    with small_disk("1m") as disk:
        tracer = trace(server, "-w", str(disk / "out"))
        server.start_playing()
        wait_until(lambda: (disk / "out").stat().st_size == 1 << 20, "the disk to be full")
        full = time.monotonic()
        status, _ = end_of(tracer)
        took = time.monotonic() - full
        content = (disk / "out").read_bytes().decode()
    assert status == 1 and took < PATIENCE
    lines = content.split("\n")[:-1]
    assert lines == [f"1 {number} TxStatus   200" for number in range(len(lines))]
    assert 0 < told_lost(tracer, disk / "out", "No space left on device") < 50_000 * took + 50_000
    assert memory.switched_on() == set()


@pytest.mark.parametrize("program", PROGRAMS)
def test_full_disk(serve: Serve, trace: Trace, program: str) -> None:
    server = serve(script="h2o:send_response conn_id=1 req_id=2 status=200\n")
    memory = Memory(server)
    tracer = trace(server, "-w", "/dev/full", program=program)
    server.play()
    assert tracer.process.wait(PATIENCE) == 1
    _, sentence = tracer.messages().splitlines()
    assert sentence == "h2olog: cannot write /dev/full: No space left on device; 1 lines lost"
    assert memory.switched_on() == set()


def test_full_disk_on_standard_output(serve: Serve, trace: Trace) -> None:
    server = serve(script="h2o:send_response conn_id=1 req_id=2 status=200\n")
    with open("/dev/full", "wb") as full:
        tracer = trace(server, stdout=full.fileno())
    server.play()
    assert tracer.process.wait(PATIENCE) == 1
    _, sentence = tracer.messages().splitlines()
    assert sentence == "h2olog: cannot write standard output: No space left on device; 1 lines lost"


def test_file_of_a_limited_size(serve: Serve, trace: Trace, tmp_path: Path) -> None:
    """Another write error: `ulimit -f`."""
    count, size = 10_000, 64 << 10
    server = serve(script=f"repeat {count}\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    file = tmp_path / "out"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # noqa: E731
    tracer = trace(server, "-w", str(file), before=limit)
    stopped(tracer.process, lambda: check_played(server, count))
    assert end_of(tracer)[0] == 1
    printed = file.read_bytes().count(b"\n")
    assert file.stat().st_size == size
    assert printed + told_lost(tracer, file, "File too large") == count


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("reason", ["no process", "no probes", "no bpf", "no uprobes"])
def test_file_is_kept_if_tracing_fails(serve: Serve, tmp_path: Path, program: str, reason: str) -> None:
    """If the PID is wrong, the existing file is not emptied."""
    server, file = serve(), tmp_path / "out"
    file.write_text("recorded before")
    pid = {"no process": 2**22 + 1, "no probes": os.getpid()}.get(reason, server.pid)
    refusal = {
        "no bpf": refusing("bpf", errno.EPERM),
        "no uprobes": refusing_uprobes(program, errno.EPERM),
    }.get(reason)
    done = run("-p", str(pid), "-w", str(file), program=program, before=refusal)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert file.read_text() == "recorded before"
