#!/usr/bin/python3
"""The first process of the emulated machine of vm.py: runs the end-to-end tests, and switches the machine off.

Settings H2OLOG_* of the kernel's command line get into the environment. The console gets one line per file of tests.
The second disk gets a tar of all output, which is written again after each file, so that a machine that hangs leaves
its results.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
BUILD = SOURCE / "build"
RESULTS = Path("/run/results")
RESULTS_DISK = "/dev/vdb"
PYTHON = "/usr/bin/python3"

# Type, folder and options of each. The initramfs has mounted some of them already.
MOUNTS = [
    ("proc", "/proc"), ("sysfs", "/sys"), ("tracefs", "/sys/kernel/tracing"), ("securityfs", "/sys/kernel/security"),
    ("tmpfs", "/run"), ("tmpfs", "/tmp"), ("devpts", "/dev/pts"), ("tmpfs", "/dev/shm"),
]  # fmt: skip

# The longest first, so that the two streams end at about the same time.
FIRST = ["quic", "life", "kills", "growth"]

writing = threading.Lock()


def set_up() -> None:
    mounts = Path("/proc/mounts")
    mounted = {line.split()[1] for line in mounts.read_text().splitlines()} if mounts.exists() else set()
    for kind, folder in MOUNTS:
        if folder not in mounted:
            os.makedirs(folder, exist_ok=True)
            subprocess.run(["mount", "-t", kind, "none", folder], check=True)
    os.chmod("/tmp", 0o1777)
    os.chmod("/dev/shm", 0o1777)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_:
        fcntl.ioctl(any_, 0x8914, struct.pack("16sh22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
    RESULTS.mkdir()


PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}


def hold_perf_event() -> None:
    """Keeps a perf event open that never happens.

    The kernel patches the code of its scheduler when the first perf event is opened, and again when the last one is
    closed. Meanwhile, an emulated processor can execute the old code, and the kernel stops with "Oops: int3" (once in
    four runs with qemu 7.2). With this event, it patches only once, before the tests.
    """
    dummy = struct.pack("IIQ48x", 1, 64, 9)  # struct perf_event_attr: PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY
    number = PERF_EVENT_OPEN[os.uname().machine]
    if ctypes.CDLL(None).syscall(number, dummy, 0, -1, -1, 8) < 0:  # PERF_FLAG_FD_CLOEXEC
        say("perf_event_open is refused")


def settings() -> dict[str, str]:
    return dict(re.findall(r"\b(H2OLOG_\w+)=(\S+)", Path("/proc/cmdline").read_text()))


def say(text: str) -> None:
    print(f"guest: {text}", flush=True)


def keep_results() -> None:
    with writing:
        subprocess.run(["tar", "-C", str(RESULTS), "-cf", RESULTS_DISK, "."], check=True)
        os.sync()


def run_file(file: Path) -> None:
    """Runs a file of tests. Its output and the report of pytest are results."""
    start, name = time.monotonic(), file.stem
    words = ["-m", "pytest", "-v", "-p", "no:cacheprovider", f"--junitxml={RESULTS / name}.xml", str(file)]
    with (RESULTS / f"{name}.log").open("w", encoding="utf-8") as log:
        status = subprocess.run(
            [PYTHON, "-B", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd="/tmp"
        ).returncode
    keep_results()
    last = (RESULTS / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
    say(f"{name}: status {status}, {time.monotonic() - start:.0f} s: {''.join(last)}")


UNIT_TESTS = (
    "headers", "maps", "load", "attach", "attach-single", "process", "generations", "list", "notes", "drop", "diagnose",
)  # fmt: skip


def run_unit_tests() -> None:
    """Runs the unit tests that depend on the kernel. cmocka writes its results as pytest does."""
    for module in UNIT_TESTS:
        name = f"unit-{module}"
        variables = {"CMOCKA_MESSAGE_OUTPUT": "xml", "CMOCKA_XML_FILE": f"{RESULTS}/{name}.xml"}
        status = subprocess.run([str(BUILD / "t/unit" / name)], env={**os.environ, **variables}).returncode
        keep_results()
        say(f"{name}: status {status}")


def measure(mode: str) -> tuple[float, float]:
    """Returns the seconds to attach, and to detach."""
    server = subprocess.Popen([str(BUILD / "t/standin/standin-2026-06")], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None and server.stdout.readline().startswith("listening")
        start = time.monotonic()
        tracer = subprocess.Popen(
            [str(BUILD / "h2olog"), mode, "-d", "-p", str(server.pid)], stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert " Attaching: " in line, line + tracer.stderr.read()
        attached = time.monotonic()
        time.sleep(1)
        stopped = time.monotonic()
        tracer.send_signal(signal.SIGINT)
        assert tracer.wait() == 0
        return attached - start, time.monotonic() - stopped
    finally:
        server.kill()
        server.wait()


def measure_all() -> None:
    """Measures three times and keeps the shortest time, because only noise makes it longer."""
    figures = {"kernel": os.uname().release}
    for mode in ("http", "quic"):
        rounds = [measure(mode) for _ in range(3)]
        figures[f"attach_{mode}"], figures[f"detach_{mode}"] = (min(times) for times in zip(*rounds))
    (RESULTS / "figures.json").write_text(json.dumps(figures), encoding="ascii")
    keep_results()
    say(json.dumps(figures))


def run_tests() -> None:
    set_up()
    hold_perf_event()
    os.environ.update(settings())
    os.environ.update(
        PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root", LC_ALL="C.UTF-8", H2OLOG_BUILD_DIR=str(BUILD)
    )
    say(f"Linux {os.uname().release} {os.uname().machine}")
    run_unit_tests()
    measure_all()
    wanted = os.environ.get("H2OLOG_FILES", "")
    files = {file.stem[len("test_") :]: file for file in sorted((SOURCE / "t/e2e").glob("test_*.py"))}
    names = wanted.split(",") if wanted else sorted(files, key=lambda name: (name not in FIRST, name))
    with ThreadPoolExecutor(os.cpu_count()) as streams:
        list(streams.map(lambda name: run_file(files[name]), names))
    (RESULTS / "complete").touch()
    keep_results()


def switch_off() -> None:
    os.sync()
    ctypes.CDLL(None).reboot(0x4321FEDC)  # RB_POWER_OFF


def main() -> int:
    """The first process reaps orphans. Its child does the work."""
    worker = os.fork()
    if worker == 0:
        try:
            run_tests()
        except BaseException as error:
            say(f"gives up: {error!r}")
            os._exit(1)
        os._exit(0)
    while os.wait()[0] != worker:
        pass
    switch_off()
    return 1


if __name__ == "__main__":
    sys.exit(main())
