"""Destinations of lines: files of the user who called, readers that leave, outputs that fail."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest
from conftest import BUILD, PATIENCE, SLOWNESS, Server, Tracer, refusing, run, wait_until
from support import HTTP_PROBES, LINES, SCRIPT, Before, Memory, Serve, Trace, check_played, cpu_seconds, prints, without

# The user who calls, and another one. They are neither root nor nobody, and have no names.
CALLER, STRANGER = 1235, 1234

# A group of neither.
GROUP = 4321

DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2

PLANTED = "it belongs to another user, in a folder where every user can create files"
DENIED = "Permission denied for the user who called"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of root that every user can enter. Those of pytest are only for root."""
    path = Path(tempfile.mkdtemp(prefix="h2olog-e2e-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def home(folder: Path) -> Path:
    """A folder of the caller."""
    path = folder / "home"
    path.mkdir()
    os.chown(path, CALLER, CALLER)
    return path


@pytest.fixture
def shared(folder: Path) -> Path:
    """A folder like /tmp."""
    path = folder / "shared"
    path.mkdir()
    path.chmod(0o1777)
    return path


def calling_as(user: int | None) -> Before:
    """Starts h2olog as sudo does."""

    def call() -> None:
        if user is not None:
            os.environ.update(SUDO_UID=str(user), SUDO_GID=str(user))

    return call


def give(path: Path, owner: int, mode: int) -> None:
    os.chown(path, owner, owner)
    path.chmod(mode)


def link_to(target: Path, link: Path, owner: int) -> None:
    link.symlink_to(target)
    os.lchown(link, owner, owner)


def refused(server: Server, file: Path | str, reason: str, *options: str, before: Before | None = None) -> None:
    """Checks that h2olog reports it in one sentence, and does not trace."""
    memory = Memory(server)
    done = run("-p", str(server.pid), "-w", str(file), *options, before=before)
    assert (done.stderr, done.stdout, done.returncode) == (f"h2olog: cannot write {file}: {reason}\n", "", 1)
    assert memory.switched_on() == set()


# --- a caller who may only run h2olog as root ---


@pytest.mark.parametrize("options", [[], ["-r"]])
@pytest.mark.parametrize("kind", ["a file", "a readable file", "a link", "a hard link", "in another user's folder"])
def test_file_of_root_is_not_emptied(serve: Serve, folder: Path, home: Path, kind: str, options: list[str]) -> None:
    """`sudo h2olog -w /etc/shadow`, directly or with a link in a folder of the caller."""
    private = folder / "private"
    private.mkdir()
    precious = (private if kind == "in another user's folder" else folder if "link" in kind else home) / "shadow"
    precious.write_text("precious")
    give(precious, 0, 0o644 if kind == "a readable file" else 0o600)
    file = precious
    if kind == "a link":
        file = home / "link"
        link_to(precious, file, CALLER)
    elif kind == "a hard link":
        file = home / "link"
        os.link(precious, file)
    elif kind == "in another user's folder":
        give(precious, CALLER, 0o666)
        give(private, STRANGER, 0o700)
    refused(serve(), file, DENIED, *options, before=calling_as(CALLER))
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("options", [[], ["-r"]])
def test_file_is_not_created_where_the_caller_may_not(serve: Serve, folder: Path, options: list[str]) -> None:
    refused(serve(), folder / "new", DENIED, *options, before=calling_as(CALLER))
    assert not (folder / "new").exists()


@pytest.mark.parametrize("options", [[], ["-r"]])
@pytest.mark.parametrize("sudo", [None, CALLER])
@pytest.mark.parametrize("umask", [0, 0o77])
def test_new_file_belongs_to_the_caller(
    serve: Serve, trace: Trace, home: Path, sudo: int | None, umask: int, options: list[str]
) -> None:
    """It belongs to the caller, and no other user can read it, because it has cookies."""
    server, file, user = serve(script=SCRIPT), home / "out", sudo if sudo is not None else 0

    def before() -> None:
        os.umask(umask)
        calling_as(sudo)()

    tracer = trace(server, "-w", str(file), *options, before=before)
    check_played(server)
    assert tracer.stop() == 0
    found = file.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o600, user, user)
    assert file.read_text().splitlines() == LINES


def test_file_that_the_caller_may_write(serve: Serve, trace: Trace, folder: Path) -> None:
    """A file of another user is emptied, and keeps its owner."""
    server, file = serve(script=SCRIPT), folder / "out"
    file.write_text("old")
    give(file, STRANGER, 0o602)
    tracer = trace(server, "-w", str(file), before=calling_as(CALLER))
    check_played(server)
    assert tracer.stop() == 0
    assert file.read_text().splitlines() == LINES
    assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (STRANGER, 0o602)


def in_a_group(folder: Path, member: bool, *words: str) -> list[str]:
    """Returns a command for a machine where the caller has a name and may be in GROUP, by its own mounts."""
    passwd, group = folder / "passwd", folder / "group"
    passwd.write_text(f"root:x:0:0::/:/bin/sh\ncaller:x:{CALLER}:{CALLER}::/:/bin/sh\n")
    group.write_text(f"root:x:0:\ncaller:x:{CALLER}:\nlogs:x:{GROUP}:{'caller' if member else ''}\n")
    script = f'mount --bind {passwd} /etc/passwd\nmount --bind {group} /etc/group\nexec "$0" "$@"'
    return ["unshare", "--mount", "sh", "-ec", script, str(BUILD / "h2olog"), *words]


@pytest.mark.parametrize("member", [True, False])
def test_groups_of_the_caller_count(serve: Serve, folder: Path, member: bool) -> None:
    """A file that only a group may write: the groups of the caller count, not those of h2olog."""
    server, file = serve(script=SCRIPT), folder / "out"
    memory = Memory(server)
    file.write_text("old")
    os.chown(file, 0, GROUP)
    file.chmod(0o620)

    def before() -> None:
        os.setgroups([GROUP])
        calling_as(CALLER)()

    command = in_a_group(folder, member, "-p", str(server.pid), "-w", str(file))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=before) as process:
        try:
            wait_until(lambda: process.poll() is not None or prints(process.pid), "the start")
            if member:
                assert memory.switched_on() == HTTP_PROBES
                check_played(server)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    sentence = "" if member else f"h2olog: cannot write {file}: {DENIED}\n"
    assert (said, process.returncode) == (sentence, 0 if member else 1)
    assert file.read_text() == ("".join(f"{line}\n" for line in LINES) if member else "old")


def test_folder_where_root_is_nobody(serve: Serve, trace: Trace, home: Path) -> None:
    """As on NFS with root_squash: only the caller can create, write and remove files there."""
    server, file = serve(script=SCRIPT), home / "out"
    home.chmod(0o700)

    def before() -> None:
        without(DAC_OVERRIDE, DAC_READ_SEARCH)()
        calling_as(CALLER)()

    for expected in ("new", "emptied"):
        tracer = trace(server, "-w", str(file), before=before)
        check_played(server)
        assert tracer.stop() == 0, expected
        assert file.read_text().splitlines() == LINES
    file.unlink()
    done = run("-p", str(os.getpid()), "-w", str(file), before=before)  # no probes
    assert done.returncode == 1 and "probes" in done.stderr
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("sudo", [None, CALLER])
def test_file_system_without_owners(serve: Serve, trace: Trace, home: Path, sudo: int | None) -> None:
    """As on vfat, where chown(2) fails: the owner need not be changed."""
    server, file = serve(script=SCRIPT), home / "out"

    def before() -> None:
        calling_as(sudo)()
        refusing("fchown", errno.EPERM)()

    tracer = trace(server, "-w", str(file), before=before)
    check_played(server)
    assert tracer.stop() == 0
    assert file.read_text().splitlines() == LINES


def test_ids_of_the_caller_cannot_be_set(serve: Serve, home: Path) -> None:
    """A container without CAP_SETUID, where -r would continue as root."""

    def before() -> None:
        without(6, 7)()  # CAP_SETGID, CAP_SETUID
        calling_as(CALLER)()

    reason = "this needs CAP_SETUID and CAP_SETGID, to open it as the user who called"
    refused(serve(), home / "out", reason, "-r", before=before)
    assert list(home.iterdir()) == []


def test_file_of_a_failed_run(serve: Serve, trace: Trace, home: Path) -> None:
    """The next run can write the file, which belongs to the caller."""
    server, file = serve(script=SCRIPT), home / "out"
    assert run("-p", str(os.getpid()), "-w", str(file), before=calling_as(CALLER)).returncode == 1
    assert not file.exists()
    tracer = trace(server, "-w", str(file), before=calling_as(CALLER))
    check_played(server)
    assert tracer.stop() == 0
    assert file.read_text().splitlines() == LINES and file.stat().st_uid == CALLER


# --- files of another user in a folder like /tmp ---


@pytest.mark.parametrize("sudo", [None, CALLER])
@pytest.mark.parametrize("target", ["file", "nothing"])
def test_planted_link_is_refused(serve: Serve, shared: Path, folder: Path, sudo: int | None, target: str) -> None:
    precious = folder / "precious"
    if target == "file":
        precious.write_text("precious")
        give(precious, sudo or 0, 0o600)
    link_to(precious, shared / "link", STRANGER)
    refused(serve(), shared / "link", PLANTED, before=calling_as(sudo))
    assert precious.read_text() == "precious" if target == "file" else not precious.exists()


@pytest.mark.parametrize("kind", ["file", "fifo"])
@pytest.mark.parametrize("sudo", [None, CALLER])
def test_planted_file_is_refused(serve: Serve, shared: Path, kind: str, sudo: int | None) -> None:
    """The creator of the file could read the data of the server's clients, and a FIFO without a reader would block."""
    planted = shared / "planted"
    if kind == "file":
        planted.write_text("planted")
    else:
        os.mkfifo(planted)
    give(planted, STRANGER, 0o666)
    refused(serve(), planted, PLANTED, before=calling_as(sudo))
    assert kind != "file" or planted.read_text() == "planted"


def test_own_file_is_opened(serve: Serve, trace: Trace, shared: Path) -> None:
    """A file of the caller from an earlier run."""
    server, file = serve(script=SCRIPT), shared / "out"
    file.write_text("old")
    give(file, CALLER, 0o600)
    tracer = trace(server, "-w", str(file), before=calling_as(CALLER))
    check_played(server)
    assert tracer.stop() == 0
    assert file.read_text().splitlines() == LINES


@pytest.mark.parametrize("mode, owner", [(0o1777, 0), (0o755, STRANGER), (0o777, STRANGER)])
def test_own_link_is_followed(serve: Serve, trace: Trace, shared: Path, folder: Path, mode: int, owner: int) -> None:
    """In a shared folder, links of root are followed; in other folders, all links, because who can create one there can
    do everything there."""
    server, file = serve(script=SCRIPT), folder / "file"
    file.write_text("old")
    shared.chmod(mode)
    link_to(file, shared / "link", owner)
    tracer = trace(server, "-w", str(shared / "link"))
    check_played(server)
    assert tracer.stop() == 0
    assert file.read_text().splitlines() == LINES and (shared / "link").is_symlink()


# --- a reader that leaves without an event ---


class Reader:
    """The output of h2olog, and its other end. `name`: h2olog opens it itself."""

    def __init__(self, kind: str, home: Path) -> None:
        self.name: str | None = None
        if kind == "pipe":
            self.readable, self.writable = os.pipe()
        elif kind == "terminal":
            self.readable, self.writable = os.openpty()
        elif kind == "fifo":
            self.name = str(home / "fifo")
            os.mkfifo(self.name)
            os.chown(self.name, CALLER, CALLER)
            self.readable, self.writable = os.open(self.name, os.O_RDONLY | os.O_NONBLOCK), os.open(os.devnull, 1)
        elif kind == "unix socket":
            self.readable, self.writable = (end.detach() for end in socket.socketpair())
        else:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                client = socket.create_connection(listening.getsockname())
                self.writable, self.readable = client.detach(), listening.accept()[0].detach()

    def start(self, trace: Trace, server: Server) -> Tracer:
        options = ["-w", self.name] if self.name else []
        tracer = trace(server, *options, stdout=self.writable, before=calling_as(CALLER))
        os.close(self.writable)
        self.writable = -1
        return tracer

    def close(self) -> None:
        for fd in (self.readable, self.writable):
            if fd >= 0:
                os.close(fd)
        self.readable = self.writable = -1


MakeReader = Callable[[str], Reader]


@pytest.fixture
def reader(home: Path) -> Iterator[MakeReader]:
    readers: list[Reader] = []

    def make(kind: str) -> Reader:
        readers.append(Reader(kind, home))
        return readers[-1]

    yield make
    for one in readers:
        one.close()


def stays_idle(tracer: Tracer, seconds: float) -> None:
    before = cpu_seconds(tracer.process.pid)
    time.sleep(seconds * SLOWNESS)
    assert tracer.process.poll() is None, tracer.messages()
    assert cpu_seconds(tracer.process.pid) - before < seconds / 5 * SLOWNESS


@pytest.mark.parametrize("program", ["h2olog", "h2olog-single"])
@pytest.mark.parametrize("kind", ["pipe", "fifo", "unix socket", "terminal"])
def test_reader_that_leaves(serve: Serve, trace: Trace, reader: MakeReader, kind: str, program: str) -> None:
    """The end of the reader is noticed without an event, and h2olog ends as after a failed write."""
    server, one = serve(), reader(kind)
    memory = Memory(server)
    tracer = one.start(lambda *words, **more: trace(*words, program=program, **more), server)
    stays_idle(tracer, 0.3)
    start = time.monotonic()
    one.close()
    status = tracer.process.wait(PATIENCE)
    # it is noticed at once; the rest is detaching, which takes long without links, and other processes
    assert time.monotonic() - start < (2.0 if program == "h2olog" else 10.0) * SLOWNESS
    _, *said = tracer.messages().splitlines()
    if kind == "terminal":
        assert (status, said) == (1, ["h2olog: cannot write standard output: Input/output error"])
    else:
        assert (status, said) == (0, [])
    assert memory.switched_on() == set()


def test_reader_of_a_connection_that_is_reset(serve: Serve, trace: Trace, reader: MakeReader) -> None:
    server, one = serve(), reader("tcp socket")
    tracer = one.start(trace, server)
    stays_idle(tracer, 0.3)
    with socket.socket(fileno=one.readable) as peer:
        one.readable = -1
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close(2) sends a RST
    assert tracer.process.wait(PATIENCE) == 1
    sentence = "h2olog: cannot write standard output: Connection reset by peer"
    assert tracer.messages().splitlines()[1:] == [sentence]


def test_reader_of_a_connection_that_is_closed(serve: Serve, trace: Trace, reader: MakeReader) -> None:
    """The FIN of a peer only means that it sends nothing more.
    The first line gets a RST, and the next one the error."""
    server, one = serve(script=SCRIPT), reader("tcp socket")
    tracer = one.start(trace, server)
    one.close()
    stays_idle(tracer, 0.3)
    server.play()  # h2olog can end, and detach, before all events are fired
    assert tracer.process.wait(PATIENCE) in (0, 1)  # EPIPE, or ECONNRESET if poll(2) reports the RST first


@pytest.mark.parametrize("kind", ["unix socket", "tcp socket"])
def test_reader_that_stops_sending(serve: Serve, trace: Trace, reader: MakeReader, kind: str) -> None:
    """A peer that only stopped sending still reads: `socat`, `nc -N`."""
    server, one = serve(script=SCRIPT), reader(kind)
    tracer = one.start(trace, server)
    with socket.socket(fileno=os.dup(one.readable)) as peer:
        peer.shutdown(socket.SHUT_WR)
        stays_idle(tracer, 0.5)
        check_played(server)
        assert tracer.stop() == 0
        with peer.makefile() as lines:
            assert lines.read().splitlines() == LINES


@pytest.mark.parametrize("name", ["out", "/dev/null", "/dev/zero"])
def test_output_that_has_no_reader(serve: Serve, trace: Trace, home: Path, name: str) -> None:
    """It neither ends h2olog nor keeps it busy."""
    tracer = trace(serve(), "-w", str(home / name))
    stays_idle(tracer, 0.5)
    assert tracer.stop() == 0


# --- standard output that cannot be written ---


CANNOT_WRITE = "h2olog: cannot write standard output: "
NOT_OPEN = f"{CANNOT_WRITE}it is closed, or not open for writing\n"


def run_with(redirection: str, *arguments: str) -> tuple[int, str]:
    """Returns the status and stderr."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirection}', str(BUILD / "h2olog"), *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("redirection", [">&-", "1</dev/null", "1<file"])
def test_standard_output_is_not_open(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redirection: str
) -> None:
    """This is noticed before attaching. Root must not open a read-only descriptor of the caller for writing."""
    (tmp_path / "file").write_text("precious")
    monkeypatch.chdir(tmp_path)
    server = serve()
    memory = Memory(server)
    for options in ([], ["-w", "-"], ["-w", "/dev/stdout"], ["-w", "/dev/fd/1"]):
        name = "standard output" if options in ([], ["-w", "-"]) else options[1]
        said = NOT_OPEN.replace("standard output", name)
        assert run_with(redirection, "-p", str(server.pid), *options) == (1, said)
    assert memory.switched_on() == set()
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("name", ["/dev/fd/0", "/proc/self/fd/0", "/dev/fd/9"])
def test_closed_descriptor_is_refused(serve: Serve, name: str) -> None:
    """A file that h2olog itself opens with the number of a closed standard descriptor is not the caller's output."""
    server = serve()
    memory = Memory(server)
    said = NOT_OPEN.replace("standard output", name)
    assert run_with("<&- 9>&-", "-p", str(server.pid), "-w", name) == (1, said)
    assert memory.switched_on() == set()


@pytest.mark.parametrize("options", [["-l"], ["-h"], ["-V"], ["-l", "-t", "accept"], ["-l", "-p"]])
def test_help_and_lists_cannot_be_written(serve: Serve, options: list[str]) -> None:
    words = [*options, str(serve().pid)] if options[-1] == "-p" else options
    assert run_with(">/dev/full", *words) == (1, f"{CANNOT_WRITE}No space left on device\n")
    assert run_with(">&-", *words) == (1, NOT_OPEN)
    assert run_with("1</dev/null", *words) == (1, NOT_OPEN)
    assert run(*words).returncode == 0


def test_list_on_a_full_disk(tmp_path: Path) -> None:
    """The disk has room for the beginning of -l only."""
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        done = subprocess.run(
            ["sh", "-c", 'ulimit -f 8; trap "" XFSZ; exec "$0" -l', str(BUILD / "h2olog")],
            stdout=file, stderr=subprocess.PIPE, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert os.fstat(file.fileno()).st_size == 4096
    assert (done.returncode, done.stderr) == (1, f"{CANNOT_WRITE}File too large\n")


def test_list_with_an_early_end_of_the_reader() -> None:
    """`h2olog -l | head -1` is not an error if SIGPIPE is ignored."""
    readable, writable = os.pipe()
    os.close(readable)
    done = subprocess.run(
        [str(BUILD / "h2olog"), "-l"], stdout=writable, stderr=subprocess.PIPE, timeout=PATIENCE,
        restore_signals=False,
    )  # fmt: skip
    os.close(writable)
    assert (done.returncode, done.stderr) == (0, b"")


def descriptor_of(tracer: Tracer, file: Path) -> int:
    """Returns the descriptor with which h2olog writes a file."""
    folder = Path(f"/proc/{tracer.process.pid}/fd")
    (number,) = [int(fd.name) for fd in folder.iterdir() if int(fd.name) > 2 and os.readlink(fd) == str(file)]
    return number


@pytest.mark.parametrize("named", [True, False])
def test_close_fails(serve: Serve, trace: Trace, folder: Path, named: bool) -> None:
    """NFS reports a full disk only at close(2). A descriptor that cannot be closed is not used again, so the number of
    the output depends on the number that is refused: some are tried. The dynamic loader must not use that number,
    which it does if 0 is free."""
    server = serve(script=SCRIPT)
    options = ["-w", str(folder / "out")] if named else []

    def before(number: int) -> None:
        os.close(0)
        refusing("close", errno.EDQUOT, number)()

    for number in range(3, 16):
        (folder / "out").unlink(missing_ok=True)
        tracer = trace(server, *options, before=functools.partial(before, number))
        if descriptor_of(tracer, folder / "out" if named else tracer.out) == number:
            break
        tracer.stop()
    else:
        pytest.fail("no number is that of the output")
    check_played(server)
    assert tracer.stop() == 1
    name = str(folder / "out") if named else "standard output"
    _, *said = tracer.messages().splitlines()
    assert said == [f"h2olog: cannot write the last lines to {name}: Disk quota exceeded"]


# --- names of descriptors ---


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-"])
@pytest.mark.parametrize("kind", ["unix socket", "pipe"])
def test_name_of_standard_output(
    serve: Serve, trace: Trace, reader: MakeReader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str,
    name: str,
) -> None:  # fmt: skip
    """A socket cannot be opened by name, and no file with this name is created."""
    monkeypatch.chdir(tmp_path)
    server, one = serve(script=SCRIPT), reader(kind)
    one.name = name
    tracer = one.start(trace, server)
    check_played(server)
    assert tracer.stop() == 0
    with open(one.readable, closefd=False) as lines:
        assert lines.read().splitlines() == LINES
    assert not (tmp_path / "-").exists()


def test_standard_output_is_not_emptied(serve: Serve, trace: Trace, tmp_path: Path) -> None:
    """`h2olog -w /dev/stdout >>file` appends."""
    server, file = serve(script=SCRIPT), tmp_path / "file"
    file.write_text("before\n")
    with file.open("ab") as out:
        tracer = trace(server, "-w", "/dev/stdout", stdout=out.fileno())
    check_played(server)
    assert tracer.stop() == 0
    assert file.read_text().splitlines() == ["before", *LINES]


# --- errors and the end of the server ---


def test_poll_fails(serve: Serve) -> None:
    server = serve()
    memory = Memory(server)
    done = run("-p", str(server.pid), before=refusing("poll", errno.ENOMEM))
    sentence = "h2olog: cannot wait for events: Cannot allocate memory\n"
    assert (done.stderr, done.stdout, done.returncode) == (sentence, "", 1)
    assert memory.switched_on() == set()


def stop_at_binary(process: subprocess.Popen[str], binary: Path) -> bool:
    """Stops h2olog when it has opened the binary of the server. Returns whether that was in time."""
    folder, state = Path(f"/proc/{process.pid}/fd"), Path(f"/proc/{process.pid}/stat")
    while process.poll() is None:
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: state.read_text().rpartition(") ")[2][0] in "TZ", "h2olog to stop")
        try:
            if any(os.readlink(fd) == str(binary) for fd in folder.iterdir()):
                return True
        except OSError:
            pass
        process.send_signal(signal.SIGCONT)
    return False


def test_wrong_usage_when_the_server_ends(serve: Serve) -> None:
    """The server ends after its probes were read. The error is still the missing tracepoint."""
    for _ in range(20):
        server = serve()
        command = [str(BUILD / "h2olog"), "quic", "-t", "quicly:no_such", "-p", str(server.pid)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            in_time = stop_at_binary(process, server.binary)
            server.stop(signal.SIGKILL)
            process.send_signal(signal.SIGCONT)
            out, err = process.communicate(timeout=PATIENCE)
        if in_time:
            break
    assert in_time
    assert (out, process.returncode) == ("", 2)
    assert err == "h2olog: this server has no tracepoint 'quicly:no_such'; h2olog -l -p PID lists those that it has\n"


def ignoring(ignored: bool) -> Before:
    """SIGINT is ignored, as a script does for processes in the background."""
    return lambda: ignored and signal.signal(signal.SIGINT, signal.SIG_IGN) and None


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_before_compiling(serve: Serve, home: Path, number: int, ignored: bool) -> None:
    """While the binary of the server is read: h2olog ends, and leaves no file behind."""
    server, file = serve(), home / "out"
    memory = Memory(server)
    command = [str(BUILD / "h2olog"), "-d", "-w", str(file), "-p", str(server.pid)]
    for _ in range(20):
        with subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=ignoring(ignored)) as process:
            try:
                in_time = stop_at_binary(process, server.binary)
                assert file.exists() or not in_time
                process.send_signal(number)
                process.send_signal(signal.SIGCONT)
                _, said = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        if in_time:
            break
    assert in_time
    assert (said, process.returncode) == (b"", 0)
    assert not file.exists()
    assert memory.switched_on() == set()


def wait_for_reader(process: subprocess.Popen[bytes]) -> None:
    """Waits until h2olog handles signals, and probably waits for the reader of its FIFO."""
    status = Path(f"/proc/{process.pid}/status")
    wait_until(lambda: re.search(r"^SigBlk:\t0+$", status.read_text(), re.M) is None, "the signals to be blocked")
    time.sleep(0.2 * SLOWNESS)
    assert process.poll() is None


@pytest.mark.parametrize("number, ignored", [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)])
def test_signal_while_nobody_reads_a_fifo(serve: Serve, home: Path, number: int, ignored: bool) -> None:
    server, fifo = serve(), home / "fifo"
    memory = Memory(server)
    os.mkfifo(fifo)
    command = [str(BUILD / "h2olog"), "-d", "-w", str(fifo), "-p", str(server.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=ignoring(ignored)) as process:
        try:
            wait_for_reader(process)
            process.send_signal(number)
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (said, process.returncode) == (b"", 0)
    assert fifo.is_fifo()
    assert memory.switched_on() == set()


def test_reader_of_a_fifo_that_comes_late(serve: Serve, trace: Trace, home: Path) -> None:
    server, fifo = serve(script=SCRIPT), home / "fifo"
    os.mkfifo(fifo)
    tracer = trace(server, "-w", str(fifo), attached=False)
    wait_for_reader(tracer.process)
    with fifo.open() as lines:
        tracer.wait_attached()
        check_played(server)
        assert [lines.readline() for _ in LINES] == [f"{line}\n" for line in LINES]
        assert tracer.stop() == 0


def test_refusal_when_the_server_ends(serve: Serve) -> None:
    """If the kernel refuses BPF programs, this is the error, even if the server has ended."""
    server = serve()
    readable, writable = os.pipe()
    fcntl.fcntl(writable, 1031, 4096)  # F_SETPIPE_SZ: -dd waits for its reader while it prints the program
    command = [str(BUILD / "h2olog"), "-dd", "-p", str(server.pid)]
    before = refusing("bpf", errno.EPERM, 5)  # BPF_PROG_LOAD
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=writable, preexec_fn=before) as process:
        os.close(writable)
        with open(readable, errors="replace") as messages:
            while not messages.readline().startswith("#include"):
                pass
            server.stop(signal.SIGKILL)
            said = messages.read().splitlines()[-1]
        assert process.wait(PATIENCE) == 1
    assert said.startswith("h2olog: the kernel refuses BPF programs: Operation not permitted")


# --- -b ---


@pytest.mark.parametrize("size, bytes_", [("64K", 64 << 10), ("65537", 128 << 10), (None, 16 << 20)])
def test_ring_is_as_large_as_asked_for(serve: Serve, trace: Trace, size: str | None, bytes_: int) -> None:
    """It has the wanted size for all CPUs together, rounded up to a power of two."""
    tracer = trace(serve(), *(["-b", size] if size else []))
    infos = [info.read_text() for info in Path(f"/proc/{tracer.process.pid}/fdinfo").iterdir()]
    (ring,) = [info for info in infos if re.search(r"^map_type:\t27$", info, re.M)]  # BPF_MAP_TYPE_RINGBUF
    entries = re.search(r"^max_entries:\t(\d+)$", ring, re.M)
    assert entries is not None and int(entries.group(1)) == bytes_
    assert tracer.stop() == 0
