"""The effects of options. test_errors.py tests wrong options."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from conftest import BUILD, PATIENCE, Server, Tracer, run, wait_until
from support import HTTP_PROBES, PROGRAMS, Serve, Trace, header

# The characters that the name of a header can have (RFC 9110, 5.6.2).
TOKENS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"


def play_to_end(server: Server, tracer: Tracer) -> list[str]:
    """Plays the script of the server, and ends the tracer. Returns its lines."""
    fired, _ = server.play()
    assert fired > 0
    assert tracer.stop() == 0
    return tracer.lines()


# --- -s ---


@pytest.mark.parametrize(
    "program, version", [("h2olog", "2020-06"), ("h2olog", "2026-06"), ("h2olog-single", "2026-06")]
)
def test_one_response_header(serve: Serve, trace: Trace, program: str, version: str) -> None:
    server = serve(version)
    tracer = trace(server, "-s", "Content-TYPE", program=program)
    server.curl("-A", "tester", "-H", "Content-Type: of a request", "/")
    assert tracer.wait_lines(10) == [
        "1 1 RxProtocol HTTP/1.1",
        f"1 1 RxHeader   :authority 127.0.0.1:{server.port}",
        "1 1 RxHeader   :method GET",
        "1 1 RxHeader   :path /",
        "1 1 RxHeader   :scheme http",
        "1 1 RxHeader   user-agent tester",
        "1 1 RxHeader   accept */*",
        "1 1 RxHeader   content-type of a request",
        "1 1 TxStatus   200",
        "1 1 TxHeader   content-type text/html",
    ]
    assert tracer.stop() == 0
    assert len(tracer.lines()) == 10


RESPONSE = "".join(
    header(name.encode(), b"v")
    for name in ("server", "Server", "SERVER", "date", "DATE", "x-server", "vary", ":status")
)


@pytest.mark.parametrize(
    "options, names",
    [
        (["-s", "server"], ["server", "Server", "SERVER"]),
        (["-s", "SeRvEr"], ["server", "Server", "SERVER"]),
        (["-sserver"], ["server", "Server", "SERVER"]),
        (["--response-header", "server"], ["server", "Server", "SERVER"]),
        (["--response-header=SERVER"], ["server", "Server", "SERVER"]),
        (["-s", "server", "-s", "date"], ["server", "Server", "SERVER", "date", "DATE"]),
        (["-s", "date", "--response-header=vary", "-s", "Date"], ["date", "DATE", "vary"]),
        (["-s", ":status"], [":status"]),
        (["-s", "absent"], []),
        (["-s", "absent", "-s", "vary"], ["vary"]),
    ],
)
def test_response_headers(serve: Serve, trace: Trace, options: list[str], names: list[str]) -> None:
    server = serve(script=RESPONSE + header(b"last", b"v", "receive_request_header"))
    tracer = trace(server, *options)
    assert play_to_end(server, tracer) == [
        *(f"1 2 TxHeader   {name} v" for name in names),
        "1 2 RxHeader   last v",
    ]


def long_name(length: int) -> bytes:
    """Returns a name with letters and other characters at all places of a word of 8 bytes."""
    characters = "x-Ab`c_D~e^f.1|G'h*i"
    return "".join(characters[place % len(characters)] for place in range(length)).encode()


def near_names(name: bytes) -> list[tuple[bytes, bool]]:
    """Returns names that differ from a name in a bit, or in a byte at an end, and whether -s treats them as equal."""
    near: list[tuple[bytes, bool]] = [(name, True), (name.upper(), True), (name.lower(), True)]
    near += [(name[:-1], False), (name[1:], False), (name + b"x", False), (b"x" + name, False), (name + b"\0", False)]
    near += [(name[:-1] + b"\0", False), (b"\0" + name[1:], False)]
    places = range(len(name)) if len(name) < 32 else [0, 1, 7, 8, 63, 64, 126, 127, 128, 129, 247, 248, 254, 255]
    for place in places:
        for bit in range(8):
            changed = bytearray(name)
            changed[place] ^= 1 << bit
            near.append((bytes(changed), bit == 5 and chr(name[place]).isalpha()))
    return near


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 17, 256])
def test_similar_names_are_left_out(serve: Serve, trace: Trace, length: int) -> None:
    near = near_names(long_name(length))
    assert any(wanted for _, wanted in near) and not all(wanted for _, wanted in near)
    server = serve(script="".join(header(name, str(number).encode()) for number, (name, _) in enumerate(near)))
    tracer = trace(server, "-s", long_name(length).decode())
    expected = [f"1 2 TxHeader   {name.decode()} {number}" for number, (name, wanted) in enumerate(near) if wanted]
    assert play_to_end(server, tracer) == expected


def test_every_character_of_a_name(serve: Serve, trace: Trace) -> None:
    """One -s per character; the script fires names with every byte."""
    letters = [character for character in TOKENS if not character.isupper()]
    server = serve(script="".join(header(b"x" + bytes([byte]), b"v") for byte in range(256)))
    tracer = trace(server, *(word for character in letters for word in ("-s", "x" + character)))
    expected = [f"1 2 TxHeader   x{chr(byte)} v" for byte in range(256) if chr(byte) in TOKENS]
    assert play_to_end(server, tracer) == expected


def test_unwanted_headers_take_no_room(serve: Serve, trace: Trace) -> None:
    """The kernel side applies -s: a ring that is too small for all headers loses nothing."""
    script = "repeat 20000\n" + header(b"x-other", b"v" * 100) + "end\n" + header(b"x-this", b"v")
    server = serve(script=script)
    tracer = trace(server, "-s", "x-this", "-b", "4K")
    tracer.process.send_signal(signal.SIGSTOP)
    assert server.play() == (20001, 0)
    tracer.process.send_signal(signal.SIGCONT)
    assert tracer.stop() == 0
    assert tracer.lines() == ["1 2 TxHeader   x-this v"]
    assert "lost" not in tracer.messages()


# --- -w ---


@pytest.mark.parametrize("form", [["-w"], ["--write"], None])
def test_file_is_emptied_first(serve: Serve, trace: Trace, tmp_path: Path, form: list[str] | None) -> None:
    file = tmp_path / "a file"
    file.write_text("what was there before\n" * 100)
    server = serve(script="h2o:send_response conn_id=1 req_id=2 status=200\n")
    tracer = trace(server, *([*form, str(file)] if form else [f"--write={file}"]))
    wait_until(lambda: file.read_text() == "", "the file to be emptied")
    assert play_to_end(server, tracer) == []
    assert file.read_text() == "1 2 TxStatus   200\n"


def test_file_is_appended_to(serve: Serve, trace: Trace, tmp_path: Path) -> None:
    """As logrotate's copytruncate needs it: lines after a truncation are at the start of the file."""
    file = tmp_path / "log"
    server = serve(script="h2o:send_response conn_id=1 req_id=2 status=200\n")
    tracer = trace(server, "-w", str(file))
    line = "1 2 TxStatus   200\n"
    server.play()
    wait_until(lambda: file.read_text() == line, "the first line")
    os.truncate(file, 0)
    server.play()
    wait_until(lambda: file.stat().st_size >= len(line), "the second line")
    assert file.read_text() == line
    with file.open("a") as other:
        other.write("another program's\n")
    server.play()
    wait_until(lambda: file.read_text() == line + "another program's\n" + line, "the third line")
    assert tracer.stop() == 0


def test_new_file(serve: Serve, trace: Trace, tmp_path: Path) -> None:
    """Only its owner can write it, and it exists at once."""
    file = tmp_path / "new"
    old = os.umask(0)
    try:
        tracer = trace(serve(), "-w", str(file))
    finally:
        os.umask(old)
    assert file.stat().st_mode & 0o022 == 0
    assert tracer.stop() == 0


# --- words and forms ---


@pytest.mark.parametrize(
    "words",
    [["-p", "{}"], ["http", "-p", "{}"], ["-p", "{}", "http"], ["--pid={}"], ["--pid", "{}"], ["-p{}", "--debug"]],
)
def test_forms(serve: Serve, tmp_path: Path, words: list[str]) -> None:
    server = serve(script="h2o:send_response conn_id=1 req_id=2 status=200\n")
    debug = [] if "--debug" in words else ["-d"]
    tracer = Tracer(tmp_path, *(word.format(server.pid) for word in words), *debug)
    try:
        assert play_to_end(server, tracer) == ["1 2 TxStatus   200"]
    finally:
        tracer.stop(signal.SIGKILL)


# --- -d ---

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def parse_time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


@pytest.mark.parametrize("program", PROGRAMS)
def test_debug(serve: Serve, trace: Trace, program: str) -> None:
    server = serve()
    tracer = trace(server, program=program)
    assert tracer.stop() == 0
    match = re.fullmatch(rf"({TIME}) Attaching: tracing PID (\d+) \((.*)\): (\d+) probes? attached\n", tracer.messages())
    assert match is not None, tracer.messages()
    assert abs(parse_time(match.group(1)) - datetime.now(timezone.utc)) < timedelta(seconds=PATIENCE)
    assert int(match.group(2)) == server.pid
    assert match.group(3) == f"{server.binary} -t 1"
    assert int(match.group(4)) == 4  # the request, its headers, the response, its headers


def test_report(serve: Serve, trace: Trace) -> None:
    """-d reports events per second and losses, 10 s after the start."""
    server = serve(script="repeat 1000\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    tracer = trace(server, "-w", "/dev/null")
    start = time.monotonic()
    server.play()
    wait_until(lambda: tracer.err.read_bytes().count(b"\n") >= 2, "the report")
    took = time.monotonic() - start
    assert tracer.stop() == 0
    _, report, *rest = tracer.err.read_text(encoding="utf-8").splitlines()
    match = re.fullmatch(rf"({TIME}) (\d+\.\d) events/s, (\d+) lost", report)
    assert match is not None, report
    assert 9 < took < PATIENCE  # a busy machine can be late
    assert 1000 / (took + 2) <= float(match.group(2)) <= 100
    assert match.group(3) == "0"
    assert abs(parse_time(match.group(1)) - datetime.now(timezone.utc)) < timedelta(seconds=PATIENCE)
    assert rest == []


def test_debug_twice(serve: Serve, trace: Trace) -> None:
    server = serve()
    tracer = trace(server, "-d")  # and one -d of trace()
    assert tracer.stop() == 0
    messages = tracer.messages()
    assert len(re.findall(rf"^{TIME} Attaching: tracing PID {server.pid} ", messages, re.M)) == 1
    for probe in HTTP_PROBES:
        # the declaration and, below it, the locations: two in the stand-in
        block = re.search(rf"^h2o:{probe}\(uint64_t conn_id, .*\n((?:    .*\n)+)", messages, re.M)
        assert block is not None, probe
        offsets = re.findall(r"^    \S+\+0x([0-9a-f]+) semaphore 0x[0-9a-f]+: \S.*$", block.group(1), re.M)
        assert len(set(offsets)) == 2 and block.group(1).count("\n") == 2
    shown = re.findall(r"^(?:h2o|quicly|picotls):(\w+)\(", messages, re.M)
    assert sorted(shown) == sorted(HTTP_PROBES)
    assert "struct event_head {" in messages
    assert len(re.findall(r"^int probe_\d+\(struct pt_regs \*ctx\)$", messages, re.M)) == 8


@pytest.mark.parametrize("program", PROGRAMS)
def test_missing_probe_is_reported(serve: Serve, trace: Trace, tmp_path: Path, program: str) -> None:
    """A missing probe is reported, and the others are traced."""
    binary = tmp_path / "lacking"
    content = (BUILD / "t" / "standin" / "standin-2026-06").read_bytes()
    binary.write_bytes(content.replace(b"h2o\0receive_request\0", b"h2o\0receive_requesX\0"))
    binary.chmod(0o755)
    server = serve(script="h2o:send_response conn_id=1 req_id=2 status=200\n" + header(b"name", b"v"), binary=binary)
    tracer = trace(server, program=program)
    assert play_to_end(server, tracer) == ["1 2 TxStatus   200", "1 2 TxHeader   name v"]
    missing, lacks, attaching = tracer.messages().splitlines()
    assert re.fullmatch(
        r"h2olog: this server \(h2o .*\) has no probe for requests: RxProtocol lines are missing; "
        r"it is not in this build of h2o", missing
    )  # fmt: skip
    assert lacks == "this server lacks h2o:receive_request"
    assert " Attaching: " in attaching


# --- -b ---


@pytest.mark.parametrize("size", ["4K", "4096", "64k", "1M"])
def test_buffer(serve: Serve, trace: Trace, size: str) -> None:
    server = serve(script="rate 2500\nrepeat 500\nh2o:send_response conn_id=1 req_id=# status=200\nend\n")
    tracer = trace(server, "-b", size)
    printed = play_to_end(server, tracer)
    numbers = [int(line.split()[1]) for line in printed]
    lost = sum(int(count) for count in re.findall(r"h2olog: (\d+) events are lost here", tracer.messages()))
    assert numbers == sorted(set(numbers)) and len(numbers) + lost == 500
    assert set(printed) <= {f"1 {number} TxStatus   200" for number in range(500)}
    if not size.startswith("4"):
        assert lost == 0


# --- -h, -V ---


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help(word: str) -> None:
    done = run(word)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: h2olog ")
    for option in (
        "-p, --pid PID", "-s, --response-header NAME", "-w, --write FILE", "-b, --buffer SIZE",
        "-d, --debug", "-h, --help", "-V, --version",
    ):  # fmt: skip
        assert len(re.findall(rf"^  {option}(?:  +\S|$)", done.stdout, re.M)) == 1, option
    assert max(len(line) for line in done.stdout.splitlines()) < 80


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("word", ["-V", "--version"])
def test_version(program: str, word: str) -> None:
    done = run(word, program=program)
    assert (done.returncode, done.stderr) == (0, "")
    cache = (BUILD / "CMakeCache.txt").read_text()
    version = re.search(r"^CMAKE_PROJECT_VERSION:STATIC=(.*)$", cache, re.M)
    assert version is not None
    kernel = os.uname()
    first, second, third = done.stdout.splitlines()
    assert first == f"h2olog {version.group(1)}"
    assert re.fullmatch(r"libbcc 0\.\d+\.\d+\S*", second)
    assert third == f"{kernel.sysname} {kernel.release} {kernel.machine}"


def test_version_of_the_loaded_library(tmp_path: Path) -> None:
    """Not the version with which h2olog was built."""
    needed = subprocess.run(["ldd", str(BUILD / "h2olog")], check=True, stdout=subprocess.PIPE, text=True).stdout
    match = re.search(r"libbcc\.so\.0 => (\S+)", needed)
    assert match is not None, needed
    built_with = run("-V").stdout.split("\n")[1]
    (tmp_path / "libbcc.so.0.99.1").write_bytes(Path(match.group(1)).read_bytes())
    (tmp_path / "libbcc.so.0").symlink_to("libbcc.so.0.99.1")
    done = run("-V", before=lambda: os.environ.update(LD_LIBRARY_PATH=str(tmp_path)))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[1] == f"libbcc 0.99.1 (built with {built_with.split()[1]})"
