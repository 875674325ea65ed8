"""Without uid 0: the documented capabilities are enough, and a missing one is named."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from pathlib import Path
from typing import Callable, Iterable, Iterator

import pytest
from conftest import BUILD, HAS_LINKS, KERNEL, PATIENCE, Server, Tracer, run, wait_until
from support import COUNT, LINES, SCRIPT, Serve, status_of

COULD_NOT_TRACE = 1
USER, GROUP = 2345, 6789
STANDIN = BUILD / "t" / "standin" / "standin-2026-06"

NUMBERS = {
    "CAP_DAC_READ_SEARCH": 2, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24, "CAP_PERFMON": 38,
    "CAP_BPF": 39, "CAP_CHECKPOINT_RESTORE": 40,
}  # fmt: skip
NAMED = ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_CHECKPOINT_RESTORE"]  # as in the README

# Additional capabilities for older kernels: for uprobes, and for maps, which they count as locked memory.
OLD_KERNEL = ([] if HAS_LINKS else ["CAP_SYS_ADMIN"]) + ([] if KERNEL >= (5, 11) else ["CAP_SYS_RESOURCE"])
ENOUGH = NAMED + OLD_KERNEL


class CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class CapabilityData(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def as_user(capabilities: Iterable[str], uid: int = USER) -> Callable[[], None]:
    """For `before`: becomes a user with these ambient capabilities. setpriv(1) of Debian 11 does not know them."""
    numbers = [NUMBERS[name] for name in capabilities]

    def become() -> None:
        os.chdir("/")  # the user may not be allowed to enter the present folder, and libbcc reports that with -d
        libc = ctypes.CDLL(None, use_errno=True)
        header, data = CapabilityHeader(0x20080522, 0), (CapabilityData * 2)()
        for number in numbers:
            half = data[number // 32]
            half.effective = half.permitted = half.inheritable = half.effective | 1 << number % 32
        assert libc.prctl(8, 1, 0, 0, 0) == 0  # PR_SET_KEEPCAPS
        os.setgroups([])
        os.setresgid(GROUP, GROUP, GROUP)
        os.setresuid(uid, uid, uid)
        assert libc.capset(ctypes.byref(header), ctypes.byref(data)) == 0
        for number in numbers:
            assert libc.prctl(47, 2, number, 0, 0) == 0  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE

    return become


def without(name: str) -> list[str]:
    return [other for other in ENOUGH if other != name]


@pytest.fixture
def start(tmp_path: Path, anywhere: Path) -> Iterator[Callable[..., Tracer]]:
    """Starts h2olog with capabilities: start(server.pid, ENOUGH)."""
    tracers: list[Tracer] = []

    def starts(pid: int, capabilities: list[str], *words: str, program: str = "h2olog") -> Tracer:
        folder = tmp_path / f"tracer-{len(tracers)}"
        folder.mkdir()
        words = (*words, "-d", "-p", str(pid))
        before = as_user(capabilities)
        tracers.append(Tracer(folder, *words, program=str(anywhere / program), attached=False, before=before))
        return tracers[-1]

    yield starts
    for tracer in tracers:
        tracer.stop(9)


def check_traced(server: Server, tracer: Tracer) -> None:
    """Checks that it attaches, prints, and has no other messages."""
    tracer.wait_attached()
    assert server.play() == (COUNT, 0)
    assert tracer.wait_lines(COUNT) == LINES
    assert tracer.stop() == 0
    assert re.fullmatch(rf"\S+ Attaching: tracing PID {server.pid} \(.*\): \d+ probes? attached\n", tracer.messages()), tracer.messages()


# --- sufficient capabilities ---


@pytest.mark.parametrize("options", [[], ["-r"]])
def test_without_root(serve: Serve, start: Callable[..., Tracer], options: list[str]) -> None:
    """The capabilities are given up before the first line."""
    server = serve(script=SCRIPT)
    tracer = start(server.pid, ENOUGH, *options)
    tracer.wait_attached()
    status = Path(f"/proc/{tracer.process.pid}")
    wait_until(lambda: status_of(status)["Seccomp"] == "2", "giving up")
    said = status_of(status)
    assert said["Uid"].split() == [str(USER)] * 4 and said["Gid"].split() == [str(GROUP)] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(said[kind], 16) == 0, kind
    assert said["NoNewPrivs"] == "1"
    check_traced(server, tracer)


@pytest.mark.parametrize("mode", ["quic", "all"])
def test_other_modes_without_root(serve: Serve, start: Callable[..., Tracer], mode: str) -> None:
    server = serve(script="quicly:free at=1\n")
    tracer = start(server.pid, ENOUGH, mode)
    tracer.wait_attached()
    assert server.play() == (1, 0)
    assert '"type":"free"' in tracer.wait_lines(1)[0]
    assert tracer.stop() == 0


def test_server_in_a_private_folder(start: Callable[..., Tracer], anywhere: Path) -> None:
    """The user cannot reach the binary by its name, only through /proc. It does not count as an unreadable library."""
    private = anywhere / "private"
    private.mkdir(0o700)
    (private / "script").write_text(SCRIPT)
    (private / "server").write_bytes(STANDIN.read_bytes())
    (private / "server").chmod(0o755)
    server = Server("2026-06", script=private / "script", binary=private / "server")
    try:
        check_traced(server, start(server.pid, ENOUGH))
    finally:
        server.stop()


def test_as_the_user_of_the_server(anywhere: Path, tmp_path: Path) -> None:
    """Every user may inspect own processes. That needs no capability."""
    script = anywhere / "script"
    script.write_text(SCRIPT)
    capabilities = [name for name in ENOUGH if name not in ("CAP_SYS_PTRACE", "CAP_CHECKPOINT_RESTORE")]
    binary = anywhere / "server"
    binary.write_bytes(STANDIN.read_bytes())
    binary.chmod(0o755)
    process = subprocess.Popen(
        [str(binary), "--script", str(script)], stdout=subprocess.PIPE, text=True, preexec_fn=as_user([])
    )
    try:
        assert process.stdout is not None and process.stdout.readline().startswith("listening ")
        words = ["-d", "-p", str(process.pid)]
        tracer = Tracer(tmp_path, *words, program=str(anywhere / "h2olog"), before=as_user(capabilities))
        process.send_signal(10)  # SIGUSR1: play
        assert tracer.wait_lines(COUNT) == LINES
        assert tracer.stop() == 0
        assert tracer.messages().count("\n") == 1
    finally:
        process.kill()
        process.communicate()


def test_listing_needs_no_bpf(serve: Serve, anywhere: Path) -> None:
    done = run(
        "-l", "-p", str(serve().pid), program=str(anywhere / "h2olog"), before=as_user(["CAP_SYS_PTRACE"])
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "h2o:send_response(" in done.stdout


def test_file_is_opened_as_the_user(serve: Serve, start: Callable[..., Tracer], anywhere: Path) -> None:
    """-w opens files that the user may open. SUDO_UID is ignored."""
    folder = anywhere / "theirs"
    folder.mkdir()
    os.chown(folder, USER, GROUP)
    server = serve(script=SCRIPT)
    tracer = start(server.pid, ENOUGH, "-w", str(folder / "out"))
    tracer.wait_attached()
    assert server.play() == (COUNT, 0)
    assert tracer.stop() == 0
    made = (folder / "out").stat()
    assert (made.st_uid, made.st_gid) == (USER, GROUP)
    assert (folder / "out").read_text() == "".join(line + "\n" for line in LINES)

    refused = start(server.pid, ENOUGH, "-w", str(anywhere / "not-theirs"))
    assert refused.process.wait(PATIENCE) == COULD_NOT_TRACE
    assert refused.messages() == (
        f"h2olog: cannot write {anywhere}/not-theirs: Permission denied for the user who called\n"
    )


def test_sudo_uid_is_ignored(serve: Serve, tmp_path: Path, anywhere: Path) -> None:
    """`sudo -u USER h2olog` has the SUDO_UID of the caller."""

    def before() -> None:
        os.environ.update(SUDO_UID="1", SUDO_GID="nonsense")
        as_user(ENOUGH)()

    server = serve(script=SCRIPT)
    tracer = Tracer(tmp_path, "-d", "-p", str(server.pid), program=str(anywhere / "h2olog"), before=before)
    check_traced(server, tracer)


# --- missing capabilities ---


def refusal(tracer: Tracer) -> str:
    """Returns the sentence of a run that failed."""
    assert tracer.process.wait(PATIENCE) == COULD_NOT_TRACE
    match = re.fullmatch(r"h2olog: (.*)\n", tracer.messages())
    assert match is not None, tracer.messages()
    return match.group(1)


@pytest.mark.parametrize("missing", [["CAP_BPF"], ["CAP_PERFMON"], ["CAP_BPF", "CAP_PERFMON"]])
def test_no_capability_for_bpf(serve: Serve, start: Callable[..., Tracer], missing: list[str]) -> None:
    capabilities = [name for name in NAMED if name not in missing]
    assert refusal(start(serve().pid, capabilities)) == (
        f"this process lacks {' and '.join(missing)}, which loading BPF programs needs: put sudo before the command, "
        'or run it with the capabilities that README names under "Without root"'
    )


def test_no_capability_for_a_server_of_another_user(serve: Serve, start: Callable[..., Tracer]) -> None:
    server = serve()
    name = Path(f"/proc/{server.pid}/comm").read_text().strip()
    assert refusal(start(server.pid, without("CAP_SYS_PTRACE"))) == (
        f"cannot read process {server.pid} ({name}): Permission denied; this needs CAP_SYS_PTRACE in the user "
        "namespace of the process"
    )


def test_binary_that_the_user_may_not_read(
    serve: Serve, start: Callable[..., Tracer], anywhere: Path
) -> None:
    binary = anywhere / "server"
    binary.write_bytes(STANDIN.read_bytes())
    binary.chmod(0o711)
    server = serve(binary=binary, script=SCRIPT)
    assert refusal(start(server.pid, ENOUGH)) == (
        f"cannot open the binary of process {server.pid} (server): Permission denied; this needs CAP_DAC_READ_SEARCH"
    )
    check_traced(server, start(server.pid, [*ENOUGH, "CAP_DAC_READ_SEARCH"]))


def test_uprobes_before_6_10(serve: Serve, start: Callable[..., Tracer]) -> None:
    """Without links, uprobes need CAP_SYS_ADMIN, which includes CAP_BPF and CAP_PERFMON."""
    server, more = serve(script=SCRIPT), OLD_KERNEL
    sentence = refusal(start(server.pid, [*NAMED, *set(more) - {"CAP_SYS_ADMIN"}], program="h2olog-single"))
    assert sentence.startswith(
        "the kernel refuses uprobes: Permission denied; this process lacks CAP_SYS_ADMIN, which uprobes need before "
        "Linux 6.10"
    )
    admin = [name for name in ENOUGH if name not in ("CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN")] + ["CAP_SYS_ADMIN"]
    check_traced(server, start(server.pid, admin, program="h2olog-single"))


# --- libraries ---


MAPPER = """
import mmap, sys
file = open(sys.argv[1], "rb")
code = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
print(flush=True)
input()
"""


class Mapper:
    """A process whose binary has no probes, but which has mapped a file with probes, as the loader maps a library."""

    def __init__(self, library: Path) -> None:
        library.write_bytes(STANDIN.read_bytes())
        library.chmod(0o644)
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-c", MAPPER, str(library)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None and self.process.stdout.readline() == "\n"
        self.pid = self.process.pid
        self.name = Path(f"/proc/{self.pid}/comm").read_text().strip()


@pytest.fixture
def mapper(anywhere: Path) -> Iterator[Mapper]:
    started = Mapper(anywhere / "library.so")
    yield started
    started.process.kill()
    started.process.communicate()


READING_ALL = ["CAP_SYS_PTRACE", "CAP_CHECKPOINT_RESTORE", "CAP_DAC_READ_SEARCH"]


@pytest.mark.parametrize("capabilities", [["CAP_SYS_PTRACE"], ["CAP_SYS_PTRACE", "CAP_CHECKPOINT_RESTORE"], READING_ALL])
def test_probes_of_a_library(mapper: Mapper, anywhere: Path, capabilities: list[str]) -> None:
    """Without map_files, it is found by its name."""
    words = ["-l", "-p", str(mapper.pid)]
    done = run(*words, program=str(anywhere / "h2olog"), before=as_user(capabilities))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run(*words).stdout and "h2o:send_response(" in done.stdout


@pytest.mark.parametrize("replaced", [False, True])
def test_removed_library(mapper: Mapper, anywhere: Path, replaced: bool) -> None:
    """Only map_files leads to it. Another file with its name is not used."""
    library, program = anywhere / "library.so", str(anywhere / "h2olog")
    content = library.read_bytes()
    if replaced:
        (anywhere / "new").write_bytes(content)
        (anywhere / "new").rename(library)
    else:
        library.unlink()
    words = ["-l", "-p", str(mapper.pid)]
    assert "h2o:send_response(" in run(*words, program=program, before=as_user(READING_ALL)).stdout
    for missing in ("CAP_CHECKPOINT_RESTORE", "CAP_DAC_READ_SEARCH"):
        capabilities = [name for name in READING_ALL if name != missing]
        done = run(*words, program=program, before=as_user(capabilities))
        assert (done.returncode, done.stdout) == (COULD_NOT_TRACE, "")
        assert done.stderr == (
            f"h2olog: process {mapper.pid} ({mapper.name}) has no h2o probes in its binary, and 1 of its libraries "
            "cannot be opened; this needs CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH\n"
        )


def test_server_without_one_of_its_libraries(start: Callable[..., Tracer], anywhere: Path) -> None:
    """The server is traced, and the library is reported."""
    script = anywhere / "script"
    script.write_text(SCRIPT)
    (anywhere / "jump").write_bytes(bytes(8))  # clock.so needs it
    library = anywhere / "preloaded.so"
    library.write_bytes((BUILD / "t" / "standin" / "clock.so").read_bytes())
    process = subprocess.Popen(
        [str(STANDIN), "--script", str(script)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "LD_PRELOAD": str(library), "CLOCK_JUMP": str(anywhere / "jump")},
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline().startswith("listening ")
        library.unlink()
        tracer = start(process.pid, ENOUGH)
        tracer.wait_attached()
        process.send_signal(10)  # SIGUSR1: play
        assert tracer.wait_lines(COUNT) == LINES
        assert tracer.stop() == 0
        assert tracer.messages().splitlines()[0] == (
            f"h2olog: 1 libraries of process {process.pid} cannot be opened, and their probes, if any, are not traced: "
            "this needs CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH"
        )
    finally:
        process.kill()
        process.communicate()
