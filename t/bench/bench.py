#!/usr/bin/env python3
"""Measures the cost of tracing with the stand-in server, and prints a table.

    sudo bench.py [ROW...]      (rows by their names in ROWS below; default: all)

Measurements that are compared are made in one run, in short alternating rounds. The figure is the median of the
rounds. All measurements are written to bench.json in the build folder. This is not a test: a figure over its
target is reported, but is not a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import IO, Any, Callable, Iterator, TypeVar

BUILD = Path(os.environ.get("H2OLOG_BUILD_DIR", Path(__file__).resolve().parents[2] / "build"))

# Even on a busy machine, no step takes this long.
PATIENCE = 60.0

# --- scripts of the stand-in (t/standin/README.md) ------------------------------------------------------

HEADER = f'name="user-agent" name_len=10 value="{"0123456789" * 5}" value_len=50'

# One connection, because odd and even numbers fire at different places in the binary.
HEADER_SCRIPT = f"""
repeat 1000000
  h2o:receive_request_header conn_id=1 req_id=1 {HEADER}
end
"""

# A connection and five numbers.
PACKET_SCRIPT = """
repeat 1000000
  quicly:packet_sent conn=1 at=1700000000000 pn=123456 len=1200 packet_type=3 ack_only=0
end
"""

# A request to a busy server. The tags, and # as the number of the request, show the order of lines.
REQUEST_TAGS = ["RxProtocol", *["RxHeader"] * 7, "TxStatus", *["TxHeader"] * 3]
REQUEST = f"""
  h2o:receive_request conn_id=thread req_id=# http_version=0x101
  h2o:receive_request_header conn_id=thread req_id=# name=":authority" name_len=10 value="www.example.com" value_len=15
  h2o:receive_request_header conn_id=thread req_id=# name=":method" name_len=7 value="GET" value_len=3
  h2o:receive_request_header conn_id=thread req_id=# name=":path" name_len=5 value="/index.html" value_len=11
  h2o:receive_request_header conn_id=thread req_id=# name=":scheme" name_len=7 value="https" value_len=5
  h2o:receive_request_header conn_id=thread req_id=# {HEADER}
  h2o:receive_request_header conn_id=thread req_id=# name="accept" name_len=6 value="*/*" value_len=3
  h2o:receive_request_header conn_id=thread req_id=# name="cookie" name_len=6 value="session=0123456789abcdef" value_len=24
  h2o:send_response conn_id=thread req_id=# status=200
  h2o:send_response_header conn_id=thread req_id=# name="content-length" name_len=14 value="13" value_len=2
  h2o:send_response_header conn_id=thread req_id=# name="content-type" name_len=12 value="text/html" value_len=9
  h2o:send_response_header conn_id=thread req_id=# name="server" name_len=6 value="h2o/2.3.0-DEV" value_len=13
"""

# The most frequent events of a large download over HTTP/3.
DOWNLOAD = """
  quicly:receive conn=thread at=now dcid="0f82c1d34e56a7b8" bytes=x"c0ff" bytes_len=2
  quicly:packet_received conn=thread at=now pn=# decrypted=x"02" decrypted_len=1 packet_type=3
  quicly:ack_block_received conn=thread at=now ack_block_begin=1000 ack_block_end=#
  quicly:packet_acked conn=thread at=now pn=# is_late_ack=0
  quicly:stream_acked conn=thread at=now stream_id=4 off=123456789 len=1200
  quicly:cc_ack_received conn=thread at=now largest_acked=# bytes_acked=2400 cwnd=123456 inflight=100000
  quicly:quictrace_cc_ack conn=thread at=now rtt=1,12,3,15 cwnd=123456 inflight=100000
  quicly:packet_prepare conn=thread at=now first_octet=64 dcid="0f82c1d34e56a7b8"
  quicly:stream_send conn=thread at=now stream=4 off=123456789 data=x"00" data_len=1200 is_fin=0 wrote_all=0
  quicly:quictrace_send_stream conn=thread at=now stream=4 off=123456789 len=1200 fin=0
  quicly:packet_sent conn=thread at=now pn=# len=1200 packet_type=3 ack_only=0
"""

# For order and losses: each event has # once, and events of both layers alternate.
RUSH = """
  quicly:packet_sent conn=thread at=now pn=# len=1200 packet_type=3 ack_only=0
  quicly:packet_acked conn=thread at=now pn=# is_late_ack=0
  h2o:send_response_header conn_id=thread req_id=# name="server" name_len=6 value="h2o" value_len=3
  quicly:packet_sent conn=thread at=now pn=# len=1200 packet_type=3 ack_only=0
"""
TIES = "h2o:h3s_accept conn_id=1 quic=1\nh2o:h3s_accept conn_id=2 quic=2\n"


def paced(lines: str, rate: int, seconds: float, threads: int, before: str = "") -> str:
    """Returns a script that repeats these lines, with this total number of events per second."""
    count = len(lines.strip().splitlines())
    repeats = round(rate * seconds / count / threads)
    return f"{before}rate {rate}\nthreads {threads}\nrepeat {repeats}\n{lines}end\n"


# --- processes -----------------------------------------------------------------------------------------


class Trouble(Exception):
    """The reason why nothing can be measured."""


class Lines:
    """The lines of a pipe."""

    def __init__(self, pipe: IO[bytes] | None, whose: str) -> None:
        assert pipe is not None
        self.fd = pipe.fileno()
        self.whose = whose
        self.rest = b""

    def next(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self.rest:
            readable, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self.fd, 65536) if readable else b""
            if not chunk:
                why = "ended" if readable else f"prints nothing for {PATIENCE:.0f} s"
                raise Trouble(f"{self.whose} {why}: {self.rest.decode(errors='replace')}")
            self.rest += chunk
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode(errors="replace")

    def all(self) -> str:
        """Returns the rest, at the end of the pipe."""
        rest = self.rest + b"".join(iter(lambda: os.read(self.fd, 65536), b""))
        return rest.decode(errors="replace")

    def until(self, pattern: str) -> re.Match[str]:
        """Waits for the first line that matches."""
        others: list[str] = []
        while True:
            try:
                line = self.next()
            except Trouble as trouble:
                raise Trouble(" ".join([str(trouble), *others])) from None
            match = re.search(pattern, line)
            if match:
                return match
            others.append(line)


AnyChild = TypeVar("AnyChild", bound="Child")


class Child:
    """A child process, which ends with its `with` block."""

    def __init__(self, words: list[str], **how: Any) -> None:
        try:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(words, stdin=subprocess.DEVNULL, **how)
        except OSError as error:
            raise Trouble(f"{words[0]} cannot be run ({error.strerror}): ./make.sh bench builds it") from None
        self.pid = self.process.pid

    def __enter__(self: AnyChild) -> AnyChild:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)

    def end(self, number: int) -> float:
        """Sends a signal. Returns the seconds until the process has ended."""
        start = time.perf_counter()
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
        return time.perf_counter() - start

    def cpu_ns(self) -> int:
        """Returns the CPU time of all threads."""
        tasks = Path(f"/proc/{self.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())

    def private_kib(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0])


@dataclass
class Played:
    fired: int
    seconds: float
    cpu_ns: float  # CPU time of the server per fired probe, traced or not traced


class Server(Child):
    """A stand-in server. Each play runs its script once."""

    def __init__(self, version: str, folder: Path, script: str = "") -> None:
        file = folder / f"script-{time.monotonic_ns()}"
        file.write_text(script)
        binary = BUILD / "t" / "standin" / f"standin-{version}"
        super().__init__([str(binary), "--script", str(file)], stdout=subprocess.PIPE)
        self.lines = Lines(self.process.stdout, "the stand-in")
        match = self.lines.until(r"^listening on 127\.0\.0\.1:(\d+) ")
        self.port = int(match[1])

    def start_playing(self) -> None:
        self.process.send_signal(signal.SIGUSR1)

    def wait_played(self) -> re.Match[str]:
        return self.lines.until(r"^played (\d+) events, (\d+) not enabled, in ([\d.]+) s")

    def play(self) -> Played:
        before = self.cpu_ns()
        self.start_playing()
        match = self.wait_played()
        fired, skipped = int(match[1]), int(match[2])
        return Played(fired, float(match[3]), (self.cpu_ns() - before) / (fired + skipped))


class EmptyUprobe(Child):
    """An empty BPF program on a probe: the baseline."""

    def __init__(self, server: Server, probe: str) -> None:
        words = [str(BUILD / "t" / "bench" / "empty_uprobe"), str(server.pid), probe]
        super().__init__(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        Lines(self.process.stdout, "empty_uprobe").until("^attached$")


class Tracer(Child):
    """An attached h2olog. Its lines go to a file, or to the pipe `lines`."""

    def __init__(self, mode: str, server: Server, file: Path | None) -> None:
        words = [str(BUILD / "h2olog"), mode, "-d", "-p", str(server.pid)]
        if file is not None:
            words += ["-w", str(file)]
        start = time.perf_counter()
        super().__init__(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines = Lines(self.process.stdout, "h2olog")
        self.messages = Lines(self.process.stderr, "h2olog")
        self.messages.until(" Attaching: ")
        self.seconds_to_attach = time.perf_counter() - start
        self.cpu_to_attach = self.cpu_ns() / 1e9
        self.seconds_to_detach = 0.0

    def stop(self) -> int:
        """Sends SIGINT. Returns the number of lost events that h2olog reports."""
        self.seconds_to_detach = self.end(signal.SIGINT)
        match = re.search(r"(\d+) events were lost in all", self.messages.all())
        return int(match[1]) if match else 0


def settle() -> None:
    """Waits until all fired events are printed: h2olog promises 0.1 s."""
    time.sleep(0.4)


def count_lines(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))


# --- measurements for several rows ---------------------------------------------------------------------


@dataclass
class Attaching:
    """Starting and ending on a quiet server; one list element per round."""

    seconds_to_attach: list[float] = field(default_factory=list)
    cpu_to_attach: list[float] = field(default_factory=list)  # seconds
    seconds_to_detach: list[float] = field(default_factory=list)
    private_kib: list[int] = field(default_factory=list)


@dataclass
class Cost:
    """Nanoseconds of the server's CPU per fired probe, one list element per round; and h2olog's losses."""

    probe: str
    untraced_ns: list[float] = field(default_factory=list)
    empty_ns: list[float] = field(default_factory=list)
    traced_ns: list[float] = field(default_factory=list)
    fired: int = 0
    lost: int = 0

    def ratio(self) -> float:
        """Returns the cost of tracing, relative to that of an empty uprobe in the same round."""
        rounds = zip(self.untraced_ns, self.empty_ns, self.traced_ns)
        return median((traced - untraced) / (empty - untraced) for untraced, empty, traced in rounds)

    def note(self) -> str:
        untraced, empty, traced = map(median, (self.untraced_ns, self.empty_ns, self.traced_ns))
        return (
            f"{self.probe}: {traced:.0f} ns traced, {empty:.0f} ns with an empty uprobe ({traced / empty:.2f} ×), "
            f"{untraced:.0f} ns not enabled; {self.lost:,} of {self.fired:,} lost"
        )


@dataclass
class Printing:
    """h2olog's own CPU time under load, one list element per round."""

    ns: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    lost: int = 0


@dataclass
class Rush:
    """Many events from two threads at the same time."""

    fired: int
    printed: int
    lost: int
    rate: float
    disordered: int
    private_kib: int
    cpu_ns: float


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def output(self) -> Iterator[Path]:
        """The output file of h2olog. It is removed afterwards, because it can be large."""
        file = self.folder / "out"
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)

    @cached_property
    def attaching(self) -> dict[str, Attaching]:
        """By mode and version of the server. The first round, with a cold cache, is not counted."""
        kinds = {"http 2026-06": Attaching(), "quic 2020-06": Attaching(), "quic 2026-06": Attaching()}
        with contextlib.ExitStack() as stack:
            servers = {v: stack.enter_context(Server(v, self.folder)) for v in ("2020-06", "2026-06")}
            for nth in range(8):
                for kind, attaching in kinds.items():
                    mode, version = kind.split()
                    with self.output() as file, Tracer(mode, servers[version], file) as tracer:
                        time.sleep(0.1)
                        private_kib = tracer.private_kib()
                        tracer.stop()
                    if nth != 0:
                        attaching.seconds_to_attach.append(tracer.seconds_to_attach)
                        attaching.cpu_to_attach.append(tracer.cpu_to_attach)
                        attaching.seconds_to_detach.append(tracer.seconds_to_detach)
                        attaching.private_kib.append(private_kib)
        return kinds

    def cost(self, mode: str, probe: str, script: str) -> Cost:
        cost = Cost(probe)
        with Server("2026-06", self.folder, script) as server:
            for _ in range(7):
                cost.untraced_ns.append(server.play().cpu_ns)
                with EmptyUprobe(server, probe) as empty:
                    cost.empty_ns.append(server.play().cpu_ns)
                    empty.end(signal.SIGTERM)
                with self.output() as file, Tracer(mode, server, file) as tracer:
                    played = server.play()
                    cost.traced_ns.append(played.cpu_ns)
                    cost.fired += played.fired
                    cost.lost += tracer.stop()
        return cost

    @cached_property
    def header_cost(self) -> Cost:
        return self.cost("http", "h2o:receive_request_header", HEADER_SCRIPT)

    @cached_property
    def packet_cost(self) -> Cost:
        return self.cost("quic", "quicly:packet_sent", PACKET_SCRIPT)

    @cached_property
    def printing(self) -> dict[str, Printing]:
        modes = {"http": (REQUEST, Printing()), "quic": (DOWNLOAD, Printing())}
        with contextlib.ExitStack() as stack:
            servers = {
                mode: stack.enter_context(Server("2026-06", self.folder, paced(lines, 250_000, 3, 2)))
                for mode, (lines, _) in modes.items()
            }
            for _ in range(3):
                for mode, (_, printing) in modes.items():
                    with self.output() as file, Tracer(mode, servers[mode], file) as tracer:
                        before = tracer.cpu_ns()
                        played = servers[mode].play()
                        settle()
                        cpu_ns = tracer.cpu_ns() - before
                        printing.lost += tracer.stop()
                        printing.ns.append(cpu_ns / count_lines(file))
                        printing.rates.append(played.fired / played.seconds)
        return {mode: printing for mode, (_, printing) in modes.items()}

    def rush(self, mode: str, script: str, check: Callable[[Path], int]) -> Rush:
        with Server("2026-06", self.folder, script) as server:
            with self.output() as file, Tracer(mode, server, file) as tracer:
                before = tracer.cpu_ns()
                played = server.play()
                settle()
                cpu_ns, private_kib = tracer.cpu_ns() - before, tracer.private_kib()
                lost, printed = tracer.stop(), count_lines(file)
                rate = played.fired / played.seconds
                return Rush(played.fired, printed, lost, rate, check(file), private_kib, cpu_ns / printed)

    @cached_property
    def quic_rush(self) -> Rush:
        return self.rush("quic", paced(RUSH, 500_000, 10, 2, before=TIES), disordered_events)

    @cached_property
    def http_rush(self) -> Rush:
        return self.rush("http", paced(REQUEST, 500_000, 4, 2), disordered_lines)


def disordered_events(file: Path) -> int:
    """Counts JSON lines whose counter of their thread, or time, is smaller than in an earlier line."""
    latest: dict[int, int] = {}
    latest_stamp = disordered = 0
    with file.open("rb") as stream:
        for line in stream:
            event = json.loads(line)
            count = event.get("pn", event.get("req-id"))
            if count is None:
                continue
            is_disordered = count < latest.get(event["conn"], -1)
            latest[event["conn"]] = max(count, latest.get(event["conn"], -1))
            if event["type"] == "send-response-header":  # has the time of h2olog, not of the server
                is_disordered |= event["time"] < latest_stamp
                latest_stamp = max(event["time"], latest_stamp)
            disordered += is_disordered
    return disordered


def disordered_lines(file: Path) -> int:
    """Counts text lines that are at the wrong place in their request, or in an earlier request."""
    latest: dict[bytes, int] = {}
    disordered = 0
    with file.open("rb") as stream:
        for line in stream:
            conn, count_text, tag = line.split(maxsplit=3)[:3]
            count = int(count_text)
            is_misplaced = tag.decode() != REQUEST_TAGS[count % len(REQUEST_TAGS)]
            disordered += is_misplaced or count <= latest.get(conn, -1)
            latest[conn] = max(count, latest.get(conn, -1))
    return disordered


# --- the rows ------------------------------------------------------------------------------------------


@dataclass
class Row:
    what: str
    figure: float
    target: float
    unit: str = ""
    digits: int = 2
    at_least: bool = False  # the target is a minimum, not a maximum
    note: str = ""
    but: str = ""  # a restriction of the verdict
    rounds: Any = None  # the measurements, for bench.json

    @property
    def is_reached(self) -> bool:
        return self.figure >= self.target if self.at_least else self.figure <= self.target

    def text(self, number: float) -> str:
        return f"{number:,.{self.digits}f} {self.unit}".strip()

    def columns(self) -> list[str]:
        return [
            self.what,
            self.text(self.figure),
            ("≥ " if self.at_least else "≤ " if self.target else "") + self.text(self.target),
            f"{self.figure / self.target:.2f}" if self.target else "–",
            ("ok" if self.is_reached else "**under**" if self.at_least else "**over**") + self.but,
        ]


def attach_row(bench: Bench, kind: str, what: str, target: float) -> Row:
    attaching = bench.attaching[kind]
    seconds = attaching.seconds_to_attach
    note = (
        f"{min(seconds):.2f} to {max(seconds):.2f} s in {len(seconds)} rounds; "
        f"{median(attaching.cpu_to_attach):.2f} s of CPU time"
    )
    return Row(what, median(seconds), target, "s", note=note, rounds=asdict(attaching))


def attach_http(bench: Bench) -> Row:
    return attach_row(bench, "http 2026-06", "Attach, `http`", 0.4)


def attach_quic_2020(bench: Bench) -> Row:
    return attach_row(bench, "quic 2020-06", "Attach, `quic`, all probes of a server of 2020-06", 0.6)


def attach_quic_2026(bench: Bench) -> Row:
    return attach_row(bench, "quic 2026-06", "Attach, `quic`, all probes of a server of 2026-06", 0.8)


def header_cost(bench: Bench) -> Row:
    cost = bench.header_cost
    what = "Cost to the server of a request header (10-byte name, 50-byte value), of an empty uprobe's"
    return Row(what, cost.ratio(), 2.2, "×", note=cost.note(), rounds=asdict(cost))


def quic_cost(bench: Bench) -> Row:
    cost = bench.packet_cost
    what = "The same of a QUIC event of five numbers (`packet_sent`)"
    return Row(what, cost.ratio(), 1.8, "×", note=cost.note(), rounds=asdict(cost))


def printing_row(printing: Printing, what: str, target: float) -> Row:
    note = f"at {median(printing.rates):,.0f} events/s; {printing.lost:,} lost"
    return Row(what, median(printing.ns) / 1000, target, "µs", note=note, rounds=asdict(printing))


def cpu_text(bench: Bench) -> Row:
    return printing_row(bench.printing["http"], "h2olog's own CPU time, an event, text to a file", 0.6)


def cpu_json(bench: Bench) -> Row:
    return printing_row(bench.printing["quic"], "h2olog's own CPU time, an event, JSON to a file", 0.7)


def losses(bench: Bench) -> Row:
    rush = bench.quic_rush
    note = (
        f"{rush.rate:,.0f} events/s, {rush.fired:,} fired, {rush.printed:,} lines; h2olog itself says {rush.lost:,}; "
        f"its CPU {rush.cpu_ns / 1000:.2f} µs an event"
    )
    what = "Events lost at 500,000 events/s from two threads for 10 s, JSON to a file"
    but = "" if rush.rate > 0.98 * 500_000 else f", but at {rush.rate:,.0f} events/s: the machine was busy"
    return Row(what, rush.fired - rush.printed, 0, digits=0, note=note, but=but, rounds=asdict(rush))


def order(bench: Bench) -> Row:
    rush = bench.quic_rush
    note = "each thread's own counter, and the stamps of both"
    return Row("Events out of order in that run", rush.disordered, 0, digits=0, note=note)


def order_text(bench: Bench) -> Row:
    rush = bench.http_rush
    note = f"{rush.printed:,} of {rush.fired:,} at {rush.rate:,.0f} events/s from two threads; {rush.lost:,} lost"
    return Row("Lines of a request out of order, `http`", rush.disordered, 0, digits=0, note=note, rounds=asdict(rush))


def delay(bench: Bench) -> Row:
    """The maximum, because it is a promise. The event has the time when it was fired, in milliseconds."""
    delays: list[float] = []
    with Server("2026-06", bench.folder, "quicly:packet_sent conn=1 at=now\n") as server:
        with Tracer("quic", server, None) as tracer:
            for _ in range(30):
                time.sleep(random.uniform(0.05, 0.15))  # not in step with a timer
                server.start_playing()
                line = tracer.lines.next()
                delays.append(time.time() * 1000 - json.loads(line)["time"])
                server.wait_played()
    what = "Delay from event to line, quiet server, the longest"
    note = f"of {len(delays)}; the median is {median(delays):.0f} ms"
    return Row(what, max(delays), 100, "ms", digits=0, note=note, rounds=delays)


def memory(bench: Bench) -> Row:
    quiet = {kind: median(attaching.private_kib) for kind, attaching in bench.attaching.items()}
    loaded = {"quic": bench.quic_rush.private_kib, "http": bench.http_rush.private_kib}
    largest = max(*quiet.values(), *loaded.values()) / 1024
    note = "; ".join(
        [f"{kind} {kib / 1024:.1f} MiB" for kind, kib in quiet.items()]
        + [f"{kind} after the load above {kib / 1024:.1f} MiB" for kind, kib in loaded.items()]
    )
    what = "Private memory while tracing (`RssAnon`), rings aside, the most"
    return Row(what, largest, 16, "MiB", digits=1, note=note, rounds={"quiet": quiet, "loaded": loaded})


def detach(bench: Bench) -> Row:
    seconds = bench.attaching["quic 2026-06"].seconds_to_detach
    note = f"`quic`, all probes of 2026-06; {min(seconds):.2f} to {max(seconds):.2f} s in {len(seconds)} rounds"
    return Row("Detach: SIGINT to gone", median(seconds), 0.3, "s", note=note, rounds=seconds)


def neighbour(bench: Bench) -> Row:
    """The traced server is quiet, so that its CPU time does not slow down the other one."""
    alone: list[float] = []
    beside: list[float] = []
    with Server("2026-06", bench.folder) as traced, Server("2026-06", bench.folder) as other:
        load(other.port, 0.3)
        for _ in range(7):
            alone.append(load(other.port, 0.7))
            with bench.output() as file, Tracer("http", traced, file):
                beside.append(load(other.port, 0.7))
    speed = median(b / a for a, b in zip(alone, beside))
    note = f"{median(beside):,.0f} requests/s, {median(alone):,.0f} with nothing traced"
    what = "Speed of an untraced neighbour of the same binary"
    return Row(what, speed, 0.95, "×", at_least=True, note=note, rounds={"alone": alone, "beside": beside})


def load(port: int, seconds: float) -> float:
    """Requests per second of a server. Many requests at a time keep the server busy."""
    batch = 64
    requests = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n" * batch
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", port)
        connections = [stack.enter_context(socket.create_connection(address, PATIENCE)) for _ in range(8)]
        connections[0].sendall(requests[: len(requests) // batch])
        size = len(connections[0].recv(65536)) * batch  # all responses are the same
        for connection in connections:
            connection.sendall(requests)
        start = time.perf_counter()
        done = 0
        while time.perf_counter() - start < seconds:
            for connection in connections:
                receive(connection, size)
                connection.sendall(requests)
                done += batch
        return done / (time.perf_counter() - start)


def receive(connection: socket.socket, size: int) -> None:
    while size > 0:
        got = len(connection.recv(size))
        if got == 0:
            raise Trouble("the stand-in closed a connection under load")
        size -= got


def idle(bench: Bench) -> Row:
    with Server("2026-06", bench.folder) as server:
        with bench.output() as file, Tracer("quic", server, file) as tracer:
            time.sleep(0.2)
            before, start = tracer.cpu_ns(), time.perf_counter()
            time.sleep(5)
            share = (tracer.cpu_ns() - before) / 1e9 / (time.perf_counter() - start)
    return Row("CPU of an idle h2olog on an idle server, of a core", 100 * share, 0.5, "%")


def play_assembler(what: str) -> list[list[float]]:
    """Runs the program of assembler.c. Returns the numbers of its lines."""
    words = [str(BUILD / "t" / "bench" / "bench_assembler"), what]
    with Child(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        lines = Lines(child.process.stdout, "bench_assembler").all().splitlines()
        if child.process.wait(PATIENCE) != 0:
            raise Trouble(f"bench_assembler fails: {lines}")
    return [[float(number) for number in line.split()] for line in lines]


def assembler_memory(_: Bench) -> Row:
    mebibytes = play_assembler("memory")[0][0] / (1 << 20)
    what = "Memory of 10,000 open requests with 20 headers of 60 bytes"
    return Row(what, mebibytes, 32, "MiB", digits=1)


def assembler_cpu(_: Bench) -> Row:
    rounds = play_assembler("cpu")
    extra = median(after - before for before, after in rounds)
    note = f"{median(before for before, _ in rounds):.0f} ns an event without it, decoding included"
    what = "h2olog's own CPU time of the request assembler, an event"
    return Row(what, extra / 1000, 0.1, "µs", digits=3, note=note, rounds=rounds)


ROWS: list[Callable[[Bench], Row]] = [
    attach_http, attach_quic_2020, attach_quic_2026, header_cost, quic_cost, cpu_text, cpu_json, losses, order,
    order_text, delay, memory, detach, neighbour, idle, assembler_memory, assembler_cpu,
]  # fmt: skip


# --- the table -----------------------------------------------------------------------------------------


def describe_machine() -> dict[str, str]:
    try:
        versions = subprocess.run([str(BUILD / "h2olog"), "-V"], check=True, stdout=subprocess.PIPE, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Trouble(f"h2olog cannot be run: {error}; ./make.sh bench builds it") from None
    h2olog, libbcc, kernel = versions.splitlines()[:3]
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "kernel": kernel,
        "libbcc": libbcc,
        "h2olog": h2olog,
        "load": f"{os.getloadavg()[0]:.1f}",  # load of the machine
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def print_table(machine: dict[str, str], rows: list[Row]) -> None:
    print("On {cpu}, {cores} cores, {kernel}, {libbcc}, {date}, load {load} before:\n".format(**machine))
    print("| what | figure | target | of target | |\n| --- | ---: | ---: | ---: | --- |")
    for row in rows:
        print(f"| {' | '.join(row.columns())} |")
    print()
    for row in rows:
        if row.note:
            print(f"{row.what}: {row.note}")


def write_json(machine: dict[str, str], rows: list[Row], seconds: float) -> Path:
    file = BUILD / "bench.json"
    table = [{**asdict(row), "ok": row.is_reached} for row in rows]
    file.write_text(json.dumps({"machine": machine, "seconds": seconds, "rows": table}, indent=1) + "\n")
    return file


def run(wanted: list[str]) -> None:
    unknown = set(wanted) - {row.__name__ for row in ROWS}
    if unknown:
        names = ", ".join(row.__name__ for row in ROWS)
        raise Trouble(f"there is no row {', '.join(sorted(unknown))}; there are: {names}")
    if os.geteuid() != 0:
        raise Trouble("loading BPF programs needs root; put sudo before the command")
    start = time.monotonic()
    machine = describe_machine()
    folder = Path(tempfile.mkdtemp(prefix="h2olog-bench-"))
    try:
        bench = Bench(folder)
        rows: list[Row] = []
        for row in ROWS:
            if not wanted or row.__name__ in wanted:
                print(f"{time.monotonic() - start:3.0f} s  {row.__name__}", file=sys.stderr, flush=True)
                rows.append(row(bench))
    finally:
        shutil.rmtree(folder)
    print_table(machine, rows)
    file = write_json(machine, rows, time.monotonic() - start)
    print(f"\n{time.monotonic() - start:.0f} s; the rounds are in {file}")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # end child processes in this case, too
    try:
        run(sys.argv[1:])
    except Trouble as trouble:
        print(f"bench: {trouble}", file=sys.stderr)
        return 1
    except (OSError, subprocess.SubprocessError) as error:
        print(f"bench: it cannot be measured here: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
