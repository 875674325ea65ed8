"""Makes the tests independent of the user's settings and of other processes on the machine.

settle() gives this process, and all processes that it starts, the same signals, limits and environment everywhere.
PidNamespace is for tests about lists of processes. make_dice() is for tests with random numbers.
"""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

BUILD = Path(os.environ.get("H2OLOG_BUILD_DIR", Path(__file__).parents[1] / "build"))

# Debian's folders of programs. A user who became root with su(1) has no sbin in PATH, and others have other programs
# first.
FOLDERS = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]

# Variables that configure the tests. All others are removed: http_proxy, SUDO_UID, DESTDIR, LD_PRELOAD.
KEPT = re.compile(r"H2OLOG_\w+|PYTEST_\w+|[A-Z]+SAN_OPTIONS|TMPDIR")

# The usual limit. With the billion that some containers have, rpm(8) takes hours to close descriptors.
DESCRIPTORS = 1024


def settle() -> None:
    """Call this before anything is started. Signals that are ignored (nohup, a job of a script) stay ignored in
    children, and h2olog would not get them before it has its own handlers."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o022)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.environ.update(surroundings())
    for name in set(os.environ) - set(surroundings()):
        del os.environ[name]


def surroundings() -> dict[str, str]:
    home = BUILD / "t" / f"home-{os.geteuid()}"  # matplotlib stores its list of fonts there
    home.mkdir(parents=True, exist_ok=True)
    own = os.environ.get("PATH", "").split(":")
    path = ":".join([*FOLDERS, *(folder for folder in own if folder.startswith("/") and folder not in FOLDERS)])
    kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    return {**kept, "PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8", "TERM": "dumb", "INPUTRC": "/dev/null"}


def make_dice(usual: int | None = None) -> random.Random:
    """Random numbers. The seed is H2OLOG_SEED, else `usual`, else a different one each time.

    pytest shows the seed of a test that fails.
    """
    if usual is None:
        usual = random.SystemRandom().randrange(1 << 32)
    seed = int(os.environ.get("H2OLOG_SEED") or usual)
    print(f"random numbers: H2OLOG_SEED={seed}")
    return random.Random(seed)


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class PidNamespace:
    """A PID namespace, which has only the processes that are started in it. It has its own /proc; everything else is
    shared. Without root, it also has its own user namespace."""

    def __init__(self) -> None:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self.entering = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.holder = subprocess.Popen(
            ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", "echo; read line"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.started: list[subprocess.Popen[Any]] = []
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"\n", "cannot make a PID namespace"
        (self.init,) = children_of(self.holder.pid)

    def command(self, *words: str, cwd: str = "/") -> list[str]:
        """Returns a command that runs `command` in the namespace, as a child of this process."""
        entering = ["nsenter", f"--target={self.init}", *self.entering, "--pid", "--mount"]
        return [*entering, "--", "env", "-C", cwd, *words]

    def start(self, *words: str, **how: Any) -> subprocess.Popen[Any]:
        self.started.append(subprocess.Popen(self.command(*words), **how))
        return self.started[-1]

    def pid_of(self, process: subprocess.Popen[Any]) -> int:
        """Returns the PID in the namespace of a command that has started."""
        (child,) = children_of(process.pid)
        match = re.search(r"^NSpid:.*\t(\d+)$", Path(f"/proc/{child}/status").read_text(), re.M)
        assert match is not None
        return int(match.group(1))

    def run(self, *words: str, timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )

    def close(self) -> None:
        """Ends all processes of the namespace."""
        self.holder.kill()
        for process in (self.holder, *self.started):
            process.communicate()
