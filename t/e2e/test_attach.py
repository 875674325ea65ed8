"""Difficulties of attaching: memory that the server has not touched, signals, other tracers."""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator, NamedTuple

import pytest
from conftest import BPF, BUILD, PATIENCE, PERF_EVENT_OPEN, run
from support import PROGRAMS, Serve, Trace

# --- constants that the server has not touched yet ---


@pytest.fixture
def constants() -> Iterator[Any]:
    """A server whose header was mapped from its file, and not touched yet (t/standin/constants.c)."""
    binary = BUILD / "t" / "standin" / "standin-constants"
    with subprocess.Popen([str(binary)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"ready pid {process.pid}\n"
        yield SimpleNamespace(pid=process.pid, process=process)
        process.kill()


@pytest.mark.parametrize("program", PROGRAMS)
def test_untouched_constants_are_readable(constants: Any, trace: Trace, program: str) -> None:
    tracer = trace(constants, program=program)
    constants.process.send_signal(signal.SIGUSR1)
    assert constants.process.stdout.readline() == "fired\n"
    assert tracer.stop() == 0
    assert tracer.lines() == ["1 2 RxHeader   x-constant untouched"]


# --- another tracer ---


class Place(NamedTuple):
    probe: str
    offset: int  # in the file


def places_of(binary: Path, probe: str) -> list[Place]:
    """Returns the location of a probe of provider h2o, by readelf."""
    output = subprocess.run(["readelf", "-lnW", str(binary)], check=True, stdout=subprocess.PIPE, text=True).stdout
    loads = [[int(word, 16) for word in words] for words in re.findall(r"LOAD +(\w+) (\w+) \w+ (\w+)", output)]
    found = re.findall(rf"Provider: h2o\n\s+Name: {probe}\n\s+Location: (\w+),", output)
    return [
        Place(probe, int(location, 16) - address + offset)
        for location in found
        for offset, address, size in loads
        if address <= int(location, 16) < address + size
    ]


class PerfTracer:
    """Uprobes without a reference counter, as bcc's trace and perf record create them."""

    def __init__(self, binary: Path, places: list[Place]) -> None:
        self.fds, libc = [], ctypes.CDLL(None, use_errno=True)
        number = {"x86_64": 298, "aarch64": 241}[os.uname().machine]  # perf_event_open
        type_ = int(Path("/sys/bus/event_source/devices/uprobe/type").read_text())
        path = ctypes.create_string_buffer(os.fsencode(binary))
        for place in places:  # type, size, config, period, sample and read format, flags, wakeup, bp_type, config1 and 2
            packed = struct.pack("IIQQQQQIIQQ", type_, 72, 0, 0, 0, 0, 0, 0, 0, ctypes.addressof(path), place.offset)
            attributes = ctypes.create_string_buffer(packed)
            self.fds.append(libc.syscall(number, attributes, -1, 0, -1, 0))  # of all processes, on CPU 0
            assert self.fds[-1] >= 0, os.strerror(ctypes.get_errno())

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


class TracefsTracer:
    """The same, as perf probe and manual tracing create them. In a mount namespace with tracefs."""

    def __init__(self, binary: Path, places: list[Place], folder: Path) -> None:
        folder.mkdir()
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", 'mount -t tracefs none "$1" && echo && read line', "sh", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.holder.stdout is not None and self.holder.stdout.readline() == b"\n"
        self.tracefs = Path(f"/proc/{self.holder.pid}/root{folder}")
        self.names = [f"h2olog_test_{os.getpid()}_{nth}" for nth in range(len(places))]
        self.made: list[str] = []
        for name, place in zip(self.names, places):
            self.tell(f"p:{name}/{name} {binary}:{place.offset:#x}")
            self.made.append(name)
            self.enable(name, "1")

    def tell(self, line: str) -> None:
        fd = os.open(self.tracefs / "uprobe_events", os.O_WRONLY | os.O_APPEND)  # O_APPEND: keeps the list
        try:
            os.write(fd, f"{line}\n".encode())
        finally:
            os.close(fd)

    def enable(self, name: str, value: str) -> None:
        (self.tracefs / "events" / name / name / "enable").write_text(value)

    def close(self) -> None:
        for name in self.made:
            self.enable(name, "0")
            self.tell(f"-:{name}/{name}")
        self.holder.kill()
        self.holder.communicate()


@pytest.fixture
def other_tracer(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts another tracer: other_tracer(kind, binary, places)."""
    tracers: list[Any] = []

    def start(kind: str, binary: Path, places: list[Place]) -> None:
        binary = binary.resolve()
        tracers.append(PerfTracer(binary, places) if kind == "perf" else TracefsTracer(binary, places, tmp_path / "tracefs"))

    yield start
    for tracer in tracers:
        tracer.close()


REQUEST = """
h2o:receive_request conn_id=1 req_id=2 http_version=0x101
h2o:receive_request_header conn_id=1 req_id=2 name="a" name_len=1 value="b" value_len=1
h2o:send_response conn_id=1 req_id=2 status=200
"""


def told_held(places: list[Place]) -> list[str]:
    return sorted(
        f"h2olog: another tracer holds h2o:{place.probe} at {place.offset:#x}, so it is not traced; end that tracer and "
        "start again"
        for place in places
    )


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kind", ["perf", "tracefs"])
def test_location_of_another_tracer(
    serve: Serve, trace: Trace, other_tracer: Callable[..., Any], own_binary: Path, kind: str, program: str
) -> None:
    """It is named, and the other locations are traced."""
    server = serve(script=REQUEST, binary=own_binary)
    held = places_of(own_binary, "receive_request_header")
    assert len(held) > 1  # the stand-in has as many as h2o
    other_tracer(kind, own_binary, held)
    tracer = trace(server, program=program)
    server.play()
    assert tracer.stop() == 0
    assert tracer.lines() == ["1 2 RxProtocol HTTP/1.1", "1 2 TxStatus   200"]
    *sentences, attached = tracer.messages().splitlines()
    assert sorted(sentences) == told_held(held)
    assert " Attaching: " in attached and attached.endswith(": 3 probes attached")  # of 4


@pytest.mark.parametrize("program", PROGRAMS)
def test_one_location_among_many(
    serve: Serve, trace: Trace, other_tracer: Callable[..., Any], own_binary: Path, program: str
) -> None:
    """All other locations are traced, each once."""
    count = 3
    server = serve(script=REQUEST * count, binary=own_binary)
    held = places_of(own_binary, "receive_request")[:1]
    other_tracer("perf", own_binary, held)
    options = ["all", "-t", "h2o:*request*", "-t", "h2o:send_response*"]
    tracer = trace(server, *options, program=program)
    server.play()
    assert tracer.stop() == 0
    types = [json.loads(line)["type"] for line in tracer.lines()]
    both = {"receive-request-header", "send-response"}
    assert {type_: types.count(type_) for type_ in both} == dict.fromkeys(both, count)
    assert told_held(held)[0] in tracer.messages()


@pytest.mark.parametrize("program", PROGRAMS)
def test_all_locations_are_of_another_tracer(serve: Serve, other_tracer: Callable[..., Any], own_binary: Path, program: str) -> None:
    server = serve(binary=own_binary)
    other_tracer("perf", own_binary, places_of(own_binary, "send_response"))
    done = run("all", "-t", "h2o:send_response", "-p", str(server.pid), program=program)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "h2olog: another tracer holds all chosen probes: its uprobes have no reference counter; end that tracer and "
        "start again\n"
    )


@pytest.fixture
def own_binary(tmp_path: Path) -> Path:
    """A copy of the stand-in that nothing else traces: another tracer's uprobes are in all processes of a file."""
    return Path(shutil.copy(BUILD / "t" / "standin" / "standin-2026-06", tmp_path / "server"))


# --- signals while it starts ---


def name_and_log(attributes: bytes) -> tuple[str, bool]:
    """Returns the name of a program that is being loaded, and whether the verifier's log is wanted."""
    return attributes[48:64].rstrip(b"\0").decode(), struct.unpack_from("I", attributes, 24)[0] != 0


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("times", [1, 4])
def test_loading_is_tried_again(
    serve: Serve, trace: Trace, answer: Callable[..., Any], program: str, times: int
) -> None:
    """The kernel answers several times in a row that a signal interrupted the call."""
    seen: Counter[str] = Counter()

    def decide(attributes: bytes) -> int:
        name, _ = name_and_log(attributes)
        seen[name] += 1
        return errno.EAGAIN if name.startswith(("probe_", "dispatch")) and seen[name] <= times else 0

    server = serve(script=REQUEST)
    tracer = trace(server, program=program, before=answer(BPF, decide))
    server.play()
    assert tracer.stop() == 0
    assert tracer.lines() == ["1 2 RxProtocol HTTP/1.1", "1 2 RxHeader   a b", "1 2 TxStatus   200"]
    assert tracer.messages().count("\n") == 1
    assert seen["probe_0"] == times + 1


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EINVAL])
def test_program_of_the_second_load_is_used(
    serve: Serve, trace: Trace, answer: Callable[..., Any], error: int
) -> None:
    """The program that was loaded to get the verifier's reasons is used if the verifier accepts it."""
    refused: Counter[str] = Counter()

    def decide(attributes: bytes) -> int:
        name, has_log = name_and_log(attributes)
        refuses = name.startswith("probe_") and not has_log
        refused[name] += refuses
        return error if refuses else 0

    server = serve(script=REQUEST)
    tracer = trace(server, before=answer(BPF, decide))
    server.play()
    assert tracer.stop() == 0
    assert len(tracer.lines()) == 3 and tracer.messages().count("\n") == 1
    assert refused["probe_0"] > 0


def test_loading_is_given_up(serve: Serve, trace: Trace, answer: Callable[..., Any]) -> None:
    before = answer(BPF, lambda attributes: errno.EAGAIN if name_and_log(attributes)[0] == "probe_1" else 0)
    tracer = trace(serve(), attached=False, before=before)
    assert tracer.process.wait(PATIENCE) == 1
    assert tracer.messages() == (
        "h2olog: signals kept the kernel from loading the BPF programs, 40 times in a row; start again when nothing "
        "stops and resumes this process\n"
    )


def test_interrupted_event_is_opened_again(serve: Serve, trace: Trace, answer: Callable[..., Any]) -> None:
    calls = itertools.count()
    server = serve(script=REQUEST)
    before = answer(PERF_EVENT_OPEN, lambda _: errno.EINTR if next(calls) % 4 != 3 else 0)
    tracer = trace(server, program="h2olog-single", before=before)
    server.play()
    assert tracer.stop() == 0
    assert len(tracer.lines()) == 3 and tracer.messages().count("\n") == 1
    asked = next(calls)
    assert asked >= 4 * 8 and asked % 4 == 0  # each of four probes has two locations


@pytest.mark.parametrize("mode", ["http", "quic"])
def test_stopped_and_resumed_during_the_start(serve: Serve, trace: Trace, mode: str) -> None:
    """Stopped and resumed again and again, as by Ctrl-Z and fg, or docker pause."""
    server = serve(script=REQUEST + "quicly:free conn=1 at=now\n")
    for _ in range(3):
        tracer = trace(server, mode, attached=False)
        while tracer.process.poll() is None and " Attaching: " not in tracer.messages():
            tracer.process.send_signal(signal.SIGSTOP)
            tracer.process.send_signal(signal.SIGCONT)
            time.sleep(random.uniform(0, 0.002))
        assert tracer.process.poll() is None, tracer.messages()
        server.play()
        assert tracer.stop() == 0
        assert len(tracer.lines()) == (3 if mode == "http" else 1)


# --- pages of the server ---


def hanging_read() -> None:
    """For `before`: pread(2) of one byte, which maps pages of the server, never returns, because nothing answers
    seccomp."""
    numbers = {"x86_64": (17, 317), "aarch64": (67, 277)}[os.uname().machine]  # pread64, seccomp
    rules = [(0x20, 0, 0, 0), (0x15, 0, 3, numbers[0]), (0x20, 0, 0, 32), (0x15, 0, 1, 1)]  # its third argument
    rules += [(0x06, 0, 0, 0x7FC00000), (0x06, 0, 0, 0x7FFF0000)]  # SECCOMP_RET_USER_NOTIF, allow
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(filters)))
    listener = ctypes.CDLL(None).syscall(numbers[1], 1, 8, program)  # SECCOMP_FILTER_FLAG_NEW_LISTENER
    if listener < 0:
        raise OSError("seccomp")
    os.dup2(listener, 0)  # kept open as standard input: without a listener, the call would fail


def test_page_that_never_comes(serve: Serve, trace: Trace) -> None:
    """As on a file system that does not answer. The server is traced, and no process is left behind."""
    server = serve(script="h2o:send_response conn_id=1 req_id=2 status=200\n")
    tracer = trace(server, before=hanging_read)
    assert Path(f"/proc/{tracer.process.pid}/task/{tracer.process.pid}/children").read_text() == ""
    server.play()
    assert tracer.wait_lines(1) == ["1 2 TxStatus   200"]
    assert tracer.stop() == 0
