"""No event is lost without being counted, the order is right, and memory does not grow."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Iterable, Iterator, Set

import pytest
from conftest import BUILD, PATIENCE, SLOWNESS, Server, Tracer, wait_until
from support import HTTP_PROBES, PROGRAMS, Memory, Serve, Trace, anonymous_kib, stopped

PACKET = "quicly:packet_sent conn=thread at=now pn=# len=1200 packet_type=3 ack_only=0\n"
OLD_PACKET = "quicly:packet_commit conn=thread at=now pn=# len=1200 ack_only=0\n"


def told_lost(tracer: Tracer) -> tuple[list[int], int]:
    """Returns the losses that text mode reports: those in place, and the total."""
    here = re.findall(r"^h2olog: (\d+) events are lost here; use a larger ring \(-b\)$", tracer.messages(), re.M)
    total = re.findall(r"^h2olog: (\d+) events were lost in all$", tracer.messages(), re.M)
    assert len(total) == (1 if here else 0)
    return [int(count) for count in here], int(total[0]) if total else 0


def lost_by_probe(tracer: Tracer) -> dict[str, int]:
    """Returns the losses that -d reports at the end."""
    found = re.findall(r"^(\w+:\w+) (\d+) lost$", tracer.messages(), re.M)
    assert len({name for name, _ in found}) == len(found)
    return {name: int(count) for name, count in found}


def stutter(process: subprocess.Popen[bytes], server: Server) -> tuple[int, int]:
    """Plays the script while the tracer stops and continues, so that it loses events repeatedly."""
    server.start_playing()
    for _ in range(10):
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.04 * SLOWNESS)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.03 * SLOWNESS)
    return server.wait_played()


# --- losses are known exactly ---


@pytest.mark.parametrize("program, size", [("h2olog", "4K"), ("h2olog", "64K"), ("h2olog-single", "64K")])
def test_text_loses_a_known_number(serve: Serve, tmp_path: Path, program: str, size: str) -> None:
    """One thread: with stdout and stderr in one file, each report stands where so many lines are missing."""
    count = 70_000
    server = serve(script=f"rate 100000\nrepeat {count}\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    everything = tmp_path / "both"
    with everything.open("ab") as both:
        process = subprocess.Popen(
            [str(BUILD / program), "-d", "-b", size, "-p", str(server.pid)], stdout=both, stderr=both
        )
    try:
        wait_until(lambda: b"Attaching" in everything.read_bytes(), "attaching")
        assert stutter(process, server) == (count, 0)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    position = lost = 0  # events that are printed or reported as lost
    _, *lines, total, of_probe = everything.read_text().split("\n")[:-1]
    for line in lines:
        match = re.fullmatch(r"h2olog: (\d+) events are lost here; use a larger ring \(-b\)", line)
        if match is not None:
            position, lost = position + int(match.group(1)), lost + int(match.group(1))
        else:
            assert line == f"1 {position} TxStatus   200"
            position += 1
    assert position == count and lost > 0
    assert (total, of_probe) == (f"h2olog: {lost} events were lost in all", f"h2o:send_response {lost} lost")


def check(condition: bool) -> None:
    assert condition


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("threads", [1, 4])
def test_text_of_threads_loses_a_known_number(serve: Serve, trace: Trace, program: str, threads: int) -> None:
    """For each probe, printed events and losses that -d reports add up to the fired events."""
    count, probes = 5_000, {
        "receive_request": ("RxProtocol HTTP/1.1", "http_version=0x101"),
        "receive_request_header": ("RxHeader   name value", 'name="name" name_len=4 value="value" value_len=5'),
        "send_response": ("TxStatus   200", "status=200"),
        "send_response_header": ("TxHeader   other", 'name="other" name_len=5 value="" value_len=0'),
    }  # fmt: skip
    fire = "".join(f"h2o:{probe} conn_id=thread req_id=# {rest}\n" for probe, (_, rest) in probes.items())
    server = serve(script=f"threads {threads}\nhop every 100\nrepeat {count}\n{fire}end\n")
    tracer = trace(server, "-b", "64K", program=program)
    stopped(tracer.process, lambda: check(server.play() == (4 * threads * count, 0)))
    wait_until(lambda: "lost here" in tracer.messages(), "the loss")
    printed_before = len(tracer.lines())
    assert server.play() == (4 * threads * count, 0)  # there are lines after the loss, too
    assert tracer.stop() == 0
    here, total = told_lost(tracer)
    lines, lost = [line.split(" ", 2) for line in tracer.lines()], lost_by_probe(tracer)
    assert total == sum(here) == sum(lost.values()) > 0
    for probe, (text, _) in probes.items():
        printed = sum(1 for line in lines if line[2].rstrip() == text)
        assert printed + lost[f"h2o:{probe}"] == 2 * threads * count
    assert len(lines) + total == 2 * 4 * threads * count
    assert len(lines) > printed_before > 0
    names = {str(thread) for thread in range(1, threads + 1)}
    check_order(names, 2, ((conn, int(number)) for conn, number, _ in lines))


def check_order(threads: Set[Any], plays: int, events: Iterable[tuple[Any, int]]) -> None:
    """Checks that the numbers of each thread's events increase. They begin again when the script is played again. An
    event is identified by its thread and number."""
    last = dict.fromkeys(threads, -1)
    begun = dict.fromkeys(threads, 1)
    for thread, number in events:
        begun[thread] += number <= last[thread]
        last[thread] = number
    assert max(begun.values()) <= plays, "out of order"
    assert min(last.values()) >= 0, "nothing of a thread"


def events(tracer: Tracer) -> Iterator[dict[str, Any]]:
    """Returns the lines of JSON, whose `seq` has no gaps."""
    for number, line in enumerate(tracer.lines(), 1):
        event = json.loads(line)
        assert event["seq"] == number
        yield event


@pytest.mark.parametrize(
    "program, size, version, packet",
    [
        ("h2olog", "4K", "2026-06", PACKET),
        ("h2olog", "64K", "2026-06", PACKET),
        ("h2olog", "64K", "2020-06", OLD_PACKET),
        ("h2olog-single", "64K", "2026-06", PACKET),
    ],
)
def test_json_reports_losses_in_place(
    serve: Serve, trace: Trace, program: str, size: str, version: str, packet: str
) -> None:
    """One thread: between two events, the reported losses are exactly the missing events."""
    count = 70_000
    server = serve(version, script=f"rate 100000\nthreads 1\nrepeat {count}\n{packet}end\n")
    tracer = trace(server, "quic", "-t", "quicly:packet*", "-b", size, program=program)
    assert stutter(tracer.process, server) == (count, 0)
    assert tracer.stop() == 0
    position = places = 0  # packets that are printed or reported as lost; places of losses
    kind, probe = ("packet-sent", "packet_sent") if packet == PACKET else ("packet-commit", "packet_commit")
    for event in events(tracer):
        if event["type"] == "h2olog-event-lost":
            assert list(event) == ["type", "seq", "time", "lost"] and event["lost"] > 0
            position += event["lost"]
            places += 1
        else:
            assert (event["type"], event["conn"], event["pn"]) == (kind, 1, position)
            position += 1
    assert position == count and places >= 5
    assert lost_by_probe(tracer) == {f"quicly:{probe}": sum_lost(tracer)}
    assert f"h2olog: {sum_lost(tracer)} events were lost in all\n" in tracer.messages()


def sum_lost(tracer: Tracer) -> int:
    return sum(event["lost"] for event in events(tracer) if event["type"] == "h2olog-event-lost")


@pytest.mark.parametrize("program", PROGRAMS)
def test_json_of_threads_loses_a_known_number(serve: Serve, trace: Trace, program: str) -> None:
    count, threads = 20_000, 4
    fire = PACKET + "quicly:free conn=thread at=now\n"
    server = serve(script=f"threads {threads}\nhop every 100\nrepeat {count}\n{fire}end\n")
    tracer = trace(server, "quic", "-t", "packet_sent", "-t", "free", "-b", "64K", program=program)
    stopped(tracer.process, lambda: check(server.play() == (2 * threads * count, 0)))
    wait_until(lambda: b"h2olog-event-lost" in tracer.out.read_bytes(), "the loss")
    printed_before = len(tracer.lines())
    assert server.play() == (2 * threads * count, 0)  # there are lines after the loss, too
    assert tracer.stop() == 0
    types = Counter(event["type"] for event in events(tracer))
    lost = lost_by_probe(tracer)
    assert types["packet-sent"] + lost["quicly:packet_sent"] == 2 * threads * count
    assert types["free"] + lost["quicly:free"] == 2 * threads * count
    assert sum_lost(tracer) == sum(lost.values()) > threads * count
    assert set(types) == {"packet-sent", "free", "h2olog-event-lost"}
    assert len(tracer.lines()) > printed_before > 1
    packets = ((event["conn"], event["pn"]) for event in events(tracer) if event["type"] == "packet-sent")
    check_order({*range(1, threads + 1)}, 2, packets)


def test_small_ring_loses_nothing_of_a_quiet_server(serve: Serve, trace: Trace) -> None:
    server = serve(script=f"rate 4000\nthreads 2\nrepeat 1000\n{PACKET}end\n")
    tracer = trace(server, "quic", "-b", "512K")
    assert server.play() == (2000, 0)
    assert tracer.stop() == 0
    assert sum(1 for _ in events(tracer)) == 2000
    assert tracer.messages().count("\n") == 1


def test_losses_after_the_last_event_are_reported(serve: Serve, trace: Trace) -> None:
    """No later event can carry the count."""
    count = 20_000
    server = serve(script=f"threads 1\nrepeat {count}\n{PACKET}end\n")
    tracer = trace(server, "quic", "-b", "4K")
    stopped(tracer.process, lambda: check(server.play() == (count, 0)))
    wait_until(lambda: b"h2olog-event-lost" in tracer.out.read_bytes(), "the losses, while it goes on")
    told = list(events(tracer))
    assert told[-1]["type"] == "h2olog-event-lost"
    assert len(told) - 1 + sum_lost(tracer) == count
    assert tracer.stop() == 0
    assert len(tracer.lines()) == len(told)


def test_server_ends_while_the_tracer_is_stopped(serve: Serve, trace: Trace) -> None:
    count = 30_000
    server = serve(script=f"repeat {count}\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    tracer = trace(server, "-b", "64K")

    def play_and_end() -> None:
        assert server.play() == (count, 0)
        server.stop(signal.SIGKILL)

    stopped(tracer.process, play_and_end)
    assert tracer.process.wait(PATIENCE) == 0
    _, total = told_lost(tracer)
    lines = tracer.lines()
    assert total > 0 and len(lines) + total == count
    assert lines == [f"1 {number} TxStatus   200" for number in range(len(lines))]


# --- a reader that is slow ---


class Reader:
    """The other end of a pipe."""

    def __init__(self, fd: int) -> None:
        self.content, self.fd = bytearray(), fd
        self.thread = threading.Thread(target=self.read)

    def read(self) -> None:
        with open(self.fd, "rb", buffering=0) as pipe:
            while chunk := pipe.read(1 << 20):
                self.content += chunk

    def start(self) -> None:
        self.thread.start()

    def end(self) -> list[bytes]:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive() and self.content.endswith(b"\n")
        return bytes(self.content).splitlines()


def play_seconds(server: Server, count: int) -> float:
    start = time.monotonic()
    assert server.play() == (count, 0)
    return time.monotonic() - start


def test_reader_that_does_not_read(serve: Serve, trace: Trace) -> None:
    """The server is not slowed down. The exact loss is reported when the reader continues."""
    count = 200_000
    server = serve(script=f"threads 2\nrepeat {count // 2}\n{PACKET}end\n")
    readable, writable = os.pipe()
    tracer = trace(server, "quic", "-b", "256K", stdout=writable)
    os.close(writable)
    reader = Reader(readable)
    stalled = play_seconds(server, count)
    stalled_too = play_seconds(server, count)  # by now, h2olog waits
    reader.start()
    wait_until(lambda: b"h2olog-event-lost" in reader.content, "what was lost")
    reading = play_seconds(server, count)
    assert tracer.stop() == 0
    lines = [json.loads(line) for line in reader.end()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    lost = sum(line["lost"] for line in lines if line["type"] == "h2olog-event-lost")
    printed = sum(1 for line in lines if line["type"] == "packet-sent")
    assert printed + lost == 3 * count
    assert lost > count  # it did wait
    check_order({1, 2}, 3, ((line["conn"], line["pn"]) for line in lines if line["type"] == "packet-sent"))
    assert lost_by_probe(tracer) == {"quicly:packet_sent": lost}
    assert min(stalled, stalled_too) < 2 * reading + 5 * SLOWNESS, (stalled, stalled_too, reading)


@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM"])
def test_ends_with_a_full_pipe(serve: Serve, trace: Trace, end: str) -> None:
    """A full pipe prevents neither its end nor disabling the probes."""
    server = serve(script="repeat 100000\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    memory = Memory(server)
    readable, writable = os.pipe()
    tracer = trace(server, stdout=writable)
    os.close(writable)
    assert server.play() == (100_000, 0)
    time.sleep(0.3 * SLOWNESS)  # by now, the pipe is full
    try:
        assert memory.switched_on() == HTTP_PROBES
        tracer.process.send_signal(signal.Signals[end])
        assert tracer.process.wait(PATIENCE) == 1
        assert memory.switched_on() == set()
    finally:
        os.close(readable)
    assert server.play() == (0, 100_000)
    assert "h2olog: cannot write standard output: nobody reads it; " in tracer.messages()


def test_waits_for_the_reader_when_the_server_has_ended(serve: Serve, trace: Trace) -> None:
    """`h2olog -p PID | less`: the last lines of the server are not dropped if the reader is slow."""
    server = serve(script="repeat 20000\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    readable, writable = os.pipe()
    tracer = trace(server, stdout=writable)
    os.close(writable)
    assert server.play() == (20_000, 0)
    server.stop()
    time.sleep(1 * SLOWNESS)
    assert tracer.process.poll() is None
    with open(readable, encoding="utf-8") as lines:
        assert lines.read() == "".join(f"1 {i} TxStatus   200\n" for i in range(20_000))
    assert tracer.process.wait(PATIENCE) == 0


# --- order ---


def test_order_of_threads_that_change_cpus(serve: Serve, trace: Trace) -> None:
    """At 200,000 events per second for 3 s with the default ring, no event is lost, and the order of each thread is
    right."""
    threads, each = 4, 150_000
    server = serve(script=f"rate 200000\nhop every 100\nthreads {threads}\nrepeat {each}\n{PACKET}end\n")
    tracer = trace(server, "quic")
    assert server.play() == (threads * each, 0)
    assert tracer.stop() == 0
    assert tracer.messages().count("\n") == 1, tracer.messages()
    next_number = dict.fromkeys(range(1, threads + 1), 0)
    line_format = re.compile(rb'\{"type":"packet-sent","seq":(\d+),"conn":(\d+),"time":\d+,"pn":(\d+),.*\}')
    with tracer.out.open("rb") as out:
        for number, line in enumerate(out, 1):
            match = line_format.fullmatch(line.rstrip(b"\n"))
            assert match is not None and int(match.group(1)) == number
            thread, pn = int(match.group(2)), int(match.group(3))
            assert pn == next_number[thread]
            next_number[thread] += 1
    assert next_number == dict.fromkeys(range(1, threads + 1), each)


def test_order_of_text_of_threads_that_change_cpus(serve: Serve, trace: Trace) -> None:
    """The same with values of variable size, which are captured in another way."""
    threads, each = 4, 30_000
    script = (
        f"rate 100000\nhop every 100\nthreads {threads}\nrepeat {each}\n"
        'h2o:send_response_header conn_id=thread req_id=# name="name" name_len=4 value="a value" value_len=7\nend\n'
    )
    server = serve(script=script)
    tracer = trace(server)
    assert server.play() == (threads * each, 0)
    assert tracer.stop() == 0
    assert tracer.messages().count("\n") == 1, tracer.messages()
    next_number = dict.fromkeys(range(1, threads + 1), 0)
    for line in tracer.lines():
        thread, number, rest = line.split(" ", 2)
        assert rest == "TxHeader   name a value" and int(number) == next_number[int(thread)]
        next_number[int(thread)] += 1
    assert next_number == dict.fromkeys(range(1, threads + 1), each)


def test_time_never_decreases(serve: Serve, trace: Trace) -> None:
    """Events of h2o have no time of their own. The printed time is when they happened, in any thread."""
    threads, each = 8, 30_000
    script = (
        f"hop every 50\nthreads {threads}\nrepeat 5\nrepeat {each // 5}\n"
        "h2o:send_response conn_id=thread req_id=# status=200\nend\nsleep 50\nend\n"
    )
    server = serve(script=script)
    tracer = trace(server, "all", "-t", "h2o:send_response")
    before = time.time_ns() // 1_000_000
    assert server.play() == (threads * each, 0)
    after = time.time_ns() // 1_000_000
    assert tracer.stop() == 0
    times = [event["time"] for event in events(tracer)]
    assert times == sorted(times)
    assert before - 1 <= times[0] and times[-1] <= after + 1
    assert times[-1] - times[0] > 200 and len(set(times)) > 20  # not the time of the batch


# --- memory ---


def has_address_sanitizer(pid: int) -> bool:
    return "/libasan.so" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("mode, count", [("http", 500_000), ("quic", 2_000_000)])
def test_memory_is_bounded(serve: Serve, trace: Trace, mode: str, count: int) -> None:
    """After millions of events, memory has not grown, and there are no huge pages, whose number would vary."""
    header = 'h2o:send_response_header conn_id=thread req_id=# name="name" name_len=4 value="value" value_len=5\n'
    server = serve(script=f"threads 2\nrepeat {count // 2}\n{PACKET if mode == 'quic' else header}end\n")
    tracer = trace(server, mode, "-w", "/dev/null")
    before = anonymous_kib(tracer.process.pid)
    assert "\nTHP_enabled:\t0\n" in Path(f"/proc/{tracer.process.pid}/status").read_text()
    assert server.play() == (count, 0)
    after = anonymous_kib(tracer.process.pid)
    assert abs(after - before) <= 1024, (before, after)
    if not has_address_sanitizer(tracer.process.pid):  # a sanitizer's own memory would take tens of MiB
        assert before < 16 * 1024, before
    assert tracer.stop() == 0
