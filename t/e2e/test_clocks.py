"""The wall clock is set, or the monotonic clock differs from the kernel's."""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest
from conftest import BUILD, PATIENCE, SLOWNESS, Tracer
from support import Before, Serve, Trace, check_played


@pytest.fixture
def jump(tmp_path: Path) -> Iterator[Callable[[float], None]]:
    """Makes the clock of processes that are started with `preload` jump: jump(seconds) away from the true time."""
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
    """`time` follows it in both directions; the order of lines does not depend on it."""
    server = serve(script="repeat 10\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    tracer = trace(server, "all", "-t", "h2o:send_response", before=preload(tmp_path))
    expected = []
    for seconds in (0, 3600, -86400, 0.5):
        jump(seconds)
        time.sleep(0.5 * SLOWNESS)  # longer than h2olog's interval
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
    """`time` is right if h2olog's monotonic clock differs from the kernel's."""
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
