"""The completions, tested in the real shells."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Iterator, NamedTuple, Sequence

import pytest

from surroundings import PidNamespace, children_of

BUILD = Path(os.environ.get("H2OLOG_BUILD_DIR", Path(__file__).parents[2] / "build"))
GENERATED = BUILD / "generated"
H2OLOG = BUILD / "h2olog"
PATIENCE = 30.0
NOBODY = 65534

MODES = {"http", "quic", "all"}

# A process named h2o that h2olog lists as a server.
IMPOSTOR = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'h2o'); print('ready', flush=True); time.sleep(600)"


@pytest.fixture(scope="module")
def pids() -> Iterator[PidNamespace]:
    """A PID namespace in which the shells and the servers of the tests are alone, because PIDs of servers are
    completed."""
    made = PidNamespace()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(pids: PidNamespace) -> int:
    """The PID of a process named h2o."""
    process = pids.start(sys.executable, "-c", IMPOSTOR, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return pids.pid_of(process)


@pytest.fixture(scope="module")
def old_server(pids: PidNamespace) -> int:
    """The PID of a stand-in with other tracepoints than the current ones."""
    process = pids.start(str(BUILD / "t" / "standin" / "standin-2020-06"), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline().startswith("listening on ")
    return pids.pid_of(process)


@pytest.fixture(scope="module")
def folder(pids: PidNamespace) -> Iterator[Folder]:
    """A folder that every user can read, with h2olog, its completions, and files to complete."""
    path = Path(tempfile.mkdtemp(prefix="h2olog-test.", dir="/tmp"))  # $TMPDIR can be readable for one user only
    path.chmod(0o755)
    for source in (H2OLOG, *(GENERATED / f"h2olog.{shell}" for shell in ("bash", "zsh", "fish"))):
        shutil.copy(source, path)
        (path / source.name).chmod(0o755)
    (path / "h2olog.zsh").rename(path / "_h2olog")
    (path / "trace one.jsonl").touch()
    (path / "trace-2").mkdir()
    (path / "home").mkdir()
    (path / "home").chmod(0o777)  # fish stores files of the user there
    yield Folder(path, pids)
    shutil.rmtree(path)


class Folder(NamedTuple):
    path: Path
    pids: PidNamespace  # its shells run in it

    def __str__(self) -> str:
        return str(self.path)


def tracepoints(*arguments: str, pids: PidNamespace | None = None) -> set[str]:
    command = [str(H2OLOG), "-l", *arguments]
    listed = subprocess.run(
        command if pids is None else pids.command(*command), check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return {line.partition("(")[0] for line in listed.splitlines()}


def environment(folder: Folder, user: str = "own") -> dict[str, str]:
    home = f"{folder}/home/{user}"
    return {
        "PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), "ZDOTDIR": str(folder),
        "XDG_CONFIG_HOME": home, "XDG_DATA_HOME": home, "XDG_CACHE_HOME": home, "LC_ALL": "C.UTF-8", "TERM": "dumb",
        "INPUTRC": "/dev/null",
    }  # fmt: skip


def as_nobody() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]


def ask(folder: Folder, *command: str, before: Sequence[str] = ()) -> list[str]:
    """Runs a shell in the folder. Returns the lines that it prints. Nothing may be printed to standard error, where the
    prompt is."""
    done = subprocess.run(
        folder.pids.command(*before, *command, cwd=str(folder)), env=environment(folder, "other" if before else "own"),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


Complete = Callable[..., list[str]]


def complete_bash(folder: Folder, line: str, before: Sequence[str] = ()) -> list[str]:
    """Calls the function as bash does: with the line, and with words that are split at ':' and '='."""
    words = re.findall(r"[:=]+|[^\s:=]+", line) + ([""] if line.endswith((" ", ":", "=")) else [])
    script = (
        'source ./h2olog.bash; COMP_LINE=$1; COMP_POINT=${#1}; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '[[ $(complete -p h2olog) == "complete -F _h2olog h2olog" ]] && _h2olog "$1" "${@: -1}" "${@: -2:1}"; '
        'for word in "${COMPREPLY[@]}"; do printf "%s\\n" "$word"; done'
    )
    return ask(folder, "bash", "--norc", "--noprofile", "-c", script, "bash", line, *words, before=before)


def complete_fish(folder: Folder, line: str, before: Sequence[str] = ()) -> list[str]:
    """Returns the completions without their descriptions and without the part that was typed."""
    words = line.replace("\\", "\\\\").replace("'", "\\'")
    replies = ask(folder, "fish", "-c", f"source ./h2olog.fish; complete -C '{words}'", before=before)
    typed = re.search(r"--[a-z-]+=", line.split(" ")[-1])
    return [re.sub(f"^{typed.group()}" if typed else "^", "", reply.partition("\t")[0]) for reply in replies]


SHELLS = {"bash": complete_bash, "fish": complete_fish}


@pytest.fixture(params=SHELLS)
def complete(request: pytest.FixtureRequest, folder: Folder) -> Complete:
    return lambda line, **how: SHELLS[request.param](folder, line, **how)


# --- completions ---------------------------------------------------------------------------------------


def test_modes(complete: Complete) -> None:
    assert MODES <= set(complete("h2olog "))
    assert complete("h2olog q") == ["quic"]
    assert complete("h2olog -d q") == ["quic"]
    assert complete("h2olog --debug -w q q") == ["quic"]


def test_one_mode_is_enough(complete: Complete) -> None:
    assert not MODES & set(complete("h2olog quic "))
    assert not MODES & set(complete("h2olog -d all "))


def test_options(complete: Complete) -> None:
    text = subprocess.run([H2OLOG, "--help"], check=True, stdout=subprocess.PIPE, text=True).stdout
    names = set(re.findall(r"^  (?:-\w, |    )(--[a-z-]+)", text, re.M))
    assert {reply.rstrip("=") for reply in complete("h2olog quic --")} == names
    assert [reply.rstrip("=") for reply in complete("h2olog --track")] == []
    assert [reply.rstrip("=") for reply in complete("h2olog --trac")] == ["--tracepoint"]


def test_pids(complete: Complete, server: int) -> None:
    for line in ("h2olog -p ", "h2olog --pid ", "h2olog --pid=", "h2olog quic -d -p "):
        assert complete(line) == [str(server)]


PORTS = (
    "import ctypes, socket, time; one, other = socket.socket(), socket.socket(type=socket.SOCK_DGRAM); "
    "one.bind(('127.0.0.1', 0)); port = one.getsockname()[1]; one.listen(); other.bind(('127.0.0.1', port)); "
    "ctypes.CDLL(None).prctl(15, b'h2o'); print(port, flush=True); time.sleep(600)"
)


def test_ports(complete: Complete, server: int, pids: PidNamespace) -> None:
    """A port of TCP and UDP is one. The other server listens on none."""
    process = pids.start(sys.executable, "-c", PORTS, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    try:
        for line in ("h2olog --port ", "h2olog --port=", "h2olog quic -d --port "):
            assert complete(line) == [port]
    finally:
        os.kill(children_of(process.pid)[0], signal.SIGKILL)
        process.wait(PATIENCE)


def test_tracepoints(complete: Complete) -> None:
    there = tracepoints()
    assert len(there) > 150
    for line in ("h2olog quic -t ", "h2olog all --tracepoint ", "h2olog quic --tracepoint=", "h2olog -t accept -t "):
        assert set(complete(line)) == there


def test_tracepoints_of_a_server(complete: Complete, old_server: int, pids: PidNamespace) -> None:
    there = tracepoints("-p", str(old_server), pids=pids)
    assert 50 < len(there) < len(tracepoints())
    for pid in (f"-p {old_server}", f"-p{old_server}", f"--pid {old_server}", f"--pid={old_server}"):
        assert set(complete(f"h2olog quic {pid} -t ")) == there


def test_tracepoints_without_such_a_server(complete: Complete, server: int) -> None:
    """Processes without tracepoints, and words that would be numbers only for a shell."""
    for pid in (str(server), "$(pidof h2o)", "nonsense"):
        assert set(complete(f"h2olog quic -p {pid} -t ")) == tracepoints()


def test_tracepoints_need_no_root(complete: Complete, old_server: int, pids: PidNamespace) -> None:
    """The tracepoints of a server of another user are unknown.
    A user without root can only test with own servers."""
    others = [] if os.geteuid() == 0 else ["-p", str(old_server)]
    assert set(complete("h2olog quic -t ", before=as_nobody())) == tracepoints()
    replies = set(complete(f"h2olog quic -p {old_server} -t ", before=as_nobody()))
    assert replies == tracepoints(*others, pids=pids)


def test_headers(complete: Complete) -> None:
    assert {"set-cookie"} <= set(complete("h2olog -s se"))
    assert "content-type" in complete("h2olog --response-header=content-t")


def test_sizes(complete: Complete) -> None:
    assert {"512K", "4M"} <= set(complete("h2olog -b "))


def test_files(folder: Folder) -> None:
    for line in ("h2olog -w tra", "h2olog quic --write tra", "h2olog --write=tra"):
        assert set(complete_fish(folder, line)) == {"trace one.jsonl", "trace-2/"}
        assert complete_bash(folder, line) == []  # bash completes these itself, see below


def test_no_completion_after_an_option_without_argument(complete: Complete) -> None:
    assert complete("h2olog --debug=") == []


def test_bash_in_the_middle(folder: Folder) -> None:
    """Text after the cursor is ignored."""
    line = "h2olog quic -t quicly:packet_lox -p 1"
    words = ["h2olog", "quic", "-t", "quicly", ":", "packet_lox", "-p", "1"]
    script = (
        'source ./h2olog.bash; COMP_LINE=$1; COMP_POINT=$2; shift 2; COMP_WORDS=("$@"); COMP_CWORD=5; '
        '_h2olog "$1" packet_lo :; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    point = str(line.index("x -p"))
    assert ask(folder, "bash", "--norc", "--noprofile", "-c", script, "bash", line, point, *words) == ["packet_lost"]


# --- bash: the completed word --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, replies",
    [
        ("h2olog quic -t quicly:packet_lo", ["packet_lost"]),  # bash replaces the text after the colon
        ("h2olog quic --tracepoint=quicly:packet_lo", ["packet_lost"]),
        ("h2olog quic -t 'quicly:packet_lo", ["quicly:packet_lost"]),
        ("h2olog quic -t packet_lo", ["packet_lost"]),
        ("h2olog quic -t picotls:cl", ["client_random"]),
        ("h2olog quic -t nix:packet_lo", []),
        ("h2olog quic -t $(exit", []),
        ("./h2olog quic -t packet_lo", ["packet_lost"]),
        ("~/h2olog quic -t packet_lo", ["packet_lost"]),
    ],
)
def test_bash_words(folder: Folder, line: str, replies: list[str]) -> None:
    assert complete_bash(folder, line) == replies


# --- typing --------------------------------------------------------------------------------------------


class Terminal:
    """An interactive shell. In it, h2olog is a script that calls the real program for the completions, and records its
    arguments for other calls."""

    def __init__(self, folder: Folder, home: Path, command: list[str], setup: str) -> None:
        self.called, self.shown = home / "called", b""
        program = home / "h2olog"
        program.write_text(
            f'#!/bin/sh\ncase "$*" in --servers | -l*) exec {folder}/h2olog "$@" ;; esac\n'
            f'printf "%s\\n" "$@" >{self.called}.new && mv {self.called}.new {self.called}\n'
        )
        program.chmod(0o755)
        paths = {"PATH": f"{home}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home), "ZDOTDIR": str(home)}
        # a new session inside the PID namespace: a session outside has no number in it, and then there is no job
        # control
        words = folder.pids.command("setsid", "--ctty", "--wait", *command, cwd=str(folder))
        self.fd, other_side = os.openpty()
        self.process = subprocess.Popen(
            words, stdin=other_side, stdout=other_side, stderr=other_side, start_new_session=True,
            env=environment(folder) | paths | {"PS1": "+ready+ "},
        )  # fmt: skip
        os.close(other_side)
        self.wait_for(b"+ready+ ")
        self.type(setup + "\n")
        self.wait_for(b"+set up+\r")
        self.wait_for(b"+ready+ ")

    def read(self) -> None:
        readable, _, _ = select.select([self.fd], [], [], 0.1)
        if readable:
            self.shown += os.read(self.fd, 65536)

    def wait_for(self, marker: bytes) -> None:
        """Waits for text. Forgets the output up to there."""
        deadline = time.monotonic() + PATIENCE
        while marker not in self.shown:
            assert time.monotonic() < deadline, self.shown
            self.read()
        self.shown = self.shown.partition(marker)[2]

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def call(self, text: str) -> list[str]:
        """Types a command. Returns the arguments that it gets."""
        self.called.unlink(missing_ok=True)
        self.type(text + "\n")
        deadline = time.monotonic() + PATIENCE
        while not self.called.exists():
            assert time.monotonic() < deadline, self.shown
            self.read()
        return self.called.read_text().splitlines()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


# How to start each shell, and its first commands. The commands build the markers from parts, so that the echo of a
# command is not taken for its marker.
KEYBOARDS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        "bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; "
        "source ./h2olog.bash; printf '+%s+\\n' 'set up'",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        "unsetopt beep; fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; printf '+%s+\\n' 'set up'",
    ),
}


@pytest.fixture(scope="module", params=KEYBOARDS)
def terminal(request: pytest.FixtureRequest, folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    command, setup = KEYBOARDS[request.param]
    terminal = Terminal(folder, tmp_path_factory.mktemp("home"), command, setup)
    yield terminal
    terminal.close()


@pytest.mark.parametrize(
    "typed, arguments",
    [
        ("q\t", ["quic"]),
        ("quic --tr\tpto", ["quic", "--tracepoint=pto"]),
        ("quic -t quicly:packet_lo\t-d", ["quic", "-t", "quicly:packet_lost", "-d"]),
        ("quic -t packet_lo\t-d", ["quic", "-t", "packet_lost", "-d"]),
        ("quic -t packet-lo\t-d", ["quic", "-t", "packet_lost", "-d"]),
        ("quic -t quicly:packet-lo\t-d", ["quic", "-t", "quicly:packet_lost", "-d"]),
        ("quic -t 'quicly:packet_lo\t-d", ["quic", "-t", "quicly:packet_lost", "-d"]),
        ("quic --tracepoint=quicly:packet_lo\t-d", ["quic", "--tracepoint=quicly:packet_lost", "-d"]),
        ("quic -t pto -t picotls:cl\t-d", ["quic", "-t", "pto", "-t", "picotls:client_random", "-d"]),
        ("-s set-c\t-d", ["-s", "set-cookie", "-d"]),
        ("-b 51\t-d", ["-b", "512K", "-d"]),
        ("-w trace\\ o\t-d", ["-w", "trace one.jsonl", "-d"]),
        ("-w trace-\tx", ["-w", "trace-2/x"]),
        ("--write=trace-\tx", ["--write=trace-2/x"]),
        ("-w 'an other' q\t", ["-w", "an other", "quic"]),
        ("-w an\\ other q\t", ["-w", "an other", "quic"]),
        ("--keep\t-d", ["--keep-root", "-d"]),
    ],
)
def test_typed(terminal: Terminal, typed: str, arguments: list[str]) -> None:
    """A tab completes a word, and adds a blank after a complete one."""
    assert terminal.call(f"h2olog {typed}") == arguments


def test_typed_pid(terminal: Terminal, server: int) -> None:
    """The blank is added only after the PID of a server."""
    assert terminal.call(f"h2olog -p {server}\tquic") == ["-p", str(server), "quic"]
    assert terminal.call(f"h2olog -p {server}0000\tquic") == ["-p", f"{server}0000quic"]


def test_typed_port(terminal: Terminal, pids: PidNamespace) -> None:
    process = pids.start(sys.executable, "-c", PORTS, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    try:
        assert terminal.call(f"h2olog --port {port[:-1]}\tquic") == ["--port", port, "quic"]
    finally:
        os.kill(children_of(process.pid)[0], signal.SIGKILL)
        process.wait(PATIENCE)


def test_typed_tracepoint_of_a_server(terminal: Terminal, old_server: int, pids: PidNamespace) -> None:
    """packet_commit was removed, and h3s_accept was added later."""
    calls = {"quicly:packet_com": "quicly:packet_commit", "h2o:h3s_acc": "h2o:h3s_acc-d"}
    assert "h2o:h3s_accept" in tracepoints() and "h2o:h3s_accept" not in tracepoints("-p", str(old_server), pids=pids)
    for typed, complete in calls.items():
        words = terminal.call(f"h2olog quic -p {old_server} -t {typed}\t-d")
        assert words[:4] == ["quic", "-p", str(old_server), "-t"] and words[4] == complete
