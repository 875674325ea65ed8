"""Servers that h2olog does not know well: changed, new and missing probes, locations that cannot fire, stripped
binaries."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, Iterator

import pytest
from conftest import BUILD, PATIENCE, run, wait_until
from support import PROGRAMS, Memory, Serve, Trace

Binary = Callable[..., Path]

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "misc" / "gen_quic_bpf.py"
STANDIN = BUILD / "t" / "standin" / "standin-2026-06"
LISTS = "build h2olog with the lists of this h2o: cmake -DH2O_SOURCE_DIR=/path/to/h2o"


def call(*command: str | Path, **more: Path) -> str:
    """Runs a command that must succeed. Returns its output."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=4 * PATIENCE, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- servers with other lists --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Binary:
    """Builds stand-ins: standin("2026-06-20", (OLD, NEW), ...) has the lists of that day, with some text replaced."""
    made: dict[tuple[object, ...], Path] = {}

    def build(date: str, *changes: tuple[str, str]) -> Path:
        if (date, *changes) in made:
            return made[(date, *changes)]
        folder = tmp_path_factory.mktemp("standin")
        left = list(changes)
        lists, objects = [], []
        for name in ("h2o-probes", "quicly-probes", "picotls-probes"):
            text = call(sys.executable, "-B", GENERATOR, "plain", "--at", date, ROOT / "bpf" / f"{name}.d")
            for change in [change for change in left if change[0] in text]:
                assert text.count(change[0]) == 1
                text = text.replace(*change)
                left.remove(change)
            lists.append(folder / f"{name}.d")
            lists[-1].write_text(text)
            call("dtrace", "-h", "-s", lists[-1], "-o", folder / f"{name}.h", cwd=folder)
            call("dtrace", "-G", "-s", lists[-1], "-o", folder / f"{name}.o", cwd=folder)
            objects.append(folder / f"{name}.o")
        assert left == []
        table = folder / "probe_table.c"
        call(sys.executable, "-B", ROOT / "t" / "gen_standin.py", "-o", table, *lists)
        common = sorted((BUILD / "t" / "standin" / "CMakeFiles" / "standin-common.dir").glob("*.o"))
        assert common != []
        words = ["-O2", "-D_GNU_SOURCE", "-pthread", f"-I{folder}", f"-I{ROOT / 't' / 'standin'}"]
        call("cc", *words, "-o", folder / "standin", table, *common, *objects)
        made[(date, *changes)] = folder / "standin"
        return folder / "standin"

    return build


DAY = "2026-06-20"
HEADER = (
    "receive_request_header(uint64_t conn_id, uint64_t req_id, const char *name, size_t name_len, const char *value, "
    "size_t value_len)"
)
SCRIPT = """
h2o:receive_request conn_id=1 req_id=2 http_version=257
h2o:receive_request_header conn_id=1 req_id=2 name="a" name_len=1 value="bc" value_len=2
h2o:send_response conn_id=1 req_id=2 status=200
h2o:send_response_header conn_id=1 req_id=2 name="d" name_len=1 value="ef" value_len=2
"""
HTTP = ("receive_request", "receive_request_header", "send_response", "send_response_header")
LINES = ["1 2 RxProtocol HTTP/1.1", "1 2 RxHeader   a bc", "1 2 TxStatus   200", "1 2 TxHeader   d ef"]


def traced(serve: Serve, trace: Trace, binary: Path, *arguments: str, **how: str) -> tuple[list[str], list[str]]:
    """Returns the lines of the script, and the messages without -d."""
    server = serve(binary=binary, script=how.pop("script", SCRIPT))
    tracer = trace(server, *arguments, **how)
    server.play()
    assert tracer.stop() == 0
    said = [line for line in tracer.messages().splitlines() if line.startswith("h2olog: ")]
    return tracer.lines(), said


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("more", ["int reason", "const char *text", "uint64_t a, int b, uint8_t c"])
def test_arguments_are_appended(serve: Serve, trace: Trace, standin: Binary, more: str, program: str) -> None:
    """The known arguments are still the first ones."""
    binary = standin(DAY, (HEADER, f"{HEADER[:-1]}, {more})"))
    lines, said = traced(serve, trace, binary, program=program)
    assert lines == LINES
    assert said == [
        f"h2olog: h2o:receive_request_header has {7 + more.count(',')} arguments here; the first 6 fit h2o:{HEADER} "
        f"and are read as these, the others are not read; to read them, {LISTS}"
    ]


def test_appended_arguments_are_listed(serve: Serve, standin: Binary) -> None:
    server = serve(binary=standin(DAY, (HEADER, f"{HEADER[:-1]}, int reason)")))
    done = run("-l", "-p", str(server.pid), "-t", "receive_request_header")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"h2o:{HEADER[:-1]}, ...)\n", "")


CHANGED = {
    "inserted": (
        HEADER.replace("uint64_t req_id, ", "uint64_t req_id, int kind, "),
        "uint64_t arg1, uint64_t arg2, int32_t arg3, uint64_t arg4, uint64_t arg5, uint64_t arg6, uint64_t arg7",
    ),
    "first": (
        HEADER.replace("(", "(int kind, "),
        "int32_t arg1, uint64_t arg2, uint64_t arg3, uint64_t arg4, uint64_t arg5, uint64_t arg6, uint64_t arg7",
    ),
    "fewer": (
        HEADER.replace(", size_t value_len", ""),
        "uint64_t arg1, uint64_t arg2, uint64_t arg3, uint64_t arg4, uint64_t arg5",
    ),
    "replaced": (
        HEADER.replace("const char *name", "int name"),
        "uint64_t arg1, uint64_t arg2, int32_t arg3, uint64_t arg4, uint64_t arg5, uint64_t arg6",
    ),
    "none": ("receive_request_header()", ""),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_arguments_have_changed(serve: Serve, trace: Trace, standin: Binary, kind: str) -> None:
    """A probe whose arguments have an unknown meaning is named, not printed. -t prints its raw arguments."""
    declaration, guess = CHANGED[kind]
    binary = standin(DAY, (HEADER, declaration))
    script = re.sub(r"receive_request_header.*", "receive_request_header", SCRIPT)
    lines, said = traced(serve, trace, binary, script=script)
    assert lines == [line for line in LINES if "RxHeader" not in line]
    assert said == [
        "h2olog: h2o:receive_request_header is not traced: its arguments have changed, and their meaning is unknown; "
        f"here it is h2o:receive_request_header({guess}); h2olog all -t h2o:receive_request_header prints its raw "
        "arguments; "
        f"to read it, {LISTS}"
    ]
    lines, said = traced(serve, trace, binary, "all", "-t", "h2o:receive_request_header", script=script)
    assert said == []
    (event,) = (json.loads(line) for line in lines)
    assert [key for key in event if key.startswith("arg")] == re.findall(r"arg\d", guess)


def test_all_probes_of_a_mode_have_changed(serve: Serve, standin: Binary) -> None:
    """Each probe is named, and h2olog ends with an error."""
    binary = standin(
        DAY,
        ("receive_request(uint64_t conn_id, uint64_t req_id,", "receive_request("),
        ("receive_request_header(uint64_t conn_id, uint64_t req_id,", "receive_request_header("),
        ("send_response(uint64_t conn_id, uint64_t req_id,", "send_response("),
        ("send_response_header(uint64_t conn_id, uint64_t req_id,", "send_response_header("),
    )
    done = run("-p", str(serve(binary=binary).pid))
    assert (done.returncode, done.stdout) == (1, "")
    *named, last = done.stderr.splitlines()
    assert last == "h2olog: none of the probes of this server that http needs can be read, for the reasons above"
    assert {line.split()[1] for line in named} == {f"h2o:{name}" for name in HTTP}
    assert all(line.split(" ", 2)[2].startswith("is not traced: its arguments have changed") for line in named)


def test_new_probes(serve: Serve, trace: Trace, standin: Binary) -> None:
    """`quic` and `all` trace all probes of quicly, and report new ones; `http` traces four probes only."""
    binary = standin(DAY, ("provider quicly {", "provider quicly {\n    probe brand_new(uint64_t what, int why);"))
    assert traced(serve, trace, binary) == (LINES, [])
    for mode in ("quic", "all"):
        _, said = traced(serve, trace, binary, mode)
        assert said == [
            "h2olog: not traced, because no list of this h2olog has them: quicly:brand_new(uint64_t arg1, int32_t "
            f"arg2); h2olog all -t NAME prints the raw arguments of one; to read them, {LISTS}"
        ]


@pytest.mark.parametrize("mode", ["http", "quic", "all"])
@pytest.mark.parametrize("version", ["2020-06", "2026-06"])
def test_known_servers_are_silent(serve: Serve, trace: Trace, version: str, mode: str) -> None:
    server = serve(version)
    tracer = trace(server, mode)
    assert tracer.stop() == 0
    assert [line for line in tracer.messages().splitlines() if line.startswith("h2olog: ")] == []


# --- old servers ---------------------------------------------------------------------------------------


def test_server_of_2019(serve: Serve, trace: Trace, standin: Binary) -> None:
    """h2olog reports which output has no probe, and prints the rest."""
    binary = standin("2019-10-01")
    script = "\n".join(SCRIPT.split("\n")[:3])
    server = "h2olog: this server (h2o 2019-09-24 to 2019-11-26) has no"
    lines, said = traced(serve, trace, binary, script=script)
    assert lines == LINES[:2]
    assert said == [
        f"{server} probe for the status of responses: TxStatus lines are missing; h2o has had it since 2019-11-26",
        f"{server} probe for response headers: TxHeader lines are missing; h2o has had it since 2019-12-15",
        f"{server} probes for requests of HTTP/3, so they are not printed; h2o has had these probes since 2020-01-20",
    ]
    _, said = traced(serve, trace, binary, "quic", script=script)
    assert said == [
        f"{server} probe for response headers of HTTP/3: send-response-header events are missing; "
        "h2o has had it since 2020-01-20",
        f"{server} probe for accepted HTTP/3 connections: h3s-accept events are missing; "
        "h2o has had it since 2019-12-18",
    ]
    assert traced(serve, trace, binary, "all", "-t", "receive_request", script=script)[1] == []


# --- locations that cannot fire ------------------------------------------------------------------------


def notes_of(binary: Path, folder: Path) -> bytes:
    call("objcopy", "--dump-section", f".note.stapsdt={folder / 'notes'}", binary, folder / "copy")
    return (folder / "notes").read_bytes()


def with_notes(binary: Path, folder: Path, notes: bytes) -> Path:
    """Returns a copy of the server with other notes of the same size."""
    (folder / "notes").write_bytes(notes)
    changed = folder / "changed"
    call("objcopy", "--update-section", f".note.stapsdt={folder / 'notes'}", binary, changed)
    return changed


def change_notes(
    binary: Path,
    folder: Path,
    change: Callable[[bytes, int, int, bytes], tuple[int, int, bytes]],
    *names: str,
    provider: str | None = None,
) -> Path:
    """Changes (address, semaphore, operands) of the notes of h2o's probes with these names; without names, of all
    probes of the provider, or of all."""
    wanted = [b"h2o"] if names else None if provider is None else [provider.encode()]
    notes, at = bytearray(notes_of(binary, folder)), 0
    count = 0
    while at < len(notes):
        name_size, size, _ = struct.unpack_from("III", notes, at)
        begin = at + 12 + (name_size + 3) // 4 * 4
        address, base, semaphore = struct.unpack_from("QQQ", notes, begin)
        owner, name, operands = bytes(notes[begin + 24 : begin + size]).split(b"\0")[:3]
        if (wanted is None or owner in wanted) and (not names or name.decode() in names):
            address, semaphore, changed = change(name, address, semaphore, operands)
            assert len(changed) == len(operands)
            struct.pack_into("QQQ", notes, begin, address, base, semaphore)
            end = begin + 24 + len(owner) + len(name) + 2
            notes[end : end + len(operands)] = changed
            count += 1
        at = begin + (size + 3) // 4 * 4
    assert count != 0
    return with_notes(binary, folder, bytes(notes))


NOTHING_LEFT = "h2olog: none of the probes of process {} that were chosen can be traced, for the reasons above"


def unreadable(_: bytes, address: int, semaphore: int, operands: bytes) -> tuple[int, int, bytes]:
    return address, semaphore, operands.replace(b"%", b"?")


def in_code(_: bytes, address: int, __: int, operands: bytes) -> tuple[int, int, bytes]:
    return address, address & ~1, operands


def in_data(_: bytes, __: int, semaphore: int, operands: bytes) -> tuple[int, int, bytes]:
    return semaphore, semaphore, operands


FLAWS = {
    "operands": (unreadable, r"its operands \".*\?.*\" cannot be read"),
    "semaphore": (in_code, "it never fires, because its semaphore is not in a writable segment of .*/changed"),
    "address": (in_data, "this address is not in the code of .*/changed"),
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("flaw", FLAWS)
def test_nothing_can_be_traced(serve: Serve, tmp_path: Path, program: str, flaw: str) -> None:
    change, reason = FLAWS[flaw]
    server = serve(binary=change_notes(STANDIN, tmp_path, change, *HTTP))
    done = run("-p", str(server.pid), program=program)
    assert (done.returncode, done.stdout) == (1, "")
    *places, last = done.stderr.splitlines()
    assert last == NOTHING_LEFT.format(server.pid)
    assert {place.split()[1] for place in places} == {f"h2o:{name}" for name in HTTP}
    for place in places:
        assert re.fullmatch(rf"h2olog: h2o:\w+ at 0x[0-9a-f]+ is not traced: {reason}", place), place


@pytest.mark.parametrize("flaw", FLAWS)
def test_some_cannot_be_traced(serve: Serve, trace: Trace, tmp_path: Path, flaw: str) -> None:
    """The others are."""
    change, reason = FLAWS[flaw]
    binary = change_notes(STANDIN, tmp_path, change, "receive_request_header")
    lines, said = traced(serve, trace, binary)
    assert lines == [line for line in LINES if "RxHeader" not in line]
    assert said != []
    for line in said:
        place = r"h2olog: h2o:receive_request_header at 0x[0-9a-f]+ is not traced: "
        assert re.fullmatch(place + reason, line), line


UNREADABLE = {
    "inserted": (HEADER, CHANGED["inserted"][0]),
    "fewer": (HEADER, CHANGED["fewer"][0]),
    "appended": (HEADER, f"{HEADER[:-1]}, int reason)"),
    "new": ("provider h2o {", "provider h2o {\n    probe brand_new(uint64_t what, int why);"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_changed_and_unreadable(
    serve: Serve, trace: Trace, standin: Binary, tmp_path: Path, kind: str
) -> None:
    """Nothing can be compared, so no probe is reported as fitting, and -t cannot trace it either."""
    probe = "brand_new" if kind == "new" else "receive_request_header"
    binary = change_notes(standin(DAY, UNREADABLE[kind]), tmp_path, unreadable, probe)
    script = "\n".join(line for line in SCRIPT.split("\n") if f":{probe} " not in line)
    _, said = traced(serve, trace, binary, "all", script=script)
    assert said != []
    for line in said:
        assert re.fullmatch(rf"h2olog: h2o:{probe} at 0x[0-9a-f]+ is not traced: {FLAWS['operands'][1]}", line), line
    done = run("-l", "-p", str(serve(binary=binary).pid), "-t", probe)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"h2o:{probe}(...)\n", "")


@pytest.mark.parametrize("flaw", FLAWS)
def test_quic_needs_quic(serve: Serve, tmp_path: Path, flaw: str) -> None:
    """Response headers alone are not enough for `quic`."""
    change, reason = FLAWS[flaw]
    server = serve(binary=change_notes(STANDIN, tmp_path, change, provider="quicly"))
    done = run("quic", "-p", str(server.pid))
    assert (done.returncode, done.stdout) == (1, "")
    *places, last = done.stderr.splitlines()
    assert last == NOTHING_LEFT.format(server.pid).replace("were chosen", "this mode needs")
    assert len({place.split()[1] for place in places}) > 70
    for place in places:
        assert re.fullmatch(rf"h2olog: quicly:\w+ at 0x[0-9a-f]+ is not traced: {reason}", place), place


def test_only_ties_are_left(serve: Serve, tmp_path: Path) -> None:
    """Probes that are traced only for ties print nothing."""
    server = serve(binary=change_notes(STANDIN, tmp_path, unreadable, "send_response_header"))
    done = run("quic", "-t", "send_response_header", "-p", str(server.pid))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == NOTHING_LEFT.format(server.pid)


@pytest.mark.parametrize("program", PROGRAMS)
def test_section_of_semaphores_has_another_name(serve: Serve, trace: Trace, tmp_path: Path, program: str) -> None:
    """The kernel still enables and disables the probes."""
    binary = tmp_path / "renamed"
    call("objcopy", "--rename-section", ".probes=.probez", STANDIN, binary)
    assert b".probez" in binary.read_bytes()
    server = serve(binary=binary, script=SCRIPT)
    memory = Memory(server)
    assert memory.switched_on() == set()
    tracer = trace(server, program=program)
    assert memory.switched_on() == set(HTTP)
    assert server.play() == (4, 0)
    assert tracer.wait_lines(4) == LINES
    assert tracer.stop() == 0
    assert memory.switched_on() == set()


# --- a library that is mapped twice --------------------------------------------------------------------

LIBRARY = """
#include <sys/sdt.h>
void fire(unsigned long conn, unsigned long request, int status);
void fire(unsigned long conn, unsigned long request, int status)
{
    DTRACE_PROBE3(h2o, send_response, conn, request, status);
}
"""
MAIN = r"""
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
void fire(unsigned long conn, unsigned long request, int status);
int main(int argc, char **argv)
{
    int own = open(argv[0], O_RDONLY), library = open(argv[argc - 1], O_RDONLY);
    char *room = mmap(NULL, 5 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    /* the library, the program, and the library again, with gaps, so that the kernel does not merge them */
    for (int i = 0; i != 3; ++i) {
        if (mmap(room + (i << 20), 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, i == 1 ? own : library, 0) ==
            MAP_FAILED)
            return 1;
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
        fire(1, 2, 200);
        puts("fired");
        fflush(stdout);
    }
    return 0;
}
"""


@pytest.fixture
def mapper(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "library.c").write_text(LIBRARY)
    (tmp_path / "main.c").write_text(MAIN)
    library, program = tmp_path / "libprobes.so", tmp_path / "mapper"
    call("cc", "-O2", "-shared", "-fPIC", "-o", library, tmp_path / "library.c")
    call("cc", "-O2", "-o", program, tmp_path / "main.c", library)
    process = subprocess.Popen([program, library], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("program", PROGRAMS)
def test_library_is_mapped_twice(mapper: subprocess.Popen[str], trace: Trace, program: str) -> None:
    """An event is printed once."""
    maps = Path(f"/proc/{mapper.pid}/maps").read_text().splitlines()
    mapped = [line.split()[-1].rpartition("/")[2] for line in maps if line.split()[1] == "r-xp"]
    assert mapped.count("libprobes.so") == 3 and mapped.count("mapper") == 2
    tracer = trace(SimpleNamespace(pid=mapper.pid), program=program)
    assert mapper.stdin is not None and mapper.stdout is not None
    for _ in range(3):
        mapper.stdin.write("\n")
        mapper.stdin.flush()
        assert mapper.stdout.readline() == "fired\n"
    assert tracer.stop() == 0
    assert tracer.lines() == ["1 2 TxStatus   200"] * 3


# --- servers without probes ----------------------------------------------------------------------------


def why_not(pid: int) -> str:
    """Returns the sentence that says why a process cannot be traced."""
    done = run("-p", str(pid))
    assert (done.returncode, done.stdout) == (1, "")
    match = re.fullmatch(r"h2olog: (.*)\n", done.stderr)
    assert match is not None, done.stderr
    return match.group(1)


def test_notes_are_stripped(serve: Serve, tmp_path: Path) -> None:
    binary = tmp_path / "stripped"
    call("objcopy", "-R", ".note.stapsdt", STANDIN, binary)
    pid = serve(binary=binary).pid
    assert why_not(pid) == (
        f"PID {pid} (stripped) had probes, but their notes (.note.stapsdt) were stripped from its "
        "binary; strip it with --keep-section=.note.stapsdt"
    )


def test_notes_are_kept_as_advised(serve: Serve, trace: Trace, tmp_path: Path) -> None:
    binary = tmp_path / "stripped"
    call("strip", "--keep-section=.note.stapsdt", "-o", binary, STANDIN)
    assert traced(serve, trace, binary) == (LINES, [])


def test_section_headers_are_stripped(serve: Serve, tmp_path: Path) -> None:
    binary = tmp_path / "stripped"
    content = bytearray(STANDIN.read_bytes())
    struct.pack_into("Q", content, 40, 0)  # e_shoff
    struct.pack_into("HHH", content, 58, 0, 0, 0)  # e_shentsize, e_shnum, e_shstrndx
    binary.write_bytes(content)
    binary.chmod(0o755)
    pid = serve(binary=binary).pid
    assert why_not(pid) == (
        f"PID {pid} (stripped) has no h2o probes that can be found: the section headers of its binary were "
        "stripped; strip it without --strip-sections"
    )


OLD = "is h2o {}, and no release up to that has probes; h2o has them on its git master since 2019-08: build that with"
WITHOUT = "has no h2o probes; h2o needs -DWITH_DTRACE=on"


@pytest.mark.parametrize(
    "text, sentence",
    [
        (b"h2o/2.2.5", f"{OLD.format('2.2.5')} -DWITH_DTRACE=on"),
        (b"h2o/2.3.0-beta2", f"{OLD.format('2.3.0-beta2')} -DWITH_DTRACE=on"),
        (b"h2o/2.3.0-DEV@0123456", WITHOUT),
        (b"h2o/h2o.conf", WITHOUT),
        (b"", WITHOUT),
    ],
)
def test_server_that_never_had_probes(tmp_path: Path, text: bytes, sentence: str) -> None:
    """The version in its text determines the advice."""
    binary = tmp_path / "h2o"
    shutil.copy(Path("/bin/cat").resolve(), binary)
    with binary.open("ab") as file:
        file.write(b"\0" + text + b"\0")
    with subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        comm = Path(f"/proc/{process.pid}/comm")
        wait_until(lambda: comm.read_text() == "h2o\n", "it to start")
        try:
            assert why_not(process.pid) == f"PID {process.pid} (h2o) {sentence}"
        finally:
            process.kill()


def test_quic_of_a_server_without_quic(serve: Serve, tmp_path: Path) -> None:
    """`quic` fails; else it would wait for events that never come."""
    notes = notes_of(STANDIN, tmp_path).replace(b"quicly\0", b"other_\0")
    pid = serve(binary=with_notes(STANDIN, tmp_path, notes)).pid
    done = run("quic", "-p", str(pid))
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "",
        "h2olog: this server has no probes of QUIC: it was built without HTTP/3, or it is older than 2019-09-24, when "
        "h2o got them; to trace its requests, use http\n",
    )  # fmt: skip
