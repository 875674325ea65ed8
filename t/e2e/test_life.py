"""From attaching to every kind of end: all events are printed, and nothing is left behind."""

from __future__ import annotations

import errno
import http.client
import itertools
import os
import re
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable

import pytest
from conftest import (
    BUILD, HAS_LINKS, PATIENCE, SLOWNESS, Answer, Room, Tracer, children_of, refusing, refusing_uprobes, soon_enough,
    take_uprobe_events, wait_until,
)  # fmt: skip
from support import (
    COUNT, HTTP_PROBES, LINES, PROGRAMS, SCRIPT, STARTS, Memory, Serve, Trace, alive, objects_of, prints, slow_at,
    start_until, stopped,
)  # fmt: skip

# --- changes in a server ---


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_probes_are_disabled(serve: Serve, trace: Trace, program: str, number: int) -> None:
    server, neighbour = serve(), serve()
    memory, beside = Memory(server), Memory(neighbour)
    before, code, code_beside = memory.switched_on(), memory.read_code(), beside.read_code()
    tracer = trace(server, program=program)
    assert before == set() and memory.switched_on() == HTTP_PROBES
    assert memory.read_code() != code
    # other processes of the binary have no uprobes
    assert beside.switched_on() == set() and beside.read_code() == code_beside
    held = objects_of(tracer.process.pid)
    assert {kind for kind, _ in held} >= {"prog_id", "map_id"} and alive(held) == held
    assert tracer.stop(number) == (-number if number == signal.SIGKILL else 0)
    if number == signal.SIGKILL:  # the kernel removes it a little later
        wait_until(lambda: memory.switched_on() == set() and memory.read_code() == code, "the probes to be disabled")
    assert memory.switched_on() == set() and memory.read_code() == code
    wait_until(lambda: alive(held) == set(), "the BPF objects to go")
    assert server.curl("/") == "Hello, world\n"


def test_many_probes_are_disabled(serve: Serve, trace: Trace) -> None:
    server = serve()
    memory = Memory(server)
    tracer = trace(server, "quic")
    assert len(memory.switched_on()) > 80
    assert tracer.stop() == 0
    assert memory.switched_on() == set()


@pytest.mark.parametrize("mode", ["http", "quic"])
def test_detaches_at_once(serve: Serve, trace: Trace, mode: str) -> None:
    """The limit is 0.3 s, and more on a busy machine. (Without links, a location takes 0.1 s.)"""
    if mode == "quic" and not HAS_LINKS:
        pytest.skip("not applicable: before Linux 6.10, the kernel takes its time for each place; t/matrix tells it")
    server = serve(script=SCRIPT)

    def detach() -> float:
        tracer = trace(server, mode)
        server.play()
        start = time.monotonic()
        assert tracer.stop() == 0
        return time.monotonic() - start

    soon_enough(detach, 0.5 * SLOWNESS)


# --- failed starts ---


def limited(descriptors: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


def test_fails_halfway_through_attaching(serve: Serve, trace: Trace) -> None:
    """There are too few descriptors, at every step: one sentence reports it, and no probe stays enabled."""
    server = serve()
    memory = Memory(server)
    outcomes, sentences = set(), set()
    for descriptors in range(14, 48, 3):
        tracer = trace(server, program="h2olog-single", attached=False, before=limited(descriptors))
        wait_until(lambda: tracer.process.poll() is not None or "Attaching" in tracer.messages(), "the start")
        outcomes.add(tracer.process.poll())
        if tracer.process.poll() is None:
            assert tracer.stop() == 0
            break
        assert tracer.process.poll() == 1
        assert tracer.messages().splitlines()[-1].startswith("h2olog: ")
        sentences.add(tracer.messages().splitlines()[-1].partition(":")[2].partition(":")[0])
        assert "Too many open files" in tracer.messages()
        assert memory.switched_on() == set()
    assert outcomes == {1, None}
    assert " the kernel refuses uprobes" in sentences, "none of these failed while it attached"
    assert take_uprobe_events(server) == []
    assert memory.switched_on() == set()


@pytest.mark.parametrize("program", PROGRAMS)
def test_fails_to_attach(serve: Serve, trace: Trace, program: str) -> None:
    server = serve()
    memory = Memory(server)
    tracer = trace(server, program=program, attached=False, before=refusing_uprobes(program, errno.EPERM))
    assert tracer.process.wait(PATIENCE) == 1
    assert take_uprobe_events(server) == []
    assert memory.switched_on() == set()


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("before", [None, refusing("fsopen", errno.ENOSYS)], ids=["memory", "folder"])
def test_leaves_no_files(serve: Serve, room: Room, program: str, before: Callable[[], None] | None) -> None:
    """Also if the kernel is too old for a file system that is not mounted."""
    server = serve()
    memory = Memory(server)
    process = room.start(program, "-p", str(server.pid), before=before)
    wait_until(lambda: memory.switched_on() == HTTP_PROBES, "attaching")
    assert room.left() == []
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    assert room.left() == []
    failing = room.start(program, "-p", str(room.holder.pid), before=before)
    assert failing.wait(PATIENCE) == 1
    assert room.left() == []


# --- the end ---


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ends_with_the_server(serve: Serve, trace: Trace, program: str, number: int) -> None:
    server = serve(script=SCRIPT)
    tracer = trace(server, program=program)
    assert server.play() == (COUNT, 0)
    server.stop(number)
    assert tracer.process.wait(PATIENCE) == 0
    assert tracer.lines() == LINES
    _, ended = tracer.messages().splitlines()
    assert ended == f"h2olog: process {server.pid} ended"


def test_server_is_killed_in_mid_traffic(serve: Serve, trace: Trace) -> None:
    """No event before the last one is missing, and the last line is complete."""
    server = serve(script="rate 100000\nrepeat 10000000\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    tracer = trace(server)
    server.start_playing()
    tracer.wait_lines(20_000)
    server.stop(signal.SIGKILL)
    assert tracer.process.wait(PATIENCE) == 0
    assert tracer.out.read_bytes().endswith(b"\n")
    assert tracer.lines() == [f"1 {number} TxStatus   200" for number in range(len(tracer.lines()))]
    _, ended = tracer.messages().splitlines()
    assert ended == f"h2olog: process {server.pid} ended"


@pytest.mark.parametrize("size", ["64K", "16M"])
def test_signal_in_mid_traffic(serve: Serve, trace: Trace, size: str) -> None:
    """Events before the closing of the gate are printed in order, or reported as lost in place."""
    server = serve(script="repeat 30000000\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    tracer = trace(server, "-b", size)
    server.start_playing()
    tracer.wait_lines(20_000)
    if size == "64K":  # a server that is not slowed down fills it at once
        stopped(tracer.process, lambda: time.sleep(0.1 * SLOWNESS))
        wait_until(lambda: "lost here" in tracer.messages(), "a loss")
    assert tracer.stop() == 0
    fired, not_enabled = server.wait_played()
    here = [int(count) for count in re.findall(r"^h2olog: (\d+) events are lost here", tracer.messages(), re.M)]
    lines = tracer.lines()
    assert not_enabled > 0
    # Events after the closing of the gate, until the kernel has removed the probe.
    assert fired >= len(lines) + sum(here)
    assert size != "64K" or sum(here) > 0
    numbers = [int(line.split()[1]) for line in lines]
    assert lines == [f"1 {number} TxStatus   200" for number in numbers]
    # A gap between two lines is reported as lost, in the right order; one gap can have several reports.
    gaps = [after - before - 1 for before, after in zip([-1, *numbers], numbers) if after != before + 1]
    assert min(gaps, default=1) > 0, "out of order"
    assert {*itertools.accumulate(gaps)} <= {*itertools.accumulate(here)}
    assert sum(here) == sum(gaps) or sum(here[:-1]) <= sum(gaps), "more was told than is missing, but at the end"


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(serve: Serve, trace: Trace, program: str, number: int) -> None:
    server = serve(script=SCRIPT)
    tracer = trace(server, program=program)
    assert server.play() == (COUNT, 0)
    assert tracer.stop(number) == 0
    assert tracer.lines() == LINES
    assert tracer.messages().count("\n") == 1


def test_no_messages_without_d(serve: Serve, tmp_path: Path) -> None:
    """Without -d, stderr is empty. Messages of libbcc are not shown, either."""
    server = serve(script=SCRIPT)
    memory = Memory(server)
    tracer = Tracer(tmp_path, "-p", str(server.pid), attached=False)
    wait_until(lambda: prints(tracer.process.pid), "attaching")
    assert memory.switched_on() == HTTP_PROBES
    server.play()
    assert tracer.stop() == 0
    assert tracer.messages() == ""
    assert tracer.lines() == LINES


def test_signal_while_attaching(serve: Serve, tmp_path: Path) -> None:
    """Ctrl-C before the first line: it ends, and no probe stays enabled."""
    server = serve()
    memory = Memory(server)
    for nth in range(6):
        process = subprocess.Popen([str(BUILD / "h2olog"), "-p", str(server.pid)], stderr=subprocess.PIPE)
        time.sleep(0.05 * SLOWNESS * nth)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode in (0, -signal.SIGINT) and err == b""
        wait_until(lambda: memory.switched_on() == set(), "the probes to be disabled")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program, stage", STARTS)
def test_signal_at_a_stage_of_the_start(
    serve: Serve, answer: Answer, program: str, stage: str, number: int
) -> None:
    """It ends without attaching, and no probe stays enabled."""
    server = serve()
    memory = Memory(server)
    command = [str(BUILD / program), "-d", "-p", str(server.pid)]
    process = start_until(
        stage, memory,
        lambda: subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=slow_at(stage, answer)
        ),
    )  # fmt: skip
    held = objects_of(process.pid)
    assert held == alive(held) != set()
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, b"", b"")
    assert memory.switched_on() == set()
    wait_until(lambda: alive(held) == set(), "its BPF objects to go")


@pytest.mark.parametrize("program", PROGRAMS)
def test_head(serve: Serve, tmp_path: Path, program: str) -> None:
    """A reader that ends is not an error: `h2olog -p PID | head -1`."""
    server = serve(script=SCRIPT)
    memory = Memory(server)
    shell = 'set -o pipefail; "$0" -p "$1" | head -1'
    pipeline = subprocess.Popen(
        ["bash", "-c", shell, str(BUILD / program), str(server.pid)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: any(prints(child) for child in children_of(pipeline.pid)), "attaching")
    assert memory.switched_on() == HTTP_PROBES
    server.play()  # once: the end of the reader is noticed without another event
    out, err = pipeline.communicate(timeout=PATIENCE)
    assert (out, err, pipeline.returncode) == (b"1 0 TxStatus   200\n", b"", 0)
    assert memory.switched_on() == set()


# --- several of them ---


@pytest.mark.parametrize("program", PROGRAMS)
def test_two_servers_of_one_binary(serve: Serve, trace: Trace, program: str) -> None:
    """Each tracer prints only events of its own server."""
    count = 5000
    script = "repeat {}\nh2o:send_response conn_id={} req_id=# status=200\nend\n"
    servers = [serve(script=script.format(count, number)) for number in (1, 2)]
    assert servers[0].binary == servers[1].binary
    tracers = [trace(server, program=program) for server in servers]
    for server in servers:
        server.start_playing()
    for server in servers:
        assert server.wait_played() == (count, 0)
        server.curl("/")
    assert tracers[0].stop() == 0
    assert servers[1].play() == (count, 0)  # the other one still traces
    assert servers[0].play() == (0, count)
    assert tracers[1].stop() == 0
    for number, (tracer, times) in enumerate(zip(tracers, (1, 2)), 1):
        lines = tracer.lines()
        played = [f"{number} {nth} TxStatus   200" for nth in range(count)]
        assert lines[:count] == played
        assert f"1 1 RxHeader   :authority 127.0.0.1:{servers[number - 1].port}" in lines[count:]
        assert lines[len(lines) - count * (times - 1) :] == played * (times - 1)
        assert sum(" RxProtocol " in line for line in lines) == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_two_tracers_of_one_server(serve: Serve, trace: Trace, program: str) -> None:
    """Both print all events. When one ends, the other one continues."""
    server = serve(script=SCRIPT)
    memory = Memory(server)
    tracers = [trace(server, program=program), trace(server)]
    assert server.play() == (COUNT, 0)
    assert tracers[0].stop() == 0
    assert memory.switched_on() == HTTP_PROBES
    assert server.play() == (COUNT, 0)
    assert tracers[1].stop() == 0
    assert tracers[0].lines() == LINES
    assert tracers[1].lines() == LINES * 2
    assert memory.switched_on() == set()


@pytest.mark.parametrize("program", PROGRAMS)
def test_many_threads(serve: Serve, trace: Trace, program: str) -> None:
    """Threads that exist before the trace, and threads that start later."""
    count = 500
    script = f"threads 32\nrepeat {count}\nh2o:send_response conn_id=thread req_id=# status=200\nend\n"
    server = serve(threads=32, script=script)
    assert len(os.listdir(f"/proc/{server.pid}/task")) > 32
    tracer = trace(server, program=program)
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE) for _ in range(64)]
    for connection in connections:
        connection.connect()
    for number, connection in enumerate(connections):
        connection.request("GET", f"/?{number}")
    for connection in connections:
        connection.getresponse().read()
    lines = tracer.wait_lines(64 * 10)
    assert sorted(line.split(" ", 2)[2] for line in lines if " :path " in line) == sorted(
        f"RxHeader   :path /?{number}" for number in range(64)
    )
    assert len(lines) == 64 * 10  # 6 of the request, 4 of the response
    assert server.play() == (32 * count, 0)
    assert tracer.stop() == 0
    played = tracer.lines()[64 * 10 :]
    for thread in range(1, 33):
        own = [line for line in played if line.startswith(f"{thread} ")]
        assert own == [f"{thread} {number} TxStatus   200" for number in range(count)]
    assert len(played) == 32 * count
