"""h2olog keeps as few rights of root as possible, as short as possible, and trusts no input."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import BUILD, Server, Tracer, run, wait_until
from support import COUNT, HTTP_PROBES, LINES, PROGRAMS, SCRIPT, Before, Memory, Serve, Trace, status_of

NOBODY, CALLER, GROUP = 65534, 1234, 5678


def environment(**variables: str) -> Before:
    """For `before`: adds variables to the environment of h2olog."""
    return lambda: os.environ.update(variables)


def as_sudo(uid: object = CALLER, gid: object = GROUP) -> Before:
    return environment(SUDO_UID=str(uid), SUDO_GID=str(gid), SUDO_USER="somebody", SUDO_COMMAND="h2olog")


# --- privileges at the first line ---


NO_SUDO, SUDO, ROOTS_SUDO = None, (CALLER, GROUP), (0, 0)


@pytest.mark.parametrize(
    "program, mode, options, sudo, uid, gid",
    [
        ("h2olog", "http", [], NO_SUDO, NOBODY, NOBODY),
        ("h2olog", "http", [], SUDO, CALLER, GROUP),
        ("h2olog", "http", [], ROOTS_SUDO, NOBODY, NOBODY),
        ("h2olog", "http", ["-r"], NO_SUDO, 0, 0),
        ("h2olog", "all", ["--keep-root"], SUDO, 0, 0),
        ("h2olog", "all", [], SUDO, CALLER, GROUP),
        ("h2olog-single", "http", [], NO_SUDO, NOBODY, NOBODY),
        ("h2olog-single", "http", ["-r"], SUDO, 0, 0),
    ],
)
def test_least_privilege(
    serve: Serve, trace: Trace, program: str, mode: str, options: list[str], sudo: tuple[int, int] | None,
    uid: int, gid: int,
) -> None:  # fmt: skip
    """Every thread, as soon as there is a line."""

    def before() -> None:
        os.setgroups([4, 27])
        if sudo is not None:
            as_sudo(*sudo)()

    server = serve(script="h2o:send_response conn_id=1 req_id=2 status=200\n")
    probes = ["-t", "h2o:send_response"] if mode == "all" else []
    tracer = trace(server, mode, *options, *probes, program=program, before=before)
    assert server.play() == (1, 0)
    tracer.wait_lines(1)
    tasks = list(Path(f"/proc/{tracer.process.pid}/task").iterdir())
    assert tasks
    for task in tasks:
        status = status_of(task)
        assert status["Uid"].split() == [str(uid)] * 4
        assert status["Gid"].split() == [str(gid)] * 4
        assert status["Groups"].split() == []
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind], 16) == 0, kind
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"  # SECCOMP_MODE_FILTER
    assert server.play() == (1, 0)  # it works in this state
    assert len(tracer.wait_lines(2)) == 2
    assert tracer.stop() == 0
    assert len(tracer.lines()) == 2


@pytest.mark.parametrize("program", PROGRAMS)
def test_memory_is_private(serve: Serve, trace: Trace, program: str) -> None:
    """Memory has cookies of other users: no core dumps, and not even its own user can read it."""
    server = serve(script="h2o:send_response conn_id=1 req_id=2 status=200\n")
    tracer = trace(server, program=program, before=as_sudo())
    server.play()
    tracer.wait_lines(1)
    process = Path(f"/proc/{tracer.process.pid}")
    limits = re.search(r"^Max core file size +(\S+) +(\S+) ", (process / "limits").read_text(), re.M)
    assert limits is not None and limits.groups() == ("0", "0")
    assert status_of(process)["Uid"].split() == [str(CALLER)] * 4
    assert (process / "mem").stat().st_uid == 0  # this shows that a process is not dumpable

    child = os.fork()
    if child == 0:
        os._exit(look_into(tracer.process.pid))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def look_into(pid: int) -> int:
    """Tries to read memory as the user that h2olog has become. Returns how far that worked."""
    os.setgroups([])
    os.setgid(GROUP)
    os.setuid(CALLER)
    for name in ("mem", "environ", "maps", "fd"):
        try:
            os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
            return 1
        except PermissionError:
            pass
    ptrace_seize = 0x4206
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(ptrace_seize, pid, 0, 0) == 0 or ctypes.get_errno() != errno.EPERM:
        return 2
    return 0


def test_no_core_dump_from_the_start(serve: Serve) -> None:
    """While it is root, too."""
    command = [str(BUILD / "h2olog"), "all", "-p", str(serve().pid)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limits = Path(f"/proc/{process.pid}/limits")
        wait_until(lambda: re.search(r"^Max core file size +0 +0 ", limits.read_text(), re.M) is not None, "the limit")
        # before it looks at the server
        status = status_of(limits.parent)
        assert status["Uid"].split()[0] == "0" and status["Seccomp"] == "0"
    finally:
        process.kill()
        process.wait()


# --- SUDO_UID ---

MALFORMED = [
    "", " ", "root", "-1", "+1", " 1", "1 ", "1\n", "\t1", "0x10", "1e3", "1.0", "1,2", "1:2", "1;id", "NaN",
    "4294967295", "4294967296", "4294968530", "18446744073709551616", "18446744073709552850", "9" * 400, "\x1b[2J1",
    "\u0661\u0662", "\uff11", "1\u00a0",
]  # fmt: skip


@pytest.mark.parametrize("word", MALFORMED)
def test_malformed_sudo_ids(serve: Serve, tmp_path: Path, word: str) -> None:
    """This is an error; h2olog does not stay root."""
    server, file = serve(), tmp_path / "file"
    memory = Memory(server)
    for before in (as_sudo(uid=word), as_sudo(gid=word)):
        done = run("-p", str(server.pid), "-w", str(file), before=before)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "h2olog: SUDO_UID and SUDO_GID must be numeric ids of a user and a group; "
            "unset both to run on as nobody\n"
        )
    assert memory.switched_on() == set() and not file.exists()


@pytest.mark.parametrize("name", ["SUDO_UID", "SUDO_GID"])
def test_half_of_the_sudo_ids(serve: Serve, name: str) -> None:
    server = serve()
    memory = Memory(server)
    done = run("-p", str(server.pid), before=environment(**{name: "1234"}))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("h2olog: SUDO_UID and SUDO_GID must be ") and done.stderr.count("\n") == 1
    assert memory.switched_on() == set()


# --- the environment ---


def hostile_headers(folder: Path) -> str:
    """Makes a tree of headers that do not compile."""
    names = ["linux/types.h", "linux/kconfig.h", "linux/version.h", "linux/bpf.h", "linux/ptrace.h", "asm/page.h"]
    names += ["uapi/linux/ptrace.h", "uapi/linux/bpf.h", "stddef.h", "stdint.h", "bcc/helpers.h"]
    for name in names:
        for top in ("", "include", "source/include", "build/include"):
            file = folder / top / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text('#error "planted"\n')
    return str(folder)


def fake_tools(folder: Path, mark: Path) -> str:
    """Makes programs that leave a mark if they are run."""
    folder.mkdir()
    for name in ("clang", "clang-14", "llc", "opt", "ptxas", "ld", "ld.lld", "as", "gcc", "uname", "modprobe", "sh"):
        (folder / name).write_text(f"#!/bin/sh\necho {name} >>{mark}\nexit 1\n")
        (folder / name).chmod(0o755)
    return str(folder)


def check_hostile(headers: str, tools: str, mark: Path) -> None:
    """Checks the preconditions: using a header fails, and running a program leaves the mark."""
    command, source = ["/usr/bin/cc", "-E", "-"], b"#include <linux/types.h>\n"
    assert subprocess.run(command, input=source, capture_output=True).returncode == 0
    done = subprocess.run(command, input=source, capture_output=True, env={"CPATH": f"{headers}/include"})
    assert done.returncode != 0 and b"planted" in done.stderr
    assert not mark.exists()
    assert subprocess.run(["/bin/sh", "-c", "llc"], env={"PATH": tools}).returncode == 1
    assert mark.read_text() == "llc\n"
    mark.unlink()


@pytest.mark.parametrize("name", ["ARCH", "BCC_LINUX_VERSION_CODE", "all"])
def test_hostile_environment(serve: Serve, trace: Trace, tmp_path: Path, name: str) -> None:
    """No variable changes which headers, files or programs libbcc and clang use, or what they print."""
    server, mark = serve(script=SCRIPT), tmp_path / "mark"
    headers, tools = hostile_headers(tmp_path / "headers"), fake_tools(tmp_path / "tools", mark)
    check_hostile(headers, tools, mark)
    variables = {
        "ARCH": "arm64", "BCC_LINUX_VERSION_CODE": "1", "BCC_KERNEL_MODULES_SUFFIX": "build", "BCC_SEC_HELPERS": "1",
        "BCC_PROBE_PREFIX": "x", "PATH": tools, "COMPILER_PATH": tools, "CLANG": f"{tools}/clang", "CC": f"{tools}/gcc",
        "GCC_EXEC_PREFIX": f"{tools}/", "CCC_OVERRIDE_OPTIONS": f"+-I{headers} +-Dint=char", "RC_DEBUG_OPTIONS": "1",
        "TMPDIR": f"{tmp_path}/missing", "HOME": headers, "XDG_CACHE_HOME": headers, "SDKROOT": headers,
        "CPATH": headers, "C_INCLUDE_PATH": headers, "LIBRARY_PATH": headers, "LLVM_OVERRIDE_PRODUCER": "x",
        "BCC_KERNEL_SOURCE": headers, "BCC_KERNEL_MODULES_DIR": headers, "BCC_SYMFS": headers,
        "BCC_DEBUGINFO_ROOT": headers, "TZ": "HOSTILE-13:30", "LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de",
    }  # fmt: skip
    if name != "all":
        variables = {name: variables[name]}
    tracer = trace(server, before=environment(**variables))
    assert server.play() == (COUNT, 0)
    assert tracer.stop() == 0
    assert tracer.lines() == LINES
    (attached,) = tracer.messages().splitlines()
    assert re.fullmatch(rf"\d+-\d\d-\d\dT\d\d:\d\d:\d\dZ Attaching: tracing PID {server.pid} \(.*\): \d+ probes? attached", attached)
    assert not mark.exists()


# --- names of processes ---


class Renamed(Server):
    """A stand-in with any command line."""

    def __init__(self, script: Path, name: bytes, words: list[bytes]) -> None:
        binary = script.parent / os.fsdecode(name)
        self.binary = BUILD / "t" / "standin" / "standin-2026-06"
        binary.write_bytes(self.binary.read_bytes())
        binary.chmod(0o755)
        # its own words come first; getopt(3) finds the options after them
        command = [words[0], b"--script", bytes(script), *words[1:]]
        self.process = subprocess.Popen(command, executable=bytes(binary), stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        match = re.match(r"listening on 127\.0\.0\.1:\d+ pid (\d+) ", self.process.stdout.readline())
        assert match is not None
        self.pid = int(match.group(1))


HOSTILE = b"h2o\n2026-11-22T12:23:01Z Attaching: tracing PID 1 (forged)\r\x1b[2J\x07\x7f\xff\xc2\x9b31m\xe2\x80"
ESCAPED = r"h2o\x0a2026-11-22T12:23:01Z Attaching: tracing PID 1 (forged)\x0d\x1b[2J\x07\x7f\xff\xc2\x9b31m\xe2\x80"


def is_tame(text: bytes) -> bool:
    """Checks that there is no byte that moves the cursor, and no forged line."""
    return re.search(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", text) is None


@pytest.mark.parametrize("options", [["-d"], ["-dd"], ["all", "-dd"]])
def test_hostile_name_of_a_server(tmp_path: Path, options: list[str]) -> None:
    script = tmp_path / "script"
    script.write_text(SCRIPT)
    server = Renamed(script, b"a\n\x1b[31m\xff", [HOSTILE])
    folder = tmp_path / "tracer"
    folder.mkdir()
    tracer = Tracer(folder, *options, "-p", str(server.pid), attached=False)
    try:
        wait_until(lambda: b" Attaching: tracing PID %d " % server.pid in tracer.err.read_bytes(), "attaching")
        assert server.play() == (COUNT, 0)
        assert tracer.stop() == 0
    finally:
        tracer.stop(signal.SIGKILL)
        server.stop(signal.SIGKILL)
    out, err = tracer.out.read_bytes(), tracer.err.read_bytes()
    assert is_tame(out) and is_tame(err)
    assert out.count(b"\n") == COUNT
    attached = [line for line in err.decode().split("\n") if " Attaching: " in line]
    assert len(attached) == 1
    assert re.search(re.escape(f" Attaching: tracing PID {server.pid} ({ESCAPED} --script {script}): ") + r"\d+ probes? attached$", attached[0])


@pytest.mark.parametrize("options", [["-w", "file"], ["-l"]])
def test_hostile_name_in_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """A process without probes; prctl(2) set its name. The failed start leaves no file behind."""
    monkeypatch.chdir(tmp_path)
    ready = "import ctypes; ctypes.CDLL(None).prctl(15, b'a\\n\\x1b[2J\\xff', 0, 0, 0); print(flush=True); input()"
    process = subprocess.Popen(
        [HOSTILE, "-c", ready], executable="/usr/bin/python3", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        done = run(*options, "-p", str(process.pid))
    finally:
        process.kill()
        process.communicate()
    assert (done.returncode, done.stdout) == (1, "")
    sentence = rf"h2olog: PID {process.pid} (a\x0a\x1b[2J\xff) has no h2o probes; h2o needs -DWITH_DTRACE=on" + "\n"
    assert done.stderr == sentence
    assert list(tmp_path.iterdir()) == []


def test_hostile_notes(tmp_path: Path) -> None:
    """A binary can have any names of probes and any operands."""
    content = (BUILD / "t" / "standin" / "standin-2026-06").read_bytes()
    operands = re.search(rb"h2o\0send_response_header\0([^\0]+)\0", content)
    assert operands is not None
    evil = (b"8@%rdi\n\x1b[2J*/" + b"x" * 200)[: len(operands.group(1))]
    content = content[: operands.start(1)] + evil + content[operands.end(1) :]
    content = content.replace(b"h2o\0h1_close\0", b"h2o\0h1\n\x1b[2mX\0")
    script = tmp_path / "script"
    script.write_text("h2o:send_response conn_id=1 req_id=2 status=200\n")
    binary = tmp_path / "server"
    binary.write_bytes(content)
    binary.chmod(0o755)
    server = Server("2026-06", script=script, binary=binary)
    folder = tmp_path / "tracer"
    folder.mkdir()
    tracer = Tracer(folder, "all", "-dd", "-t", "h2o:*", "-p", str(server.pid), attached=False)
    try:
        wait_until(lambda: tracer.process.poll() is not None or b" Attaching: " in tracer.err.read_bytes(), "start")
        listed = run("-l", "-p", str(server.pid))
        assert server.play() == (1, 0)
        tracer.wait_lines(1)
        assert tracer.stop() == 0
    finally:
        tracer.stop(signal.SIGKILL)
        server.stop(signal.SIGKILL)
    assert b"cannot be read" in tracer.err.read_bytes()
    for text in (tracer.out.read_bytes(), tracer.err.read_bytes(), (listed.stdout + listed.stderr).encode()):
        assert is_tame(text)
    assert HTTP_PROBES & set(re.findall(r"h2o:(\w+)", listed.stdout))
