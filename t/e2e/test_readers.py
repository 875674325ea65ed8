"""Terminals and pipes that nobody reads, and descriptors that are closed from the start."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BUILD, PATIENCE, SLOWNESS, wait_until
from support import HTTP_PROBES, Memory, Serve, Trace, prints, stopped

BURST = "repeat 200000\nh2o:send_response conn_id=1 req_id=# status=200\nend\n"


def test_terminal_that_nobody_reads(serve: Serve, trace: Trace) -> None:
    """For example a hung ssh session: h2olog can still be ended."""
    server = serve(script=BURST)
    memory = Memory(server)
    master, slave = os.openpty()
    try:
        tracer = trace(server, stdout=slave)
        server.play()
        time.sleep(0.5 * SLOWNESS)
        assert tracer.process.poll() is None
        start = time.monotonic()
        assert tracer.stop(signal.SIGTERM) == 1
        assert time.monotonic() - start < 5.0 * SLOWNESS
        assert "cannot write standard output: nobody reads it; " in tracer.messages()
        assert memory.switched_on() == set()
    finally:
        os.close(master)
        os.close(slave)


def test_messages_that_nobody_reads(serve: Serve, tmp_path: Path) -> None:
    """The same for stderr, on a full pipe."""
    server = serve(script=BURST)
    memory = Memory(server)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, bytes(4096))
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    process = subprocess.Popen(
        [str(BUILD / "h2olog"), "-b", "64K", "-p", str(server.pid), "-w", str(tmp_path / "out")], stderr=writer
    )
    try:
        wait_until(lambda: prints(process.pid), "attaching")
        assert memory.switched_on() == HTTP_PROBES
        stopped(process, server.play)  # the ring overflows
        time.sleep(0.5 * SLOWNESS)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)
    assert memory.switched_on() == set()


@pytest.mark.parametrize("pid", ["server", "none"])
def test_closed_descriptors(serve: Serve, tmp_path: Path, pid: str) -> None:
    """No file gets their numbers, so no message is written to a file."""
    server, file = serve(script="h2o:send_response conn_id=1 req_id=2 status=200\n"), tmp_path / "out"
    memory = Memory(server)
    file.write_text("before")
    number = str(server.pid) if pid == "server" else str(2**22 + 1)
    command = f'exec "$0" -d -p {number} -w {file} <&- >&- 2>&-'
    process = subprocess.Popen(["sh", "-c", command, str(BUILD / "h2olog")])
    if pid == "none":
        assert process.wait(PATIENCE) == 1
        assert file.read_text() == "before"
        return
    wait_until(lambda: memory.switched_on() == HTTP_PROBES and file.stat().st_size == 0, "attaching")
    server.play()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    assert file.read_text() == "1 2 TxStatus   200\n"
