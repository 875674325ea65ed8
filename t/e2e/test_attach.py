"""What attaching has to cope with: memory that the server has not touched, signals, other tracers."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any, Callable, Iterator

import pytest
from conftest import BUILD, Server, Tracer

Serve = Callable[..., Server]
Trace = Callable[..., Tracer]

PROGRAMS = ["h2olog", "h2olog-single"]


# --- constants that the server has not touched yet ---


@pytest.fixture
def constants() -> Iterator[Any]:
    """A server whose header has just been mapped from its file (t/standin/constants.c)."""
    binary = BUILD / "t" / "standin" / "standin-constants"
    with subprocess.Popen([str(binary)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"ready pid {process.pid}\n"
        yield SimpleNamespace(pid=process.pid, process=process)
        process.kill()


@pytest.mark.parametrize("program", PROGRAMS)
def test_untouched_constants_are_readable(constants: Any, trace: Trace, program: str) -> None:
    tracer = trace(constants, program=program)
    constants.process.send_signal(10)  # SIGUSR1
    assert constants.process.stdout.readline() == "fired\n"
    assert tracer.stop() == 0
    assert tracer.lines() == ["1 2 RxHeader   x-constant untouched"]
