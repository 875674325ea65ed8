"""Shared by several end-to-end tests: scripts, enabled probes of a server, BPF objects, processes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import os
import re
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Set, Tuple, TypeVar

from conftest import BUILD, PATIENCE, PERF_EVENT_OPEN, SLOWNESS, Answer, Room, Server, Tracer, refusing, wait_until

Serve = Callable[..., Server]
Trace = Callable[..., Tracer]
Before = Callable[[], None]

PROGRAMS = ["h2olog", "h2olog-single"]

# A user who is neither root nor nobody.
STRANGER = 1234


# --- scripts ---


HTTP_PROBES = {"receive_request", "receive_request_header", "send_response", "send_response_header"}

# 300 lines at once: more than a quiet server gives per round, less than what wakes the reader.
COUNT = 300
SCRIPT = f"repeat {COUNT}\nh2o:send_response conn_id=1 req_id=# status=200\nend\n"
LINES = [f"1 {number} TxStatus   200" for number in range(COUNT)]


def endless(rate: int) -> str:
    return f"rate {rate}\nrepeat 100000000\nh2o:send_response conn_id=1 req_id=# status=200\nend\n"


ESCAPES = [chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\x{byte:02x}" for byte in range(256)]


def quote(content: bytes) -> str:
    """Returns bytes as an argument in a script of the stand-in."""
    return '"' + "".join(map(ESCAPES.__getitem__, content)) + '"'


def header(name: bytes, value: bytes, probe: str = "send_response_header") -> str:
    """Returns a line of a script that fires a header of the request 2 of the connection 1."""
    return header_line(probe, 1, 2, name, value)


def header_line(probe: str, conn: object, req: object, name: bytes, value: bytes) -> str:
    """Returns a line of a script that fires a header."""
    return (
        f"h2o:{probe} conn_id={conn} req_id={req} name={quote(name)} name_len={len(name)} "
        f"value={quote(value)} value_len={len(value)}\n"
    )


def check_played(server: Server, count: int = COUNT) -> None:
    assert server.play() == (count, 0)


# --- changes in a server, and objects of a tracer in the kernel ---


class Memory:
    """The code and the semaphores of a running server in its memory."""

    def __init__(self, server: Server) -> None:
        self.pid = server.pid
        path = os.path.realpath(server.binary)
        maps = [line.split(maxsplit=5) for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines()]
        mapped = [(*parse_range(line[0]), line[1], int(line[2], 16)) for line in maps if line[5:] == [path]]
        self.code = [(begin, end) for begin, end, mode, _ in mapped if "x" in mode]
        is_fixed = server.binary.read_bytes()[16:18] == struct.pack("H", 2)  # ET_EXEC
        base = 0 if is_fixed else min(begin for begin, _, _, offset in mapped if offset == 0)
        self.semaphores = {name: base + address for name, address in read_notes(server.binary).items()}
        assert self.code and len(self.semaphores) > 30

    def read(self, begin: int, size: int) -> bytes:
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(begin)
            return memory.read(size)

    def switched_on(self) -> set[str]:
        """Returns the probes whose semaphore is not 0, read at once."""
        begin = min(self.semaphores.values())
        found = self.read(begin, max(self.semaphores.values()) - begin + 2)
        return {
            name for name, address in self.semaphores.items() if found[address - begin : address - begin + 2] != b"\0\0"
        }

    def read_code(self) -> list[bytes]:
        return [self.read(begin, end - begin) for begin, end in self.code]


def parse_range(text: str) -> tuple[int, int]:
    begin, end = text.split("-")
    return int(begin, 16), int(end, 16)


def read_notes(binary: Path) -> dict[str, int]:
    """Returns the addresses of the semaphores, by readelf."""
    notes = subprocess.run(["readelf", "-n", str(binary)], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = re.findall(r"Provider: (\w+)\n\s+Name: (\w+)\n\s+Location: \w+, Base: \w+, Semaphore: (\w+)\n", notes)
    return {name if provider == "h2o" else f"{provider}:{name}": int(address, 16) for provider, name, address in found}


Objects = Set[Tuple[str, int]]


def objects_of(pid: int) -> Objects:
    """Returns the BPF objects of a process."""
    return {
        (kind, int(number))
        for info in Path(f"/proc/{pid}/fdinfo").iterdir()
        for kind, number in re.findall(r"^(prog_id|map_id|link_id):\t(\d+)$", info.read_text(), re.M)
    }


def alive(objects: Objects) -> Objects:
    """Returns those of the objects that still exist. Does not open them: on Linux 6.18, a program array that is opened
    while it is being cleared is never freed."""
    libc, number = ctypes.CDLL(None, use_errno=True), {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    get_next_id = {"prog_id": 11, "map_id": 12, "link_id": 31}  # BPF_PROG_GET_NEXT_ID and so on
    found = set()
    for kind, identity in objects:
        attributes = ctypes.create_string_buffer(struct.pack("III", identity - 1, 0, 0), 12)
        if libc.syscall(number, get_next_id[kind], attributes, 12) == 0:
            if struct.unpack_from("II", attributes.raw)[1] == identity:
                found.add((kind, identity))
        else:
            assert ctypes.get_errno() == errno.ENOENT
    return found


# --- processes ---


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "tT"


def stopped(process: subprocess.Popen[bytes], play: Callable[[], object]) -> None:
    """Does something while the tracer is stopped."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(process.pid), "the tracer to stop")
    play()
    process.send_signal(signal.SIGCONT)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def anonymous_kib(pid: int) -> int:
    match = re.search(r"^RssAnon:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert match is not None
    return int(match.group(1))


def status_of(task: Path) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)


def prints(pid: int) -> bool:
    """Whether an h2olog that root started without -r prints events. Enabled probes are not enough: the gate opens a
    little later, and root is given up then."""
    return status_of(Path(f"/proc/{pid}"))["Uid"].split()[0] != "0"


def become_nobody() -> None:
    """For `before`."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def without(*capabilities: int) -> Callable[[], None]:
    """For `before`: drops capabilities of root."""

    def drop() -> None:
        for capability in capabilities:
            if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) != 0:  # PR_CAPBSET_DROP
                raise OSError("PR_CAPBSET_DROP")

    return drop


# --- stages of a start ---


# Stages of the start of h2olog. Only h2olog-single has the last one, because it creates uprobes one by one.
STAGES = ["compiling", "loading", "attaching"]
STARTS = [("h2olog", "compiling"), ("h2olog", "loading"), ("h2olog-single", "compiling")]
STARTS += [("h2olog-single", "loading"), ("h2olog-single", "attaching")]


def slow_at(stage: str, answer: Answer) -> Before | None:
    """For `before`, with the fixture `answer`: makes attaching slow enough to be stopped after two uprobes."""
    calls = itertools.count()

    def decide(_: bytes) -> int:
        if next(calls) == 2:
            time.sleep(1 * SLOWNESS)
        return 0

    return answer(PERF_EVENT_OPEN, decide) if stage == "attaching" else None


def stage_of(pid: int, memory: Memory) -> int:
    """Returns the stage of a start by the objects that it has: an index of STAGES; -1: before the first one; 3: all
    probes of a server that nothing else traces are enabled."""
    on = memory.switched_on()
    if on != set():
        return STAGES.index("attaching") if on < HTTP_PROBES else len(STAGES)
    try:
        kinds = {kind for kind, _ in objects_of(pid)}
        takes_signals = any(os.readlink(fd).endswith("[signalfd]") for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # a descriptor was closed meanwhile
        return -1
    if "prog_id" in kinds:
        return STAGES.index("loading")
    return STAGES.index("compiling") if "map_id" in kinds and takes_signals else -1


def stop_at(process: subprocess.Popen[Any], memory: Memory, stage: str) -> bool:
    """Stops a start at a stage. Returns whether that worked: the process may be faster."""
    wanted = STAGES.index(stage)
    while process.poll() is None and stage_of(process.pid, memory) < wanted:
        pass
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: process.poll() is not None or is_stopped(process.pid), "the start to stop")
    return process.poll() is None and stage_of(process.pid, memory) == wanted


Process = TypeVar("Process", bound="subprocess.Popen[Any]")


def start_until(stage: str, memory: Memory, start: Callable[[], Process]) -> Process:
    """Starts h2olog again and again until one start could be stopped at a stage. Returns that one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        process = start()
        if stop_at(process, memory, stage):
            return process
        process.kill()
        process.communicate()
        wait_until(lambda: memory.switched_on() == set(), "the probes to be disabled")
        assert time.monotonic() < deadline, f"no start could be stopped while {stage}"


# --- command lines of README ---


def recipes(section: str) -> list[list[str]]:
    """The command lines of a section of README, by code block. One goes on within quotes, and behind | or \\."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    text = re.split(r"^## ", readme, flags=re.M)
    (chosen,) = (part for part in text if part.startswith(section + "\n"))
    blocks = []
    for block in re.findall(r"^```\n(.*?)^```$", chosen, re.M | re.S):
        commands = [""]
        for line in block.splitlines(keepends=True):
            commands[-1] += line
            code = re.sub(r"\s+#.*", "", re.sub(r"'[^']*'", "", commands[-1].rstrip()))
            if "'" not in code and not code.endswith(("|", "\\")):
                commands.append("")
        blocks.append([command for command in commands if command != ""])
    return blocks


def run_recipe(
    command: str, server: Server, folder: Path, traffic: Callable[[], object]
) -> subprocess.CompletedProcess[str]:
    """
    Runs a command line with at most one h2olog, as it stands there, by bash in `folder`, for this server. Once h2olog
    prints, `traffic` runs. Then h2olog is ended as by Ctrl-C, if it has not ended by itself.
    """
    programs, file = folder / "bin", folder / "h2olog.pid"
    programs.mkdir(exist_ok=True)
    (programs / "sudo").write_text(f'#!/bin/sh\necho $$ >"{file}"\nexec "$@" -p {server.pid}\n')
    (programs / "sudo").chmod(0o755)
    if not (programs / "h2olog").exists():
        (programs / "h2olog").symlink_to(BUILD / "h2olog")
        for program in ("quicplot", "h2olog2qlog"):
            (programs / program).symlink_to(Path(__file__).parents[2] / "misc" / program)
    file.unlink(missing_ok=True)
    shell = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip

    def is_ready() -> bool:
        """Whether h2olog prints, or the shell has ended."""
        try:
            return prints(int(file.read_text())) or shell.poll() is not None
        except (OSError, ValueError):  # it has not begun, or has ended already
            return shell.poll() is not None

    try:
        if "sudo h2olog" in command:
            wait_until(is_ready, "h2olog to print")
            traffic()
            if shell.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(file.read_text()), signal.SIGINT)
        out, err = shell.communicate(timeout=PATIENCE)
    finally:
        shell.kill()
        shell.wait()
    return subprocess.CompletedProcess(command, shell.returncode, out, err)


# --- if the kernel refuses a file system in memory ---


# As in a container: the kernel refuses mounts.
NO_MOUNTS = refusing("fsopen", errno.EPERM)


def folders_of(room: Room, pid: int) -> list[Path]:
    return [path for path in room.left() if path.name.startswith(f"h2olog.{pid}.")]


# --- a supervisor ---


# h2o's own supervisor is a Perl script of this name. This one starts a server for each SIGHUP, and ends all with SIGTERM;
# if its first argument is "restart", it starts the newest anew when that has ended.
START_SERVER = """
my ($policy, @command) = @ARGV;
my ($newest, %servers);
sub start {
    $ENV{SERVER_STARTER_GENERATION}++;
    $newest = fork;
    exec { $command[0] } @command if $newest == 0;
    $servers{$newest} = 1;
}
$SIG{HUP} = \\&start;
$SIG{TERM} = sub { kill 'TERM', keys %servers; exit 0 };
start();
while (1) {
    my $ended = wait;
    select undef, undef, undef, 0.01 if $ended < 0;
    delete $servers{$ended};
    start() if $ended == $newest && $policy eq 'restart';
}
"""
