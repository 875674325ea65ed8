"""Between attaching and detaching, no line is missing: at each end, at most one request per thread is incomplete."""

from __future__ import annotations

import random
import re
import signal
import time
from collections import Counter

import pytest
from conftest import Tracer
from support import Serve, Trace

THREADS = 2

# The lines of a request. `#` is the number of earlier firings of the thread, so that it shows the position in a
# request.
LINES = [
    ("RxProtocol", "receive_request conn_id=thread req_id=# http_version=0x101"),
    ("RxHeader", 'receive_request_header conn_id=thread req_id=# name=":authority" name_len=10 value="a" value_len=1'),
    ("RxHeader", 'receive_request_header conn_id=thread req_id=# name=":method" name_len=7 value="GET" value_len=3'),
    ("RxHeader", 'receive_request_header conn_id=thread req_id=# name=":path" name_len=5 value="/" value_len=1'),
    ("RxHeader", 'receive_request_header conn_id=thread req_id=# name=":scheme" name_len=7 value="http" value_len=4'),
    ("TxStatus", "send_response conn_id=thread req_id=# status=200"),
    ("TxHeader", 'send_response_header conn_id=thread req_id=# name="x-one" name_len=5 value="1" value_len=1'),
    ("TxHeader", 'send_response_header conn_id=thread req_id=# name="x-two" name_len=5 value="2" value_len=1'),
]

# 12,500 requests per second.
REQUESTS = f"rate 100000\nthreads {THREADS}\nrepeat 100000000\n" + "".join(f"h2o:{line}\n" for _, line in LINES) + "end\n"


def check_whole(tracer: Tracer) -> int:
    """Checks that each thread has every line from its first to its last, so that only its first and its last request
    can be incomplete. Returns the number of threads."""
    assert tracer.messages().count("\n") <= 1, tracer.messages()  # no losses
    last: dict[str, int] = {}
    missing: Counter[str] = Counter()
    for line in tracer.lines():
        match = re.match(r"(\d+) (\d+) (\w+) ", line)
        assert match is not None, line
        thread, number = match.group(1), int(match.group(2))
        assert match.group(3) == LINES[number % len(LINES)][0]
        if thread in last:
            missing[thread] += number - last[thread] - 1
        last[thread] = number
    assert sum(missing.values()) == 0, f"lines missing between other lines of their thread: {dict(missing)}"
    return len(last)


@pytest.mark.parametrize("program, rounds", [("h2olog", 20), ("h2olog-single", 5)])
def test_no_request_is_incomplete(serve: Serve, trace: Trace, program: str, rounds: int) -> None:
    """The server is busy all the time."""
    server = serve(script=REQUESTS)
    server.start_playing()
    for nth in range(rounds):
        tracer = trace(server, program=program)
        tracer.wait_lines(1000)
        assert tracer.stop(signal.SIGINT if nth % 2 == 0 else signal.SIGTERM) == 0
        assert check_whole(tracer) == THREADS


@pytest.mark.parametrize("program", ["h2olog", "h2olog-single"])
def test_no_request_is_incomplete_after_an_early_end(serve: Serve, trace: Trace, program: str) -> None:
    """Ended during the start, or shortly after: until there was one of each kind, and at least eight times."""
    server = serve(script=REQUESTS)
    server.start_playing()
    start = time.monotonic()
    tracer = trace(server, program=program)
    took = time.monotonic() - start  # not longer than until it is attached, because ending takes long without links
    assert tracer.stop() == 0
    kinds: set[bool] = set()
    for nth in range(100):
        if nth >= 8 and kinds == {True, False}:
            break
        tracer = trace(server, program=program, attached=False)
        time.sleep(took * random.uniform(0.2, 1.5))
        assert tracer.stop() in (0, -signal.SIGINT)  # before it handles signals, it ends as any program does
        kinds.add(check_whole(tracer) > 0)
    assert kinds == {True, False}
