"""`./make.sh demo`: its output, and that no process or file remains, whoever ends it at any time.

It is the real demo with the programs of this build. Installing and building are not tested.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Iterator

import pytest
from conftest import BUILD, PATIENCE, wait_until

# Programs that must not run here.
NOTHING = {"cmake": "", "make": "", "apt-get": "exit 1", "dpkg-query": "echo installed"}


class Demo:
    """A folder with make.sh and this build's programs.
    A variable in the environment identifies processes of the demo."""

    def __init__(self, folder: Path) -> None:
        self.top, self.temporary, tools = folder / "top", folder / "temporary", folder / "tools"
        for made in (self.top / "build" / "t" / "standin", self.temporary, tools):
            made.mkdir(parents=True)
        shutil.copy(Path(__file__).parents[2] / "make.sh", self.top)
        for program in ("h2olog", "t/standin/standin-2026-06"):
            (self.top / "build" / program).symlink_to(BUILD / program)
        for name, script in NOTHING.items():
            (tools / name).write_text(f"#!/bin/sh\n{script}\n")
            (tools / name).chmod(0o755)
        self.mark = f"H2OLOG_TEST_OF_DEMO={uuid.uuid4()}"
        self.variables = {
            **os.environ, "PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": str(self.temporary),
            "H2OLOG_TEST_OF_DEMO": self.mark.partition("=")[2],
        }  # fmt: skip

    def start(self, command: str = "exec ./make.sh demo") -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["sh", "-c", command], cwd=self.top, env=self.variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def running(self) -> list[str]:
        """Returns PID and name of each of its processes."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append(f"{process.name} {(process / 'comm').read_text().strip()}")
            except OSError:  # it has ended
                pass
        return found

    def check_nothing_is_left(self) -> None:
        wait_until(lambda: self.running() == [], f"the end of {self.running()}")
        assert list(self.temporary.iterdir()) == []

    def close(self) -> None:
        for process in self.running():
            os.kill(int(process.split()[0]), signal.SIGKILL)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    made = Demo(tmp_path)
    yield made
    made.close()


def test_demo(demo: Demo) -> None:
    out, err = demo.start().communicate(timeout=PATIENCE)
    assert err == b""
    lines = out.decode().splitlines()
    for connection, path, status in ((1, "/", 200), (2, "/status/404", 404), (3, "/bytes/100000", 200)):
        shown = [line.partition(" 1 ")[2] for line in lines if line.startswith(f"{connection} 1 ")]
        assert shown[0] == "RxProtocol HTTP/1.1" and f"RxHeader   :path {path}" in shown
        assert f"TxStatus   {status}" in shown
        assert any(re.fullmatch(r"(?i)RxHeader   cookie id=42", line) for line in shown)
    assert lines[-1].startswith("That was h2olog.")
    demo.check_nothing_is_left()


@pytest.mark.parametrize("count", [1, 2, 4, 20])
def test_reader_leaves(demo: Demo, count: int) -> None:
    """`./make.sh demo | head`, which leaves before or after h2olog is attached."""
    process = demo.start(f"./make.sh demo | head -n {count}")
    out, err = process.communicate(timeout=PATIENCE)
    assert (out.count(b"\n"), err) == (count, b"")
    demo.check_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", [b"$ sudo h2olog", b" 200", b"/bytes/100000"])
def test_signal(demo: Demo, moment: bytes, number: int) -> None:
    process = demo.start()
    assert process.stdout is not None
    while moment not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    demo.check_nothing_is_left()


def test_server_does_not_start(demo: Demo) -> None:
    """There is a message, and no waiting."""
    server = demo.top / "build" / "t" / "standin" / "standin-2026-06"
    server.unlink()
    server.symlink_to("/bin/false")
    out, err = demo.start().communicate(timeout=PATIENCE)
    assert (out, err) == (b"", b"make.sh: the stand-in server does not start\n")
    demo.check_nothing_is_left()


def test_tracer_does_not_start(demo: Demo) -> None:
    program = demo.top / "build" / "h2olog"
    program.unlink()
    program.write_text("#!/bin/sh\necho 'h2olog: no' >&2\nexit 1\n")
    program.chmod(0o755)
    process = demo.start()
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (1, b"h2olog: no\n")
    demo.check_nothing_is_left()
