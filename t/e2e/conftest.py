"""The base of the end-to-end tests: the stand-in server, the tracer, and scripts for the stand-in.

support.py has what several test files use beyond that.

Every test starts its own server on a port that the kernel chooses, and ends what it started, so tests can run at the
same time. On a machine that cannot do BPF, the tests fail with the message of h2olog.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import surroundings  # noqa: E402
from surroundings import PidNamespace, children_of  # noqa: E402, F401

surroundings.settle()

pytest.register_assert_rewrite("support", "exchanges")

BUILD = Path(os.environ.get("H2OLOG_BUILD_DIR", Path(__file__).parents[2] / "build"))
DATA = Path(__file__).parents[1] / "data"

# The versions of the stand-in, and the dates on which h2o had their probes.
VERSIONS = {"2020-06": "2020-06-04", "2026-06": "2026-06-20"}

# How many times slower the machine is than others; for example, an emulated one. Deadlines and pauses are so many times
# longer, and rates of servers so many times lower.
SLOWNESS = int(os.environ.get("H2OLOG_SLOWNESS", "1"))

# Even on a busy machine, nothing takes this long. What takes longer hangs.
PATIENCE = 30.0 * SLOWNESS


# Since Linux 6.10, h2olog attaches all probes with one link. h2olog-single does on every kernel what h2olog does on
# older kernels.
KERNEL = tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])
HAS_LINKS = KERNEL >= (6, 10)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests that do not apply to this kernel, with the reason; t/matrix counts them separately."""
    for item in items:
        values = getattr(item, "callspec", None)
        if not HAS_LINKS and values is not None and values.params.get("program") == "h2olog-single":
            item.add_marker(pytest.mark.skip(reason="not applicable: on this kernel, h2olog is h2olog-single"))


class Probe(NamedTuple):
    """A probe in t/data/probes.json, which was made from h2o's history."""

    provider: str
    name: str
    arguments: tuple[tuple[str, str], ...]  # type and name

    @property
    def full_name(self) -> str:
        return f"{self.provider}:{self.name}"


def probes_of(version: str) -> list[Probe]:
    """Returns the probes of a version of the stand-in."""
    date, facts = VERSIONS[version], json.loads((DATA / "probes.json").read_text(encoding="utf-8"))
    return [
        Probe(p["provider"], p["probe"], tuple((type_, name) for type_, name in p["args"]))
        for p in facts["probes"]
        if p["from"] <= date and (p["until"] is None or date < p["until"])
    ]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition that will soon be true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01 * SLOWNESS)


# How often a promised time is measured before the test fails: other processes can use the machine meanwhile.
TRIES = 10


def soon_enough(measure: Callable[[], float], limit: float) -> None:
    """Checks that one of several measurements is within the limit.
    If the program itself is too slow, all are too long."""
    took: list[float] = []
    while not took or took[-1] > limit:
        assert len(took) < TRIES, took
        took.append(measure())


def slowed(script: str) -> str:
    """Returns a script of the stand-in with rates that this machine can reach."""
    return re.sub(r"^rate (\d+)$", lambda match: f"rate {max(1, int(match.group(1)) // SLOWNESS)}", script, flags=re.M)


class Server:
    """A stand-in server (t/standin/README.md)."""

    def __init__(
        self, version: str, threads: int = 1, script: Path | None = None, binary: Path | None = None,
        started: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        self.binary = binary or BUILD / "t" / "standin" / f"standin-{version}"
        command = [str(self.binary), "-t", str(threads)]
        if script is not None:
            command += ["--script", str(script)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if started is not None:
            started(self.process.pid)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+) pid (\d+) threads \d+\n", line)
        assert match is not None, f"the stand-in said: {line!r}"
        self.port, self.pid = int(match.group(1)), int(match.group(2))
        self.url = f"http://127.0.0.1:{self.port}"

    def curl(self, *arguments: str) -> str:
        """Runs curl; arguments that begin with '/' are paths on this server."""
        words = [self.url + word if word.startswith("/") else word for word in arguments]
        return subprocess.run(
            ["curl", "--silent", "--show-error", "--max-time", str(PATIENCE), *words],
            check=True, stdout=subprocess.PIPE, text=True, errors="surrogateescape",
        ).stdout  # fmt: skip

    def start_playing(self) -> None:
        self.process.send_signal(signal.SIGUSR1)

    def wait_played(self) -> tuple[int, int]:
        """Plays the script. Returns how many events were fired, and how many were skipped because the probe was not
        enabled."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.fullmatch(r"played (\d+) events, (\d+) not enabled, in [\d.]+ s\n", line)
        assert match is not None, f"the stand-in said: {line!r}"
        return int(match.group(1)), int(match.group(2))

    def play(self) -> tuple[int, int]:
        self.start_playing()
        return self.wait_played()

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(PATIENCE)


class Tracer:
    """A running h2olog. Its output goes to files, which do not slow it down, or to the descriptor `stdout`."""

    def __init__(
        self, folder: Path, *arguments: str, program: str = "h2olog", attached: bool = True,
        stdout: int | None = None, before: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [str(BUILD / program), *arguments], stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout, stderr=err, preexec_fn=before,
            )  # fmt: skip
        if attached:
            self.wait_attached()

    def wait_attached(self) -> None:
        wait_until(lambda: b" Attaching: " in self.err.read_bytes() or self.process.poll() is not None, "attaching")
        assert self.process.poll() is None, f"h2olog ended: {self.err.read_text(errors='replace')}"

    def lines(self) -> list[str]:
        """Returns the complete lines. Only a newline ends a line: str.splitlines() would also split at characters in
        headers."""
        return self.out.read_bytes().decode("utf-8").split("\n")[:-1]

    def wait_lines(self, count: int) -> list[str]:
        wait_until(lambda: self.out.read_bytes().count(b"\n") >= count, f"{count} lines; there is {self.lines()}")
        return self.lines()

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ends it like Ctrl-C. Returns its status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def messages(self) -> str:
        """Returns its messages, without the reports every 10 s of no losses, which only slow machines print."""
        said = self.err.read_text(encoding="utf-8")
        return said if SLOWNESS == 1 else re.sub(r"^\S+Z [\d.]+ events/s, 0 lost\n", "", said, flags=re.M)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seeds the module random, which tests use to choose moments. A failed test shows its seed; H2OLOG_SEED=N repeats
    it."""
    random.seed(surroundings.make_dice().random())


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers: serve("2026-06", threads=2, script="quicly:free conn=1"). `script` can be a function that makes
    the script from the PID."""
    servers: list[Server] = []

    def start(
        version: str = "2026-06", threads: int = 1, script: str | Callable[[int], str] | None = None,
        binary: Path | None = None,
    ) -> Server:  # fmt: skip
        file = started = None
        if isinstance(script, str):
            file = tmp_path / f"script-{len(servers)}"
            file.write_text(slowed(script), encoding="utf-8")
        elif script is not None:
            file = tmp_path / f"script-{len(servers)}"
            os.mkfifo(file)

            def started(pid: int) -> None:
                with file.open("w", encoding="utf-8") as fifo:  # removed when the server has opened it, too
                    fifo.write(slowed(script(pid)))

        servers.append(Server(version, threads, file, binary, started))
        return servers[-1]

    yield start
    for server in servers:
        server.stop(signal.SIGKILL)


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Callable[..., Tracer]]:
    """Starts tracers: trace(server, "quic", "-a"). They run with -d, which reports when they are attached."""
    tracers: list[Tracer] = []

    def start(
        server: Server, *arguments: str, program: str = "h2olog", attached: bool = True,
        stdout: int | None = None, before: Callable[[], None] | None = None,
    ) -> Tracer:  # fmt: skip
        folder = tmp_path / f"tracer-{len(tracers)}"
        folder.mkdir()
        words = [*arguments, "-d", "-p", str(server.pid)]
        tracers.append(Tracer(folder, *words, program=program, attached=attached, stdout=stdout, before=before))
        return tracers[-1]

    yield start
    for tracer in tracers:
        tracer.stop(signal.SIGKILL)


@pytest.fixture
def pids() -> Iterator[PidNamespace]:
    """A PID namespace, which has only the processes that are started in it."""
    made = PidNamespace()
    yield made
    made.close()


class Room:
    """A mount namespace with empty folders for temporary files, where no other process writes."""

    FOLDERS = ["/tmp", "/run", "/dev/shm", "/var/tmp"]

    def __init__(self) -> None:
        mounts = " && ".join(f"mount -t tmpfs none {folder}" for folder in self.FOLDERS)
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f"{mounts} && echo && read line"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.holder.stdout is not None and self.holder.stdout.readline() == b"\n"
        self.before = set(self.paths())  # mount(8) leaves a file there

    def start(
        self, program: str, *arguments: str, before: Callable[[], None] | None = None,
        stderr: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """Starts h2olog in it. Passes its binary as a descriptor, because its path may be in /tmp."""
        binary = os.open(BUILD / program, os.O_RDONLY)
        try:
            return subprocess.Popen(
                ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", f"/proc/self/fd/{binary}", *arguments],
                pass_fds=[binary], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                preexec_fn=before,
            )  # fmt: skip
        finally:
            os.close(binary)

    def paths(self) -> Iterator[Path]:
        for folder in self.FOLDERS:
            yield from Path(f"/proc/{self.holder.pid}/root{folder}").rglob("*")

    def left(self) -> list[Path]:
        """Returns the files in these folders that were not there at first."""
        return [path for path in self.paths() if path not in self.before]

    def close(self) -> None:
        self.holder.kill()
        self.holder.communicate()


@pytest.fixture
def room() -> Iterator[Room]:
    opened = Room()
    yield opened
    opened.close()


@pytest.fixture
def anywhere() -> Iterator[Path]:
    """Copies the program to a folder that every user can enter."""
    with tempfile.TemporaryDirectory(prefix="e2e-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        for program in ("h2olog", "h2olog-single"):
            shutil.copy(BUILD / program, folder)
        yield Path(folder)


def mount_apart(kind: str, **options: str) -> int:
    """Makes a file system that is not mounted, and that ends with its descriptor. Its root is /proc/PID/fd/N."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int, *arguments: Any) -> int:
        result: int = libc.syscall(number, *arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), f"system call {number}, for {kind}")
        return result

    fsopen, fsconfig, fsmount, set_string, create, close_on_exec = 430, 431, 432, 1, 6, 1
    context = call(fsopen, kind.encode(), close_on_exec)
    try:
        for name, value in options.items():
            call(fsconfig, context, set_string, name.encode(), value.encode(), 0)
        call(fsconfig, context, create, None, None, 0)
        return call(fsmount, context, close_on_exec, 0)
    finally:
        os.close(context)


@lru_cache(maxsize=None)
def uprobe_events() -> Path:
    """Returns the kernel's list of uprobes.
    Mounts tracefs only for itself, because a new machine has not mounted it."""
    for folder in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        if Path(folder, "uprobe_events").exists():
            return Path(folder, "uprobe_events")
    events = Path(f"/proc/{os.getpid()}/fd/{mount_apart('tracefs')}/uprobe_events")
    assert events.exists()
    return events


def change_uprobe_events(line: str) -> None:
    fd = os.open(uprobe_events(), os.O_WRONLY | os.O_APPEND)  # O_APPEND: keeps the list
    try:
        os.write(fd, line.encode() + b"\n")
    finally:
        os.close(fd)


def take_uprobe_events(server: Server) -> list[str]:
    """Returns the entries for a server in the kernel's list of uprobes, which remain when their creator ends. Removes
    them."""
    left = [line for line in uprobe_events().read_text().splitlines() if f" /proc/{server.pid}/exe:" in line]
    for line in left:
        change_uprobe_events(f"-:{line.split()[0].partition(':')[2]}")
    return left


def run(
    *arguments: str, program: str = "h2olog", before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs h2olog, and waits for its end. `before` runs in its process."""
    return subprocess.run(
        [str(BUILD / program), *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, preexec_fn=before,
    )  # fmt: skip


def refusing(call: str, error: int, command: int | None = None) -> Callable[[], None]:
    """For `before`: makes the kernel refuse a system call (with `command` as the first argument), by seccomp."""
    numbers = {
        "x86_64": {
            "bpf": 321, "perf_event_open": 298, "fsopen": 430, "pidfd_open": 434, "close": 3, "fchown": 93, "poll": 7,
        },
        "aarch64": {  # this architecture has only ppoll(2)
            "bpf": 280, "perf_event_open": 241, "fsopen": 430, "pidfd_open": 434, "close": 57, "fchown": 55, "poll": 73,
        },
    }[os.uname().machine]  # fmt: skip
    rules = [(0x20, 0, 0, 0), (0x15, 0, 3 if command is not None else 1, numbers[call])]  # load its number; equal?
    if command is not None:
        rules += [(0x20, 0, 0, 16), (0x15, 0, 1, command)]  # load its first argument; equal?
    rules += [(0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000)]  # return: errno, allow

    def install() -> None:
        filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
        program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(filters)))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(22, 2, program, 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
            raise OSError(ctypes.get_errno(), "seccomp")

    return install


def refusing_uprobes(program: str, error: int) -> Callable[[], None]:
    """The same for the system calls that attach."""
    if program == "h2olog" and HAS_LINKS:
        return refusing("bpf", error, 28)  # BPF_LINK_CREATE
    return refusing("perf_event_open", error)


# --- answers of the kernel, one by one ---


Decide = Callable[[bytes], int]
Answer = Callable[[int, Decide], Callable[[], None]]

BPF, PERF_EVENT_OPEN = {"x86_64": (321, 298), "aarch64": (280, 241)}[os.uname().machine]
PROG_LOAD = 5  # BPF_PROG_LOAD


class Answers:
    """Answers system calls of a process instead of the kernel. seccomp passes each call to decide(the first 128 bytes
    of its attributes), which returns an error number, or 0 to allow the call."""

    NEW_LISTENER, RECEIVE, SEND = 8, 0xC0502100, 0xC0182101  # SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_IOCTL_NOTIF_*
    SECCOMP = {"x86_64": 317, "aarch64": 277}[os.uname().machine]

    def __init__(self, call: int, decide: Decide) -> None:
        self.call, self.decide = call, decide
        self.ours, self.theirs = socket.socketpair()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.answer)
        self.thread.start()

    def install(self) -> None:
        """Runs in the process before it becomes h2olog."""
        command = [] if self.call == PERF_EVENT_OPEN else [(0x20, 0, 0, 16), (0x15, 0, 1, PROG_LOAD)]
        rules = [(0x20, 0, 0, 0), (0x15, 0, 1 + len(command), self.call), *command]  # load its number; equal?
        rules += [(0x06, 0, 0, 0x7FC00000), (0x06, 0, 0, 0x7FFF0000)]  # return: SECCOMP_RET_USER_NOTIF, _ALLOW
        filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
        program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(filters)))
        libc = ctypes.CDLL(None, use_errno=True)
        listener = libc.syscall(self.SECCOMP, 1, self.NEW_LISTENER, program)  # SECCOMP_SET_MODE_FILTER
        if listener < 0:
            raise OSError(ctypes.get_errno(), "seccomp")
        socket.send_fds(self.theirs, [b" "], [listener])

    def answer(self) -> None:
        _, (listener,), _, _ = socket.recv_fds(self.ours, 1, 1)
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while not self.ended.is_set():
            if any(event & select.POLLIN for _, event in poll.poll(50)):
                self.answer_one(listener)
        os.close(listener)

    def answer_one(self, listener: int) -> None:
        notification, pid_at, argument_at = bytearray(80), 8, 16 + 16
        try:
            fcntl.ioctl(listener, self.RECEIVE, notification)
            (identity,), (pid,) = struct.unpack_from("Q", notification), struct.unpack_from("I", notification, pid_at)
            attributes = struct.unpack_from("Q", notification, argument_at + (8 if self.call == BPF else 0))[0]
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
                memory.seek(attributes)
                error = self.decide(memory.read(128))
            answer = struct.pack("QqiI", identity, 0, -error, 0 if error else 1)  # ..._USER_NOTIF_FLAG_CONTINUE
            fcntl.ioctl(listener, self.SEND, answer)
        except OSError as problem:  # the process has ended, or a signal interrupted the call
            assert problem.errno in (errno.ENOENT, errno.ESRCH), problem

    def close(self) -> None:
        self.ended.set()
        self.theirs.close()
        self.thread.join(PATIENCE)
        self.ours.close()


@pytest.fixture
def answer() -> Iterator[Answer]:
    """For `before`: answer(BPF, decide)."""
    opened: list[Answers] = []

    def start(call: int, decide: Decide) -> Callable[[], None]:
        opened.append(Answers(call, decide))
        return opened[-1].install

    yield start
    for answers in opened:
        answers.close()
