"""Many of the same kind: one start after another, tracers at the same time, threads of a server."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import Tracer, wait_until
from support import (
    COUNT, HTTP_PROBES, LINES, PROGRAMS, SCRIPT, Memory, Serve, Trace, alive, anonymous_kib, check_played, endless,
    objects_of,
)  # fmt: skip

# How often a server is attached and detached; the goal is a thousand.
ROUNDS = int(os.environ.get("H2OLOG_ROUNDS", "30"))


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_attaching_many_times(serve: Serve, trace: Trace, tmp_path: Path) -> None:
    """Nothing grows: neither the server, nor an h2olog that traces it all the time, nor the objects in the kernel."""
    server = serve(script=endless(5_000))
    memory = Memory(server)
    lasting = trace(server, "-w", "/dev/null")
    server.start_playing()
    watched = (server.pid, lasting.process.pid)
    before: list[tuple[int, int]] = []
    held, past = objects_of(lasting.process.pid), set()
    for nth in range(ROUNDS):
        if nth == 5:  # after everything that is allocated only once
            before = [(descriptors(pid), anonymous_kib(pid)) for pid in watched]
        folder = tmp_path / f"round-{nth}"
        folder.mkdir()
        tracer = Tracer(folder, "-d", "-p", str(server.pid))
        try:
            tracer.wait_lines(1)
            past |= objects_of(tracer.process.pid)
        finally:
            assert tracer.stop() == 0
        assert memory.switched_on() == HTTP_PROBES
        shutil.rmtree(folder)
    for pid, (fds, kib) in zip(watched, before):
        assert descriptors(pid) == fds
        assert anonymous_kib(pid) - kib < 256
    assert objects_of(lasting.process.pid) == held
    assert lasting.stop() == 0
    assert memory.switched_on() == set()
    assert len(past) > 8 * ROUNDS
    wait_until(lambda: alive(past | held) == set(), "the BPF objects to go")


def test_ten_tracers(serve: Serve, trace: Trace) -> None:
    """Each tracer prints all events, until the last one ends."""
    packets = "repeat 100\nquicly:packet_sent conn=1 at=now pn=# len=1200 packet_type=3 ack_only=0\nend\n"
    server = serve(script=SCRIPT + packets)
    memory = Memory(server)
    kinds = [("h2olog", "http")] * 6 + [("h2olog-single", "http")] * 2 + [("h2olog", "quic")] * 2
    # one or two probes are enough, and attach faster
    options = {"http": [], "quic": ["-t", "quicly:packet_sent", "-t", "quicly:packet_lost"]}
    tracers = [trace(server, mode, *options[mode], program=program, attached=False) for program, mode in kinds]
    for tracer in tracers:
        tracer.wait_attached()
    assert server.play() == (COUNT + 100, 0)
    for tracer in tracers[::2]:
        assert tracer.stop() == 0
    assert server.play() == (COUNT + 100, 0)
    for tracer in tracers[1::2]:
        assert tracer.stop() == 0
    assert memory.switched_on() == set()
    for nth, ((_, mode), tracer) in enumerate(zip(kinds, tracers)):
        if mode == "http":
            assert tracer.lines() == LINES * (1 + nth % 2)
        else:
            numbers = [json.loads(line)["pn"] for line in tracer.lines()]
            assert numbers == [*range(COUNT, COUNT + 100)] * (1 + nth % 2)


@pytest.mark.parametrize("program", PROGRAMS)
def test_two_hundred_threads(serve: Serve, trace: Trace, program: str) -> None:
    count, threads = 50, 200
    script = f"threads {threads}\nrepeat {count}\nh2o:send_response conn_id=tid req_id=# status=200\nend\n"
    server = serve(threads=threads, script=script)
    assert len(os.listdir(f"/proc/{server.pid}/task")) > threads
    tracer = trace(server, "all", "-t", "h2o:send_response", program=program)
    check_played(server, threads * count)
    assert tracer.stop() == 0
    seen: dict[int, list[int]] = {}
    for event in map(json.loads, tracer.lines()):
        assert event["tid"] == event["conn-id"]
        seen.setdefault(event["tid"], []).append(event["req-id"])
    assert len(seen) == threads
    assert all(requests == [*range(count)] for requests in seen.values())
