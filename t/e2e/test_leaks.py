"""LeakSanitizer on whole runs: h2olog frees all memory, however a run ends.

Leaks are reported on stderr at the end, with the status 23. Memory of libbcc and LLVM is still reachable then, so it is
not a leak.
"""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from conftest import refusing, refusing_uprobes, run
from support import Before, Serve, Trace

PROGRAM = "h2olog-leaks"
SCRIPT = """repeat 1000
quicly:receive conn=7 at=now dcid="0f82"
quicly:free conn=7 at=now
h2o:receive_request conn_id=1 req_id=# http_version=768
h2o:receive_request_header conn_id=1 req_id=# name="a" name_len=1 value="b" value_len=1
h2o:send_response conn_id=1 req_id=# status=200
end
"""


def looking(before: Before = lambda: None) -> Before:
    def call() -> None:
        os.environ["LSAN_OPTIONS"] = "log_threads=1"
        before()

    return call


def check(messages: str) -> str:
    """Checks that LeakSanitizer ran and found nothing. Returns the other messages."""
    looked = [line for line in messages.splitlines() if "Processing thread" in line]
    assert looked and "LeakSanitizer" not in messages, messages
    return "\n".join(line for line in messages.splitlines() if not line.startswith("==") and line)


@pytest.mark.parametrize("mode, options", [
    ("http", []), ("http", ["-s", "b", "-s", "x"]), ("quic", []), ("quic", ["-a", "-t", "quicly:r*"]), ("all", ["-a"]),
])  # fmt: skip
@pytest.mark.parametrize("version", ["2020-06", "2026-06"])
def test_traced(serve: Serve, trace: Trace, tmp_path: Path, version: str, mode: str, options: list[str]) -> None:
    server, file = serve(version, script=SCRIPT), tmp_path / "lines"
    tracer = trace(server, mode, *options, "-w", str(file), program=PROGRAM, before=looking())
    server.play()
    assert tracer.stop() == 0
    assert file.read_bytes().count(b"\n") >= 1000
    assert "Attaching" in check(tracer.messages())


def test_server_ends(serve: Serve, trace: Trace) -> None:
    server = serve(script=SCRIPT)
    tracer = trace(server, program=PROGRAM, before=looking())
    server.play()
    server.stop()
    assert tracer.process.wait() == 0
    check(tracer.messages())


@pytest.mark.parametrize("arguments, status", [
    (["--help"], 0), (["--version"], 0), (["-l"], 0), (["-l", "-p", "PID"], 0), (["--servers"], 0), (["-t", "x", "-s"], 2),
    (["-s", "x", "-s", "a b", "-p", "1"], 2), (["quic", "-t", "accept", "-t", "nothing_such", "-p", "PID"], 2),
    (["-p", str(2**22 + 1)], 1), (["-p", str(os.getpid())], 1), (["-p", "PID", "-w", "/nowhere/file"], 1),
])  # fmt: skip
def test_ends_early(serve: Serve, arguments: list[str], status: int) -> None:
    words = [str(serve().pid) if word == "PID" else word for word in arguments]
    done = run(*words, program=PROGRAM, before=looking())
    assert done.returncode == status
    check(done.stderr)


@pytest.mark.parametrize("before", [
    refusing("bpf", errno.EPERM), refusing("bpf", errno.EPERM, 5), refusing_uprobes("h2olog", errno.EPERM),
])  # fmt: skip
def test_refused(serve: Serve, before: Before) -> None:
    """The kernel refuses maps, programs or links."""
    done = run("-p", str(serve().pid), program=PROGRAM, before=looking(before))
    assert done.returncode == 1
    assert "the kernel refuses" in check(done.stderr)


def test_leaks_are_found(tmp_path: Path) -> None:
    """The tests above rely on this."""
    source = tmp_path / "leak.c"
    source.write_text("#include <stdlib.h>\nint main(void) { return malloc(7) == (void *)1; }\n")
    subprocess.run(["cc", "-O0", "-fsanitize=leak", "-o", str(tmp_path / "leak"), str(source)], check=True)
    done = subprocess.run([str(tmp_path / "leak")], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 23 and "LeakSanitizer" in done.stderr
