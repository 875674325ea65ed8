"""The text that `h2olog -p PID` prints."""

from __future__ import annotations

from typing import Callable

import pytest
from conftest import Server, Tracer

Serve = Callable[..., Server]
Trace = Callable[..., Tracer]


@pytest.mark.parametrize("version", ["2020-06", "2026-06"])
@pytest.mark.parametrize("program", ["h2olog", "h2olog-single"])
def test_request(serve: Serve, trace: Trace, version: str, program: str) -> None:
    server = serve(version)
    tracer = trace(server, program=program)
    server.curl("-A", "tester/1.0", "-H", "X-Request-Id: 42", "/index.html")
    lines = tracer.wait_lines(11)
    assert lines[:8] == [
        "1 1 RxProtocol HTTP/1.1",
        f"1 1 RxHeader   :authority 127.0.0.1:{server.port}",
        "1 1 RxHeader   :method GET",
        "1 1 RxHeader   :path /index.html",
        "1 1 RxHeader   :scheme http",
        "1 1 RxHeader   user-agent tester/1.0",
        "1 1 RxHeader   accept */*",
        "1 1 RxHeader   x-request-id 42",
    ]
    assert lines[8:10] == ["1 1 TxStatus   200", "1 1 TxHeader   content-length 13"]
    assert tracer.stop() == 0
