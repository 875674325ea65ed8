"""An error gives one sentence that says what to do, and an exit status."""

from __future__ import annotations

import errno
import os
import random
import re
import resource
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest
from conftest import (
    BUILD, PATIENCE, Answer, PidNamespace, Server, Tracer, children_of, refusing, refusing_uprobes, run,
    take_uprobe_events, wait_until,
)  # fmt: skip
from support import PROGRAMS, STARTS, Memory, Serve, become_nobody, slow_at, start_until, without

Start = Callable[..., int]

COULD_NOT_TRACE, WRONG_USAGE = 1, 2

BPF_MAP_CREATE, BPF_PROG_LOAD = 0, 5


def fails(
    status: int, sentence: str, *arguments: str, program: str = "h2olog", before: Callable[[], None] | None = None
) -> None:
    """Checks that h2olog prints one sentence, and nothing else."""
    done = run(*arguments, program=program, before=before)
    assert (done.stderr, done.returncode, done.stdout) == (f"h2olog: {sentence}\n", status, "")


BASH = Path("/bin/bash").resolve()


def sleeping(binary: Path, command: str = "read line; exit 0") -> list[str]:
    """Returns the command of a process that does nothing and has the name of its binary. Arguments can be added."""
    if not binary.exists():
        binary.write_bytes(BASH.read_bytes())
        binary.chmod(0o755)
    return [str(binary), "-c", command]  # waits, because there is nothing to read


def is_called(pid: int, name: str) -> bool:
    return Path(f"/proc/{pid}/comm").read_bytes() == name.encode() + b"\n"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Start]:
    """Starts processes that do nothing: sleeper("h2o", "100") starts one with this name. Returns the PID."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> int:
        process = subprocess.Popen(
            [*sleeping(tmp_path / name), *arguments], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        processes.append(process)
        wait_until(lambda: is_called(process.pid, name), f"{name} to start")
        return process.pid

    yield start
    for process in processes:
        process.kill()
        process.wait()


# --- wrong usage ---


def start_in(pids: PidNamespace, binary: Path, *arguments: str, **how: str) -> int:
    """Starts such a process in a PID namespace. Returns its PID there."""
    words = [*sleeping(binary, **how), *arguments]
    process = pids.start(*words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    name = binary.name
    wait_until(lambda: any(is_called(pid, name) for pid in children_of(process.pid)), f"{name} to start")
    return pids.pid_of(process)


def list_in(pids: PidNamespace) -> list[str]:
    """Returns the commands in the table of servers in a namespace, where only the test has started servers."""
    done = pids.run(str(BUILD / "h2olog"), "--servers", timeout=PATIENCE)
    assert done.returncode == 0
    return [f"{line.split()[0]} {line.split(None, 5)[5]}" for line in done.stdout.split("\n")[1:-1]]


def test_servers_are_found_by_their_name(pids: PidNamespace, tmp_path: Path) -> None:
    servers = [start_in(pids, tmp_path / "h2o", "-c", f"conf-{number}") for number in range(2)]
    start_in(pids, tmp_path / "h2o-not")
    assert sorted(list_in(pids)) == sorted(
        f"{pid} {tmp_path}/h2o -c read line; exit 0 -c conf-{nth}" for nth, pid in enumerate(servers)
    )


def test_child_of_a_server_is_not_listed(pids: PidNamespace, tmp_path: Path) -> None:
    """A child with its name keeps its private keys, and does not serve."""
    command = "exec 3<&0; (read line <&3) & wait; exit 0"
    parent = start_in(pids, tmp_path / "h2o", "parent", command=command)
    (outside,) = children_of(pids.started[-1].pid)
    wait_until(lambda: children_of(outside) != [], "the child to start")
    assert is_called(children_of(outside)[0], "h2o")
    assert list_in(pids) == [f"{parent} {tmp_path}/h2o -c {command} parent"]


def test_hostile_server_in_the_list(pids: PidNamespace, tmp_path: Path) -> None:
    """A command line can neither add a line to the list nor control the terminal."""
    pid = start_in(pids, tmp_path / "h2o", "a\n  1 (forged)\n\x1b[2J")
    assert list_in(pids) == [rf"{pid} {tmp_path}/h2o -c read line; exit 0 a\x0a  1 (forged)\x0a\x1b[2J"]


@pytest.mark.parametrize("word", ["abc", "", "0", "-5", "+5", "12x", " 12", "0x10", "1.5", "2147483648", "9" * 30])
def test_pid_is_not_a_number(word: str) -> None:
    fails(WRONG_USAGE, f"-p takes a process id, not '{word}'; h2olog --servers lists the servers", "-p", word)


def test_hostile_pid() -> None:
    sentence = r"-p takes a process id, not '1\x0a2\x1b[2J\xff'; h2olog --servers lists the servers"
    fails(WRONG_USAGE, sentence, "-p", os.fsdecode(b"1\n2\x1b[2J\xff"))


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["-p"], "-p (--pid) needs its PID; h2olog --servers lists the servers"),
        (["--pid"], "-p (--pid) needs its PID; h2olog --servers lists the servers"),
        (["-p", "1", "-p", "2"], "-p takes only one process id; start another h2olog to trace '2'"),
        (["-p", "1", "-s"], "-s (--response-header) needs its NAME"),
        (["-p", "1", "-w"], "-w (--write) needs its FILE"),
        (["-p", "1", "-b"], "-b (--buffer) needs its SIZE"),
        (["-x"], "there is no option '-x'; h2olog --help lists them"),
        (["-p", "1", "-dx"], "there is no option '-x'; h2olog --help lists them"),
        (["--nope"], "there is no option '--nope'; h2olog --help lists them"),
        (["--nope=1", "-p", "1"], "there is no option '--nope=1'; h2olog --help lists them"),
        (["--no\npe\x1b[0m"], r"there is no option '--no\x0ape\x1b[0m'; h2olog --help lists them"),
        (["--debug=2", "-p", "1"], "'--debug=2': this option takes no argument"),
        (["-p", "1", "2"], "there is no mode '2'; use http, requests, quic or all, and -p before a process id"),
        (["1"], "there is no mode '1'; use http, requests, quic or all, and -p before a process id"),
        (["-p", "1", "HTTP"], "there is no mode 'HTTP'; use http, requests, quic or all, and -p before a process id"),
        (["http", "-p", "1", "more"], "unexpected argument 'more'; see h2olog --help"),
        (["http", "http"], "unexpected argument 'http'; see h2olog --help"),
        (["-p", "1", "--", "http", "-d"], "unexpected argument '-d'; see h2olog --help"),
        (["-p", "1", "-s", ""], "-s takes the name of a header, such as content-type"),
        (["-p", "1", "-s", "a: b"], "'a: b' cannot be the name of a header; give -s the name alone"),
        (["-p", "1", "-s", "a\n"], r"'a\x0a' cannot be the name of a header; give -s the name alone"),
        (["-p", "1", "-s", "n" * 257], f"-s takes a name of at most 256 bytes, not '{'n' * 257}'"),
        (["-p", "1", "-w", ""], "-w takes the name of a file"),
        (["-p", "1", "-b", "much"], "-b takes a size such as 512K or 4M, not 'much'"),
        (["-p", "1", "-b", ""], "-b takes a size such as 512K or 4M, not ''"),
        (["-p", "1", "-b", "4MB"], "-b takes a size such as 512K or 4M, not '4MB'"),
        (["-p", "1", "-b", "-4K"], "-b takes a size such as 512K or 4M, not '-4K'"),
        (["-p", "1", "-b", "4095"], "-b takes a size from 4K to 1G, not 4095"),
        (["-p", "1", "-b", "2G"], "-b takes a size from 4K to 1G, not 2G"),
        (["-p", "1", "-b", "18014398509481984K"], "-b takes a size from 4K to 1G, not 18014398509481984K"),
    ],
)
def test_wrong_usage(words: list[str], sentence: str) -> None:
    fails(WRONG_USAGE, sentence, *words)


# --- processes that cannot be traced ---


def test_no_such_process() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    fails(COULD_NOT_TRACE, f"there is no process {process.pid}", "-p", str(process.pid))
    fails(COULD_NOT_TRACE, "there is no process 2147483647", "-p", "2147483647")


def test_process_that_has_ended() -> None:
    """It is a zombie until its parent reads its status."""
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        sentence = f"process {process.pid} ended before it could be traced"
        fails(COULD_NOT_TRACE, sentence, "-p", str(process.pid))


@pytest.mark.parametrize("program", PROGRAMS)
def test_thread(serve: Serve, program: str) -> None:
    server = serve(threads=2)
    threads = [int(name) for name in os.listdir(f"/proc/{server.pid}/task") if int(name) != server.pid]
    assert len(threads) >= 2
    sentence = f"{threads[0]} is a thread of process {server.pid}; trace that: -p {server.pid}"
    fails(COULD_NOT_TRACE, sentence, "-p", str(threads[0]), program=program)


# A container has no kernel thread: there, only the next test checks this.
if Path("/proc/2/comm").exists() and is_called(2, "kthreadd"):

    def test_thread_of_the_kernel() -> None:
        fails(COULD_NOT_TRACE, "process 2 (kthreadd) is a kernel thread, not a server", "-p", "2")


def test_faked_kernel_thread(without_memory: int, tmp_path: Path) -> None:
    """A process without memory, like one that is exiting. The test fakes the stat file of a kernel thread."""
    stat, name = tmp_path / "stat", Path(f"/proc/{without_memory}/comm").read_text().strip()
    fields = Path(f"/proc/{without_memory}/stat").read_text().split()  # its name is one word
    fields[8] = str(int(fields[8]) | 0x00200000)  # PF_KTHREAD
    stat.write_text(" ".join(fields) + "\n")
    script = f'mount --bind {stat} /proc/{without_memory}/stat; exec "$0" "$@"'
    words = ["sh", "-ec", script, str(BUILD / "h2olog"), "-p", str(without_memory)]
    sentence = f"process {without_memory} ({name}) is a kernel thread, not a server"
    fails(COULD_NOT_TRACE, sentence, "--mount", *words, program="/usr/bin/unshare")


@pytest.fixture
def without_memory() -> Iterator[int]:
    """A process without memory that has not ended, because only its first thread has."""
    number = {"x86_64": 60, "aarch64": 93}[os.uname().machine]  # SYS_exit, of one thread
    script = (
        "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); "
        f"ctypes.CDLL(None).syscall({number}, 0)"
    )
    with subprocess.Popen(["/usr/bin/python3", "-c", script], stdin=subprocess.DEVNULL) as process:
        try:
            state = Path(f"/proc/{process.pid}/stat")
            wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z", "its first thread to end")
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("arguments", [[], ["-l"]])
def test_exiting_process(without_memory: int, arguments: list[str]) -> None:
    sentence = f"process {without_memory} ended before it could be traced"
    fails(COULD_NOT_TRACE, sentence, *arguments, "-p", str(without_memory))


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name, shown", [("nginx", "nginx"), ("a b)", "a b)"), ("\x1b[31mred", r"\x1b[31mred")])
def test_process_without_probes(sleeper: Start, program: str, name: str, shown: str) -> None:
    pid = sleeper(name)
    sentence = f"PID {pid} ({shown}) has no h2o probes; h2o needs -DWITH_DTRACE=on"
    fails(COULD_NOT_TRACE, sentence, "-p", str(pid), program=program)


def test_process_without_the_probes_of_http(serve: Serve, tmp_path: Path) -> None:
    """A server without the probes of HTTP: its notes have another provider."""
    binary = tmp_path / "lacking"
    content = (BUILD / "t" / "standin" / "standin-2026-06").read_bytes()
    for probe in (b"receive_request", b"receive_request_header", b"send_response", b"send_response_header"):
        content = content.replace(b"h2o\0" + probe + b"\0", b"h2o\0" + probe[:-1] + b"X\0")
    binary.write_bytes(content)
    binary.chmod(0o755)
    sentence = "this server has none of the probes to trace; h2olog -l -p PID lists those that it has"
    fails(COULD_NOT_TRACE, sentence, "-p", str(serve(binary=binary).pid))


# --- missing privileges ---


@pytest.mark.parametrize("program", PROGRAMS)
def test_not_root(serve: Serve, anywhere: Path, tmp_path: Path, program: str) -> None:
    server, file = serve(), tmp_path / "file"
    file.write_text("kept")
    for words in (["-p", str(server.pid)], ["-p", str(server.pid), "-d", "-w", str(file)]):
        done = run(*words, program=str(anywhere / program), before=become_nobody)
        sentence = (
            "h2olog: this process lacks CAP_BPF and CAP_PERFMON, which loading BPF programs needs: put sudo before the "
            'command, or run it with the capabilities that README names under "Without root"\n'
        )
        assert (done.stderr, done.returncode, done.stdout) == (sentence, COULD_NOT_TRACE, "")
    assert file.read_text() == "kept"


def test_listing_needs_no_root(anywhere: Path) -> None:
    """Listing the servers needs no root."""
    for word, begin in {"-h": "Usage: h2olog ", "-V": "h2olog "}.items():
        done = run(word, program=str(anywhere / "h2olog"), before=become_nobody)
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(begin)
    assert run("--servers", program=str(anywhere / "h2olog"), before=become_nobody).returncode == 0


# --- files ---


def test_file_that_cannot_be_opened(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    for file, reason in {
        tmp_path / "missing" / "file": "No such file or directory",
        tmp_path: "Is a directory",
        f"{tmp_path}/": "Is a directory",
        tmp_path / ("n" * 256): "File name too long",
    }.items():
        sentence = f"cannot write {file}: {reason}"
        fails(COULD_NOT_TRACE, sentence, "-p", str(server.pid), "-w", str(file))
    sentence = rf"cannot write {tmp_path}/\x1b[2J\x0a/file: No such file or directory"
    fails(COULD_NOT_TRACE, sentence, "-p", str(server.pid), "-w", f"{tmp_path}/\x1b[2J\n/file")


# --- refusals of the kernel ---


SYS_PTRACE, SYS_ADMIN, SYS_RESOURCE, PERFMON, BPF = 19, 21, 24, 38, 39


def refused(server: Server, program: str, before: Callable[[], None]) -> str:
    """Returns the sentence of a run that the kernel refused, with status 1."""
    done = run("-p", str(server.pid), program=program, before=before)
    assert take_uprobe_events(server) == []
    assert (done.returncode, done.stdout) == (COULD_NOT_TRACE, "")
    match = re.fullmatch(r"h2olog: (.*)\n", done.stderr)
    assert match is not None, done.stderr
    return match.group(1)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("missing", [(SYS_ADMIN, BPF, PERFMON), (SYS_ADMIN, BPF), (SYS_ADMIN, PERFMON)])
def test_no_capability(serve: Serve, program: str, missing: tuple[int, ...]) -> None:
    """For root in a container, the message names exactly the missing capabilities."""
    names = " and ".join(name for name, number in {"CAP_BPF": BPF, "CAP_PERFMON": PERFMON}.items() if number in missing)
    sentence = f"this process lacks {names}, which loading BPF programs needs: "
    advice = "give the container CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN"
    assert refused(serve(), program, without(*missing)) == sentence + advice


def test_no_capability_for_uprobes(serve: Serve, tmp_path: Path) -> None:
    """Without uprobe_multi links, CAP_PERFMON is not enough. Nothing is left behind."""
    server = serve()
    words = ["-d", "-p", str(server.pid)]
    tracer = Tracer(tmp_path, *words, program="h2olog-single", attached=False, before=without(SYS_ADMIN))
    wait_until(lambda: tracer.process.poll() is not None or " Attaching: " in tracer.messages(), "the start")
    status = tracer.stop()
    assert take_uprobe_events(server) == []
    assert status == COULD_NOT_TRACE
    assert tracer.messages().startswith("h2olog: the kernel refuses uprobes: ")
    assert "CAP_SYS_ADMIN" in tracer.messages() and tracer.messages().count("\n") == 1


def test_no_capability_to_read_the_server(serve: Serve) -> None:
    """Without CAP_SYS_PTRACE, root cannot read the binary of a process that has more capabilities."""
    sentence = refused(serve(), "h2olog", without(SYS_PTRACE))
    assert "CAP_SYS_PTRACE" in sentence


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("command", [None, BPF_MAP_CREATE, BPF_PROG_LOAD])
def test_seccomp(serve: Serve, program: str, command: int | None) -> None:
    sentence = refused(serve(), program, refusing("bpf", errno.EPERM, command))
    assert sentence.startswith("the kernel refuses BPF ") and "seccomp" in sentence


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("error", [errno.EPERM, errno.EACCES])
def test_no_uprobes(serve: Serve, program: str, error: int) -> None:
    sentence = refused(serve(), program, refusing_uprobes(program, error))
    assert sentence.startswith("the kernel refuses uprobes: ") and "seccomp" in sentence


@pytest.mark.parametrize("program", PROGRAMS)
def test_kernel_without_bpf(serve: Serve, program: str) -> None:
    sentence = refused(serve(), program, refusing("bpf", errno.ENOSYS))
    assert sentence.startswith("the kernel refuses BPF ") and "CONFIG_BPF_SYSCALL" in sentence


def test_kernel_before_5_3(serve: Serve) -> None:
    """The first missing feature is reported."""
    server = serve()
    sentence = refused(server, "h2olog", refusing("pidfd_open", errno.ENOSYS))
    assert sentence == f"cannot watch process {server.pid}: Function not implemented; h2olog needs Linux 5.10"


def test_ring_that_the_kernel_refuses(serve: Serve) -> None:
    sentence = refused(serve(), "h2olog", refusing("bpf", errno.ENOMEM, BPF_MAP_CREATE))
    assert "ring" in sentence and "-b" in sentence


# --- limits ---


def stack_of(kilobytes: int, hard: bool) -> Callable[[], None]:
    """For `before`: a small stack. `hard`: this process cannot enlarge it."""

    def limit() -> None:
        most = resource.getrlimit(resource.RLIMIT_STACK)[1]
        resource.setrlimit(resource.RLIMIT_STACK, (kilobytes << 10, kilobytes << 10 if hard else most))
        if hard:
            without(SYS_RESOURCE)()

    return limit


def test_small_stack(serve: Serve, tmp_path: Path) -> None:
    """The compiler would end in SIGSEGV, so the limit is raised as far as possible."""
    server = serve()
    tracer = Tracer(tmp_path, "all", "-d", "-p", str(server.pid), before=stack_of(64, hard=False))
    assert tracer.stop() == 0


def test_stack_that_is_too_small(serve: Serve) -> None:
    sentence = refused(serve(), "h2olog", stack_of(64, hard=True))
    assert sentence == (
        "the stack is limited to 64 KiB, which is too little for the compiler; raise the limit (ulimit -s) to 8192 KiB"
    )


# --- a server that ends ---


def attach_seconds(server: Server, program: str, folder: Path) -> float:
    """Returns how long attaching takes on this machine now."""
    folder.mkdir()
    start = time.monotonic()
    tracer = Tracer(folder, "-d", "-p", str(server.pid), program=program)
    took = time.monotonic() - start
    tracer.stop(signal.SIGKILL)
    return took


@pytest.mark.parametrize("program, rounds", [("h2olog", 14), ("h2olog-single", 7)])
def test_server_ends_during_attaching(serve: Serve, tmp_path: Path, program: str, rounds: int) -> None:
    took = attach_seconds(serve(), program, tmp_path / "first")
    for nth in range(rounds):
        server = serve()
        command = [str(BUILD / program), "-p", str(server.pid)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tracer:
            time.sleep(took * (nth + random.random()) / rounds)
            server.stop(random.choice([signal.SIGTERM, signal.SIGKILL]))
            out, err = tracer.communicate(timeout=PATIENCE)
        assert out == ""
        if tracer.returncode == 0:
            assert err == f"h2olog: process {server.pid} ended\n"
        else:
            assert tracer.returncode == COULD_NOT_TRACE
            assert err in (
                f"h2olog: process {server.pid} ended before it could be traced\n",
                "h2olog: the server ended before it could be traced\n",
                f"h2olog: there is no process {server.pid}\n",
            )


@pytest.mark.parametrize("program, stage", STARTS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_server_ends_at_a_stage_of_the_start(
    serve: Serve, answer: Answer, program: str, stage: str, number: int
) -> None:
    server = serve()
    command = [str(BUILD / program), "-d", "-p", str(server.pid)]
    process = start_until(
        stage, Memory(server),
        lambda: subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=slow_at(stage, answer)
        ),
    )  # fmt: skip
    server.stop(number)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (COULD_NOT_TRACE, "")
    assert err in (
        f"h2olog: process {server.pid} ended before it could be traced\n",
        "h2olog: the server ended before it could be traced\n",
    )
