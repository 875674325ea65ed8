"""A real fault each: nothing is lost that could be kept, a sentence says what happened, nothing remains.

What comes from ending, on either side, is in test_life.py; what comes from a reader that is slow, in test_losses.py;
refusals of the kernel that are the same for whoever starts it, in test_errors.py.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import random
import re
import resource
import shutil
import signal
import stat
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, Iterator

import pytest
from conftest import (
    BUILD, HAS_LINKS, KERNEL, PATIENCE, SLOWNESS, Server, Tracer, change_uprobe_events, mount_apart, refusing,
    refusing_uprobes, run, take_uprobe_events, uprobe_events, wait_until,
)  # fmt: skip
from test_life import (  # noqa: F401 (a fixture)
    COUNT, HTTP_PROBES, LINES, SCRIPT, Memory, Objects, Room, alive, objects_of, room,
)  # fmt: skip
from test_losses import stopped

Serve = Callable[..., Server]
Trace = Callable[..., Tracer]
Before = Callable[[], None]

PROGRAMS = ["h2olog", "h2olog-single"]

# Somebody who is neither root nor nobody.
STRANGER = 1234

# How often a server is attached and left; the goal is a thousand.
ROUNDS = int(os.environ.get("H2OLOG_ROUNDS", "30"))


def endless(rate: int) -> str:
    return f"rate {rate}\nrepeat 100000000\nh2o:send_response conn_id=1 req_id=# status=200\nend\n"


def check_played(server: Server, count: int) -> None:
    assert server.play() == (count, 0)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end_of(tracer: Tracer) -> tuple[int, float]:
    """Waits for the end: the status, and the seconds of CPU that it took in all."""
    wait_until(lambda: os.waitid(os.P_PID, tracer.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None, "end")
    _, status, used = os.wait4(tracer.process.pid, 0)
    tracer.process.returncode = os.waitstatus_to_exitcode(status)
    return tracer.process.returncode, used.ru_utime + used.ru_stime


# --- the disk is full ---


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A file system in memory of so much, that is mounted nowhere and ends with its descriptor."""
    root = mount_apart("tmpfs", size=size)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{root}")
    finally:
        os.close(root)


def told_lost(tracer: Tracer, name: Path, reason: str) -> int:
    """How many lines h2olog says it could not write; besides that it says that it attached, and no more."""
    _, sentence = tracer.messages().splitlines()
    match = re.fullmatch(
        rf"h2olog: cannot write {re.escape(str(name))}: {reason}; (\d+) lines lost", sentence
    )
    assert match is not None, sentence
    return int(match.group(1))


@pytest.mark.parametrize("program", PROGRAMS)
def test_full_disk_to_the_line(serve: Serve, trace: Trace, program: str) -> None:
    """Each line of what was fired while h2olog stood still is in the file, or counted."""
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
    assert len(content) == size  # as much as there is room for
    lines = content.split("\n")[:-1]
    assert lines == [f"1 {number} TxStatus   200" for number in range(len(lines))]
    assert len(lines) + told_lost(tracer, disk / "out", "No space left on device") == count
    assert tracer.lines() == []
    assert memory.switched_on() == set()
    assert server.play() == (0, count)


def test_full_disk_in_mid_traffic(serve: Serve, trace: Trace) -> None:
    """It ends as soon as the disk is full, and does not go on to count what nobody sees."""
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


# --- nobody reads, and nobody will ---


BURST = "repeat 200000\nh2o:send_response conn_id=1 req_id=# status=200\nend\n"


def test_terminal_that_nobody_reads(serve: Serve, trace: Trace) -> None:
    """A hung ssh, say: h2olog can be ended all the same."""
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
    """The same of stderr, on a pipe that is full."""
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
        wait_until(lambda: memory.switched_on() == HTTP_PROBES, "attaching")
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
    """A file does not get their numbers, and with them what is said."""
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


def hanging_read() -> None:
    """For `before`: pread(2) of a byte, by which pages of the server are mapped, never returns: nobody answers."""
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
    """As of a file system that does not answer. The server is traced all the same, and no process is left."""
    server = serve(script="h2o:send_response conn_id=1 req_id=2 status=200\n")
    tracer = trace(server, before=hanging_read)
    assert Path(f"/proc/{tracer.process.pid}/task/{tracer.process.pid}/children").read_text() == ""
    server.play()
    assert tracer.wait_lines(1) == ["1 2 TxStatus   200"]
    assert tracer.stop() == 0


# --- h2olog is killed ---


def test_objects_are_known(serve: Serve, trace: Trace) -> None:
    """What the tests below rely on."""
    tracer = trace(serve())
    held = objects_of(tracer.process.pid)
    kinds = {"prog_id", "map_id", "link_id"} if HAS_LINKS else {"prog_id", "map_id"}
    assert {kind for kind, _ in held} == kinds and len(held) > 8
    assert alive(held) == held
    assert tracer.stop() == 0
    wait_until(lambda: alive(held) == set(), "its BPF objects to go")


def test_killed_at_any_moment(serve: Serve, room: Room) -> None:  # noqa: F811
    """Also while it attaches to all probes that there are, with traffic on them; nothing remains."""
    server = serve(script=endless(20_000))
    memory = Memory(server)
    code = memory.read_code()
    server.start_playing()
    took, stages = {}, set()
    for nth in range(-2, 25):
        program, mode = ("h2olog-single", "http") if nth > 0 and nth % 8 == 0 else ("h2olog", ("http", "quic")[nth % 2])
        held, start = set(), time.monotonic()
        process = room.start(program, mode, "-p", str(server.pid))
        if nth < 0:
            wait_until(lambda: len(memory.switched_on()) >= len(HTTP_PROBES), "attaching")
            took[mode] = time.monotonic() - start
        else:
            time.sleep(random.uniform(0, 1.3 * took[mode]))
        if nth % 3 != 0:  # what it holds at that moment is looked at, before
            process.send_signal(signal.SIGSTOP)
            where = Path(f"/proc/{process.pid}/stat")
            wait_until(lambda: where.read_text().rpartition(") ")[2][0] == "T", "h2olog to stop")  # noqa: B023
            held = objects_of(process.pid)
            stages.add((len(held) > 0, len(memory.switched_on()) > 0))
        process.kill()
        process.wait(PATIENCE)
        wait_until(lambda: memory.switched_on() == set() and memory.read_code() == code, "the kernel to switch off")
        wait_until(lambda: alive(held) == set(), "its BPF objects to go")  # noqa: B023
        assert room.left() == []
    assert len(stages) > 1, "all kills met it at the same moment"
    assert server.curl("/") == "Hello, world\n"


# --- where there is no file system that nobody sees, and h2olog writes its headers into a folder ---


# As in a container: what the kernel says to one who may not mount.
NO_MOUNTS = refusing("fsopen", errno.EPERM)


def folders_of(room: Room, pid: int) -> list[Path]:  # noqa: F811
    return [path for path in room.left() if path.name.startswith(f"h2olog.{pid}.")]


def start_until_folder(room: Room, server: Server, number: int) -> tuple[subprocess.Popen[bytes], Path]:  # noqa: F811
    """Starts h2olog; when its folder is there, it gets a signal."""
    process = room.start("h2olog", "quic", "-p", str(server.pid), before=NO_MOUNTS)
    deadline = time.monotonic() + PATIENCE
    while not any((folder / "include").exists() for folder in folders_of(room, process.pid)):  # then it is locked
        assert process.poll() is None and time.monotonic() < deadline
    process.send_signal(number)
    (folder,) = folders_of(room, process.pid)
    return process, folder


def test_folder_of_a_killed_run(serve: Serve, room: Room) -> None:  # noqa: F811
    """The next start clears it. One of a process that lives stays, and what is not h2olog's own stays, too."""
    server = serve()
    memory = Memory(server)
    living, in_use = start_until_folder(room, server, signal.SIGSTOP)
    killed, stale = start_until_folder(room, server, signal.SIGKILL)
    killed.wait(PATIENCE)
    assert stale.is_dir() and stale.stat().st_mode == stat.S_IFDIR | 0o700 and stale.stat().st_uid == 0
    kept = plant(stale.parent, killed.pid)
    process = room.start("h2olog", "-p", str(server.pid), before=NO_MOUNTS)
    wait_until(lambda: memory.switched_on() == HTTP_PROBES, "attaching")
    assert not stale.exists() and not folders_of(room, process.pid)
    assert in_use.is_dir()
    for path, content in kept.items():
        assert path.is_symlink() if content is None else path.read_text() == content
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    living.send_signal(signal.SIGCONT)  # it is none the worse
    wait_until(lambda: len(memory.switched_on()) > 80, "attaching")
    assert not in_use.exists()
    living.send_signal(signal.SIGINT)
    assert living.wait(PATIENCE) == 0


def plant(parent: Path, dead: int) -> dict[Path, str | None]:
    """What looks like the folder of a killed run, but is none; what is in the files."""
    others, link, precious = (parent / name for name in (f"h2olog.{dead}.other1", f"h2olog.{dead}.a_link", "precious"))
    files: dict[Path, str | None] = {}
    for folder in (others, precious, parent / f"h2olog.{dead}.theirs", parent / "h2olog.conf.d"):
        file = folder / "include" / "linux" / "version.h"
        file.parent.mkdir(parents=True)
        file.write_text("kept")
        files[file] = "kept"
    for path in (others, *others.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    own = parent / f"h2olog.{dead}.theirs"  # root's, but it is more than what h2olog writes
    (own / "more").write_text("kept")
    files[own / "more"] = "kept"
    del files[own / "include" / "linux" / "version.h"]
    link.symlink_to(precious)
    os.lchown(link, STRANGER, STRANGER)
    files[link] = None
    return files


def test_folder_of_a_run_that_is_ended_early(serve: Serve, room: Room) -> None:  # noqa: F811
    """While it starts: it does not leave what it would have removed."""
    process, folder = start_until_folder(room, serve(), signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert not folder.exists()


def in_mounts(
    options: str, *words: str, folders: tuple[str, ...] = ("/run", "/dev/shm", "/tmp")
) -> subprocess.CompletedProcess[str]:
    """h2olog where it cannot do without a folder, and the folders for that are mounted with these options."""
    mounts = "\n".join(f"mount -t tmpfs -o {options} none {folder}" for folder in folders)
    mounts = f"export LIBMOUNT_FORCE_MOUNT2=always\n{mounts}"  # NO_MOUNTS is for h2olog, not for mount
    return run(  # h2olog itself may be in /tmp
        "--mount", "sh", "-ec", f'exec 9<"$0"\n{mounts}\nexec /proc/self/fd/9 "$@"', str(BUILD / "h2olog"), *words,
        program="/usr/bin/unshare", before=NO_MOUNTS,
    )  # fmt: skip


def test_no_room_for_the_folder(serve: Serve) -> None:
    done = in_mounts("size=16k", "-p", str(serve().pid))
    sentence = r"h2olog: cannot write the compiler's headers to /\S+: No space left on device\n"
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(sentence, done.stderr), done.stderr


def test_room_in_another_folder(serve: Serve) -> None:
    server = serve()
    memory = Memory(server)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(in_mounts, "size=16k", "-p", str(server.pid), folders=("/run", "/dev/shm"))
        wait_until(lambda: memory.switched_on() == HTTP_PROBES or running.done(), "attaching")
        server.stop()
        done = running.result(PATIENCE)
    assert (done.returncode, done.stderr) == (0, f"h2olog: process {server.pid} ended\n")


def test_no_permission_for_the_folder(serve: Serve) -> None:
    done = in_mounts("ro", "-p", str(serve().pid))
    sentence = "h2olog: cannot create a private folder in /run, /dev/shm or /tmp: Read-only file system\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)


@pytest.mark.parametrize("kind", ["missing", "others can write to it", "a link", "empty"])
def test_tmpdir_is_not_used(serve: Serve, room: Room, tmp_path: Path, kind: str) -> None:  # noqa: F811
    """Neither is there ever something in it, nor does it matter that nothing could be."""
    server, folder, link = serve(), tmp_path / "folder", tmp_path / "link"
    memory = Memory(server)
    folder.mkdir()
    folder.chmod(0o1777)
    link.symlink_to(folder)
    os.lchown(link, STRANGER, STRANGER)
    value = {
        "missing": str(tmp_path / "missing"), "others can write to it": str(folder), "a link": str(link), "empty": "",
    }[kind]  # fmt: skip
    changed = folder.stat().st_mtime_ns

    def before() -> None:
        os.environ.update(dict.fromkeys(("TMPDIR", "TMP", "TEMP", "TEMPDIR"), value))
        os.chdir(tmp_path)
        NO_MOUNTS()

    process = room.start("h2olog", "-p", str(server.pid), before=before)
    wait_until(lambda: memory.switched_on() == HTTP_PROBES or process.poll() is not None, "attaching")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    assert room.left() == []
    assert folder.stat().st_mtime_ns == changed


# --- -w ---


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("reason", ["no process", "no probes", "no bpf", "no uprobes"])
def test_file_is_kept_if_tracing_fails(serve: Serve, tmp_path: Path, program: str, reason: str) -> None:
    """Who mistypes a pid does not lose what was recorded before."""
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


# --- several h2ologs ---


def test_ten_tracers(serve: Serve, trace: Trace) -> None:
    """Each sees everything, until the last one."""
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


# --- a server that is not where it seems to be ---


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("new", [None, "2020-06"])
def test_binary_is_replaced(serve: Serve, trace: Trace, tmp_path: Path, program: str, new: str | None) -> None:
    """By an upgrade: what runs is traced, and the new file is none of it."""
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


class Contained(Server):
    """A stand-in in a pid namespace and a mount namespace of its own; its binary is in there only."""

    def __init__(self, version: str, folder: Path, script: Path) -> None:
        inside = 'mount -t tmpfs none "$1"; cp "$2" "$1/server"; cp "$3" "$1/script"; exec "$1/server" --script "$1/script"'
        self.binary = folder / "server"
        self.process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount", "sh", "-ec", inside, "sh", str(folder),
             str(BUILD / "t" / "standin" / f"standin-{version}"), str(script)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        match = re.match(r"listening on 127\.0\.0\.1:(\d+) pid 1 ", self.process.stdout.readline())
        assert match is not None
        self.url = f"http://127.0.0.1:{match.group(1)}"
        (self.pid,) = children_of(self.process.pid)

    def start_playing(self) -> None:
        os.kill(self.pid, signal.SIGUSR1)

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.kill()
        self.process.communicate()


def children_of(parent: int) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = process.read_text().rpartition(") ")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == parent:
            found.append(int(process.parent.name))
    return found


@pytest.fixture
def contain(tmp_path: Path) -> Iterator[Callable[..., Contained]]:
    contained: list[Contained] = []

    def start(script: str, outside: str | None) -> Contained:
        """`outside`: what is where its binary is, seen from out here."""
        folder, file = tmp_path / "folder", tmp_path / "script"
        folder.mkdir()
        file.write_text(script)
        if outside is not None:
            shutil.copy(BUILD / "t" / "standin" / f"standin-{outside}", folder / "server")
        contained.append(Contained("2026-06", folder, file))
        return contained[-1]

    yield start
    for server in contained:
        server.close()


@pytest.mark.parametrize("outside", [None, "2020-06"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_server_in_a_container(
    contain: Callable[..., Contained], trace: Trace, program: str, outside: str | None
) -> None:
    server = contain(SCRIPT, outside)
    assert server.pid != 1 and server.binary.exists() == (outside is not None)
    tracer = trace(server, program=program)
    check_played(server, COUNT)
    assert tracer.stop() == 0
    assert tracer.lines() == LINES
    assert server.play() == (0, COUNT)


@pytest.mark.parametrize("program", PROGRAMS)
def test_threads_of_a_server_in_a_container(contain: Callable[..., Contained], trace: Trace, program: str) -> None:
    """They have the numbers that the server itself knows them by."""
    server = contain("threads 3\nrepeat 10\nh2o:send_response conn_id=tid req_id=thread status=200\nend\n", None)
    tracer = trace(server, "all", "-t", "h2o:send_response", program=program)
    check_played(server, 30)
    assert tracer.stop() == 0
    events = [json.loads(line) for line in tracer.lines()]
    assert len(events) == 30
    assert all(event["tid"] == event["conn-id"] for event in events)
    outside = {int(name) for name in os.listdir(f"/proc/{server.pid}/task")}
    tids = {event["tid"] for event in events}
    assert len(tids) == 3 and max(tids) < min(outside) or tids.isdisjoint(outside)


# What Docker leaves to a container, and what has to be added for h2olog: --cap-add.
DOCKER = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write "
    "setfcap"
).split()
BASE = ["cap_39", "cap_38", "sys_ptrace"]  # bpf and perfmon: setpriv of Debian 11 does not know these by name
ADDED = BASE if KERNEL >= (5, 11) else [*BASE, "sys_resource"]  # for the limit of locked memory

CONTAINER = """
root=$1 program=$2 capabilities=$3; shift 3
mount -t tmpfs -o mode=755 none "$root"
mkdir "$root/proc" "$root/sys" "$root/tmp"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for folder in usr bin lib lib64 sbin; do
    if [ -L /$folder ]; then
        cp -P /$folder "$root"
    elif [ -e /$folder ]; then
        mkdir "$root/$folder"
        mount --bind -o ro /$folder "$root/$folder"
    fi
done
cp "$program" "$root/h2olog"
exec chroot "$root" setpriv --bounding-set "$capabilities" --inh-caps -all /h2olog "$@"
"""


def start_in_container(folder: Path, server: Server, program: str, capabilities: list[str]) -> Tracer:
    """One that sees the host's processes: no /run, no /dev, no /etc, and of root what it takes."""
    root, out = folder / "root", folder / "tracer"
    root.mkdir()
    out.mkdir()
    bounding = "-all," + ",".join(f"+{name}" for name in DOCKER + capabilities)
    words = ["sh", "-ec", CONTAINER, "sh", str(root), str(BUILD / program), bounding, "-d", "-p", str(server.pid)]
    return Tracer(out, "--mount", *words, program="/usr/bin/unshare", attached=False)


def left_in_tracefs(pid: int) -> list[str]:
    """Uprobes that a process made by name; they do not end with it."""
    return [line for line in uprobe_events().read_text().splitlines() if f"h2olog_{pid}_" in line]


def test_event_in_tracefs_is_found(serve: Serve) -> None:
    """What the tests below rely on."""
    server, name = serve(), f"h2olog_{os.getpid()}_found"
    assert left_in_tracefs(os.getpid()) == [] and take_uprobe_events(server) == []
    change_uprobe_events(f"p:{name} /proc/{server.pid}/exe:0x1000")
    try:
        assert len(left_in_tracefs(os.getpid())) == len(take_uprobe_events(server)) == 1
    finally:
        for line in left_in_tracefs(os.getpid()):
            change_uprobe_events(f"-:{line.split()[0].partition(':')[2]}")
    assert left_in_tracefs(os.getpid()) == []


@pytest.mark.parametrize(
    "program, more", [("h2olog", [] if HAS_LINKS else ["sys_admin"]), ("h2olog-single", ["sys_admin"])]
)
def test_h2olog_in_a_container(serve: Serve, tmp_path: Path, program: str, more: list[str]) -> None:
    server = serve(script=SCRIPT)
    memory = Memory(server)
    tracer = start_in_container(tmp_path, server, program, ADDED + more)
    try:
        tracer.wait_attached()
        check_played(server, COUNT)
        assert tracer.wait_lines(COUNT) == LINES
        inside = Path(f"/proc/{tracer.process.pid}")
        assert os.readlink(inside / "ns" / "mnt") != os.readlink("/proc/self/ns/mnt")
        assert list((inside / "root" / "tmp").iterdir()) == []
        assert tracer.stop() == 0
    finally:
        tracer.stop(signal.SIGKILL)
    assert tracer.lines() == LINES
    assert memory.switched_on() == set()
    assert left_in_tracefs(tracer.process.pid) == []


if KERNEL < (5, 11):  # later, maps are not locked memory

    def test_locked_memory_takes_a_capability(serve: Serve, tmp_path: Path) -> None:
        tracer = start_in_container(tmp_path, serve(), "h2olog", BASE)
        wait_until(lambda: tracer.process.poll() is not None or "Attaching" in tracer.messages(), "the start")
        assert tracer.stop() == 1
        said = tracer.messages()
        assert re.fullmatch(r"h2olog: the kernel refuses BPF maps: .*ulimit -l.*CAP_SYS_RESOURCE.*\n", said), said


def test_uprobe_events_take_admin(serve: Serve, tmp_path: Path) -> None:
    """Before Linux 6.10: the kernel lets nobody else have them. No way around it that forgets the semaphores."""
    server = serve()
    tracer = start_in_container(tmp_path, server, "h2olog-single", ADDED)
    try:
        wait_until(lambda: tracer.process.poll() is not None or "Attaching" in tracer.messages(), "the start")
    finally:
        tracer.stop(signal.SIGKILL)
    assert tracer.process.returncode == 1
    assert tracer.messages().startswith("h2olog: the kernel refuses uprobes: Permission denied; ")
    assert "CAP_SYS_ADMIN" in tracer.messages()
    assert left_in_tracefs(tracer.process.pid) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_event_is_left_in_tracefs(serve: Serve, trace: Trace, program: str) -> None:
    """Neither after a run, nor after one that was refused its uprobes."""
    server = serve()
    tracer = trace(server, program=program)
    assert tracer.stop() == 0
    refused = trace(server, program=program, attached=False, before=refusing("perf_event_open", errno.EACCES))
    wait_until(lambda: refused.process.poll() is not None or "Attaching" in refused.messages(), "the start")
    refused.stop()
    assert refused.process.returncode == (0 if program == "h2olog" and HAS_LINKS else 1)
    for ended in (tracer, refused):
        assert left_in_tracefs(ended.process.pid) == []


# --- threads and children ---


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


class Forker:
    """A server that forks workers (t/standin/forker.c)."""

    FIRINGS = 100

    BINARY = BUILD / "t" / "standin" / "standin-forker"

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen([str(self.BINARY), *arguments], stdout=subprocess.PIPE, text=True)
        self.pid, _ = self.hear("ready")

    def hear(self, what: str) -> tuple[int, int]:
        """Which process it is, and how its semaphore stands."""
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
def test_becomes_another_program_while_it_is_attached_to(room: Room, tmp_path: Path, program: str) -> None:  # noqa: F811
    """What was read of the one is not done to the other: that could be a program of root's, at places of its choice."""
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
    """Neither those that there are, nor those that come; and nothing remains in them, although they are copies."""
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
        wait_until(lambda: forker.fire(process) == 0, "the kernel to switch off")  # noqa: B023


@pytest.mark.parametrize("program", PROGRAMS)
def test_child_is_traced_by_its_own_pid(forker: Forker, trace: Trace, program: str) -> None:
    """h2o's worker is a child of its master."""
    child, sibling = forker.fork(), forker.fork()
    tracer = trace(SimpleNamespace(pid=child), program=program)
    for process in (forker.pid, sibling, child):
        forker.fire(process)
    assert tracer.stop() == 0
    assert tracer.lines() == [f"{child} {nth} TxStatus   200" for nth in range(forker.FIRINGS)]
    wait_until(lambda: forker.fire(child) == 0, "the kernel to switch off")


# --- what the kernel refuses, and what it must not be refused for ---


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_locked_memory(serve: Serve, trace: Trace, program: str) -> None:
    """Since 5.11, BPF does not count as such; before, root may raise the limit."""
    server = serve(script=SCRIPT)
    limit = lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))  # noqa: E731
    tracer = trace(server, program=program, before=limit)
    check_played(server, COUNT)
    assert tracer.stop() == 0
    assert tracer.lines() == LINES


def test_lockdown_is_named(serve: Serve) -> None:
    """A kernel that is locked down cannot be had for a test: what it says of itself and the refusal are made up."""
    server, lockdown = serve(), "/sys/kernel/security/lockdown"
    script = "mount -t tmpfs none /sys/kernel\nmkdir /sys/kernel/security\n"
    script += f"echo 'none integrity [confidentiality]' >{lockdown}\n"
    done = run(
        "--mount", "sh", "-ec", f'{script}exec "$0" "$@"', str(BUILD / "h2olog"), "-p", str(server.pid),
        program="/usr/bin/unshare", before=refusing("bpf", errno.EPERM),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"h2olog: the kernel refuses BPF maps: .*locked down.*lockdown=integrity.*\n", done.stderr)


# --- clocks ---


@pytest.fixture
def jump(tmp_path: Path) -> Iterator[Callable[[float], None]]:
    """Lets the clock of those who are started with `preload` jump: jump(seconds) away from the true one."""
    file = tmp_path / "jump"
    file.write_bytes(bytes(8))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 8) as shared:
        yield lambda seconds: struct.pack_into("q", shared, 0, int(seconds * 1e9))


def preload(folder: Path) -> Before:
    def load() -> None:
        os.environ.update(
            LD_PRELOAD=str(BUILD / "t" / "standin" / "clock.so"), CLOCK_JUMP=str(folder / "jump"),
            ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0",
        )  # fmt: skip

    return load


def test_wall_clock_jumps(serve: Serve, trace: Trace, tmp_path: Path, jump: Callable[[float], None]) -> None:
    """`time` follows it, forwards and backwards; the order does not depend on it."""
    server = serve(script="repeat 10\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    tracer = trace(server, "all", "-t", "h2o:send_response", before=preload(tmp_path))
    expected = []
    for seconds in (0, 3600, -86400, 0.5):
        jump(seconds)
        time.sleep(0.5 * SLOWNESS)  # for longer than h2olog looks away
        begin = time.time() + seconds
        check_played(server, 10)
        expected.append((begin, time.time() + seconds))
        tracer.wait_lines(10 * len(expected))
    assert tracer.stop() == 0
    events = [json.loads(line) for line in tracer.lines()]
    assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
    assert [event["req-id"] for event in events] == [*range(10)] * len(expected)
    for nth, event in enumerate(events):
        begin, end = expected[nth // 10]
        assert begin - 0.01 * SLOWNESS <= event["time"] / 1000 <= end + 0.01 * SLOWNESS


def test_time_namespace(serve: Serve, tmp_path: Path) -> None:
    """Where h2olog's monotonic clock is not the kernel's, `time` is right all the same."""
    server = serve(script="h2o:send_response conn_id=1 req_id=# status=200\n")
    words = ["--monotonic", "100000", "--fork", "--kill-child", str(BUILD / "h2olog")]
    options = ["all", "-t", "h2o:send_response", "-d", "-p", str(server.pid)]
    tracer = Tracer(tmp_path, "--time", *words, *options, program="/usr/bin/unshare", attached=False)
    try:
        tracer.wait_attached()
        check_played(server, 1)
        (line,) = tracer.wait_lines(1)
    finally:
        tracer.stop(signal.SIGKILL)
    assert abs(json.loads(line)["time"] / 1000 - time.time()) < PATIENCE


# --- again and again ---


def anonymous_kib(pid: int) -> int:
    match = re.search(r"^RssAnon:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert match is not None
    return int(match.group(1))


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_attaching_again_and_again(serve: Serve, trace: Trace, tmp_path: Path) -> None:
    """Nothing grows: not the server, not an h2olog that traces it all the time, not what is in the kernel."""
    server = serve(script=endless(5_000))
    memory = Memory(server)
    lasting = trace(server, "-w", "/dev/null")
    server.start_playing()
    watched = (server.pid, lasting.process.pid)
    before: list[tuple[int, int]] = []
    held, past = objects_of(lasting.process.pid), set()
    for nth in range(ROUNDS):
        if nth == 5:  # what is taken only once has been taken
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
