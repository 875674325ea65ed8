"""Which tracepoints are traced: -t, -l, -a, the probes of each mode, and probes that are in no list."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator

import pytest
from conftest import DATA, PATIENCE, VERSIONS, Probe, Tracer, probes_of, run
from support import Serve, Trace

TIES = ("h2o:h3_accept", "h2o:h3s_accept", "h2o:h3_close", "h2o:h3s_destroy")
# Probes that tell that a connection of quicly begins or ends.
LIVES = ("quicly:accept", "quicly:connect", "quicly:free")
HTTP = ("h2o:receive_request", "h2o:receive_request_header", "h2o:send_response", "h2o:send_response_header")


def events_of(tracer: Tracer) -> list[dict[str, Any]]:
    assert tracer.stop() == 0
    return [json.loads(line) for line in tracer.lines()]


def names_of(version: str, keep: Callable[[Probe], bool] = lambda probe: True) -> list[str]:
    return [probe.full_name for probe in probes_of(version) if keep(probe)]


def each_probe_once(version: str) -> str:
    """Returns a script whose connections are HTTP/3, so that `quic` prints their events."""
    ties = "h2o:h3_accept conn_id=1 quic=2" if version == "2020-06" else "h2o:h3s_accept conn_id=1 quic=2"
    lines = [ties]
    for probe in probes_of(version):
        has_connection = probe.provider == "h2o" and any(name == "conn_id" for _, name in probe.arguments)
        if probe.full_name in TIES:
            continue
        lines.append(f"{probe.full_name} conn_id=1" if has_connection else probe.full_name)
    close = "h2o:h3_close conn_id=1" if version == "2020-06" else "h2o:h3s_destroy conn_id=1"
    return "\n".join([*lines, close])


def check_attached(serve: Serve, trace: Trace, version: str, chosen: set[str], *arguments: str, **how: str) -> Tracer:
    """Checks that exactly these are attached: the selected probes, those that tie them, and begins and ends of their
    connections. When h2olog has ended, none is attached."""
    server = serve(version, script=each_probe_once(version))
    tracer = trace(server, *arguments, **how)
    there = names_of(version)
    assert chosen <= set(there)
    tied = {probe.full_name for probe in probes_of(version) if ("uint64_t", "conn_id") in probe.arguments[:1]}
    of_quicly = {name for name in there if name.startswith("quicly:")}
    attached = set(chosen)
    if "http" not in arguments:
        attached |= set(TIES) & set(there) if chosen & tied else set()
        attached |= set(LIVES) if chosen & (tied | of_quicly) else set()
    assert server.play() == (len(attached), len(there) - len(attached))
    assert tracer.stop() == 0
    assert server.play() == (0, len(there))
    return tracer


# --- modes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["http", "quic", "all"])
def test_probes_of_a_mode(serve: Serve, trace: Trace, version: str, mode: str) -> None:
    is_meant = {
        "http": lambda probe: probe.full_name in HTTP,
        "quic": lambda probe: probe.full_name in (*TIES, "h2o:send_response_header")
        or (probe.provider == "quicly" and probe.name != "debug_message"),
        "all": lambda probe: True,
    }[mode]
    chosen = set(names_of(version, is_meant))
    num_quic = {"2020-06": 54, "2026-06": 92}[version] + 3  # of quicly; accept, close, response headers
    assert len(chosen) == {"http": 4, "quic": num_quic, "all": len(names_of(version))}[mode]
    check_attached(serve, trace, version, chosen, mode)


# --- -t ------------------------------------------------------------------------------------------------

# Arguments, and the probes that they name on the server of 2026-06: names, or a condition on a name.
GLOBS: list[tuple[list[str], set[str]]] = [
    (["-t", "quicly:accept"], {"quicly:accept"}),
    (["-t", "accept"], {"quicly:accept"}),
    (["-t", "free"], {"quicly:free", "picotls:free"}),
    (["-t", "*:free"], {"quicly:free", "picotls:free"}),
    (["--tracepoint", "picotls:*"], set(names_of("2026-06", lambda probe: probe.provider == "picotls"))),
    (["-tquicly:*"], set(names_of("2026-06", lambda probe: probe.provider == "quicly"))),
    (["-t", "*"], set(names_of("2026-06"))),
    (["-t", "h2o:h3s_*"], {"h2o:h3s_accept", "h2o:h3s_destroy", "h2o:h3s_stream_set_state", "h2o:h3s_stream_stats"}),
    (["-t", "h2o:h3s-*"], {"h2o:h3s_accept", "h2o:h3s_destroy", "h2o:h3s_stream_set_state", "h2o:h3s_stream_stats"}),
    (["--tracepoint=packet-sent"], {"quicly:packet_sent"}),
    (["-t", "quicly:stream-on_send-*"], {f"quicly:stream_on_send_{what}" for what in ("emit", "shift", "stop")}),
    (["-t", "*:path_challenge*"], {"quicly:path_challenge_receive", "quicly:path_challenge_send"}),
    (["-t", "p?o"], {"quicly:pto"}),
    (["-t", "[fn]e[ew]"], {"picotls:new"}),
    (["-t", "[a-f]ree"], {"quicly:free", "picotls:free"}),
    (["-t", "packet[-_]s[a-e]nt"], {"quicly:packet_sent"}),
    (["-t", "accept", "-t", "new", "-t", "acc*", "-t", "quicly:pto"], {"quicly:accept", "picotls:new", "quicly:pto"}),
    (["-t", "debug_message"], {"quicly:debug_message"}),
    (["-t", "connect*"], set(names_of("2026-06", lambda probe: probe.name.startswith("connect")))),
    (["-t", "send_response_header"], {"h2o:send_response_header"}),
    (["-t", "h3s-accept"], {"h2o:h3s_accept"}),
]


@pytest.mark.parametrize("arguments,chosen", GLOBS, ids=[" ".join(arguments) for arguments, _ in GLOBS])
def test_tracepoint(serve: Serve, trace: Trace, arguments: list[str], chosen: set[str]) -> None:
    tracer = check_attached(serve, trace, "2026-06", chosen, "all", *arguments)
    events = events_of(tracer)
    assert {f"{event['provider']}:{event['type'].replace('-', '_')}" for event in events} == chosen
    assert len(events) == len(chosen)


@pytest.mark.parametrize("program", ["h2olog", "h2olog-single"])
def test_tracepoint_in_quic(serve: Serve, trace: Trace, program: str) -> None:
    """In `quic`, -t also prints events without a connection, but none of connections other than HTTP/3."""
    globs = ("-t", "receive_request", "-t", "picotls:new", "-t", "debug-message", "-t", "io_uring_end")
    chosen = {"h2o:receive_request", "picotls:new", "quicly:debug_message", "h2o:io_uring_end"}
    tracer = check_attached(serve, trace, "2026-06", chosen, "quic", *globs, program=program)
    events = events_of(tracer)
    assert {event["type"].replace("-", "_") for event in events} == {name.partition(":")[2] for name in chosen}
    assert [event["conn"] for event in events if event["type"] == "receive-request"] == [2]
    assert not any("provider" in event or "tid" in event for event in events)


@pytest.mark.parametrize("mode", ["quic", "all"])
@pytest.mark.parametrize(
    "glob,suggestion",
    [
        ("acept", "quicly:accept"),
        ("quicly:acept", "quicly:accept"),
        ("h2o:h3s-acept", "h2o:h3s_accept"),
        ("h3_close", None),
        ("quicly:packet_commit", None),
        ("Accept", "quicly:accept"),
        ("h2o:accept", None),
        ("packet_sent_", "quicly:packet_sent"),
        ("nothing_like_it_at_all*", None),
        ("quicly:", None),
        ("*:*:*", None),
    ],
)
def test_tracepoint_that_matches_nothing(serve: Serve, glob: str, suggestion: str | None, mode: str) -> None:
    server = serve("2026-06", script=each_probe_once("2026-06"))
    done = run(mode, "-p", str(server.pid), "-t", "quicly:free", "-t", glob)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"h2olog: [^\n]*'{re.escape(glob)}'[^\n]*-l[^\n]*\n", done.stderr)
    if suggestion is not None:
        assert re.search(rf"did you mean {suggestion}\?", done.stderr)
    assert server.play() == (0, len(names_of("2026-06")))


def test_hostile_glob(serve: Serve) -> None:
    """The message does not move the cursor, and matching takes no time."""
    server = serve("2026-06")
    for glob in ("\x1b[2J\n", "\u0085", "[", "\\", "a" * 5000, "*" * 200 + "b"):
        done = run("quic", "-p", str(server.pid), "-t", glob)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch("h2olog: [^\x00-\x1f\x7f-\x9f]+\n", done.stderr), repr(done.stderr)


@pytest.mark.parametrize("mode", [[], ["http"]])
@pytest.mark.parametrize("option", [["-t", "receive_request"], ["-a"]])
def test_not_with_http(serve: Serve, mode: list[str], option: list[str]) -> None:
    server = serve("2026-06")
    done = run(*mode, "-p", str(server.pid), *option)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"h2olog: {option[0]} [^\n]*http[^\n]*\n", done.stderr)


def test_empty_tracepoint(serve: Serve) -> None:
    server = serve("2026-06")
    for arguments in (["-t", ""], ["-t"]):
        done = run("quic", "-p", str(server.pid), *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(r"h2olog: [^\n]*-t[^\n]*\n", done.stderr)


# --- -l ------------------------------------------------------------------------------------------------


def declaration(probe: Probe) -> str:
    arguments = (f"{type_}{'' if type_.endswith('*') else ' '}{name}" for type_, name in probe.arguments)
    return f"{probe.full_name}({', '.join(arguments)})"


def name_of(line: str) -> str:
    return line.partition("(")[0]


def facts() -> list[tuple[str, Probe]]:
    """Returns every signature in t/data, with the first date of h2o with it."""
    return [
        (p["from"], Probe(p["provider"], p["probe"], tuple((type_, name) for type_, name in p["args"])))
        for p in json.loads((DATA / "probes.json").read_text(encoding="utf-8"))["probes"]
    ]


def listed(*arguments: str) -> list[str]:
    done = run("-l", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "" or done.stdout.endswith("\n")
    return done.stdout.split("\n")[:-1]


def test_list_of_all() -> None:
    """Each probe that h2o ever had, once, with its latest signature. Probes that are newer than t/data may be listed,
    too."""
    latest: dict[str, str] = {}
    for _, probe in sorted(facts(), key=lambda fact: fact[0]):
        latest[probe.full_name] = declaration(probe)
    lines = listed()
    assert len(lines) == len({name_of(line) for line in lines})
    assert set(latest) <= {name_of(line) for line in lines}
    older = {declaration(probe) for _, probe in facts()} - set(latest.values())
    assert older and not older & set(lines)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", [[], ["quic"], ["all"]])
def test_list_of_a_server(serve: Serve, version: str, mode: list[str]) -> None:
    """Each probe with its arguments in this version."""
    server = serve(version)
    lines = listed(*mode, "-p", str(server.pid))
    assert len(lines) == len(set(lines))
    assert sorted(lines) == sorted(declaration(probe) for probe in probes_of(version))


def test_list_of_some(serve: Serve) -> None:
    server = serve("2020-06")
    wanted = [declaration(probe) for probe in probes_of("2020-06") if probe.name.startswith("quictrace_sent")]
    assert wanted == listed("-p", str(server.pid), "-t", "quictrace-sent*") != []
    everything = listed()
    assert [line for line in everything if ":free(" in line] == listed("-t", "free") != []
    both = listed("-t", "quicly:accept", "-t", "picotls:*")
    assert both == [line for line in everything if re.match(r"quicly:accept\(|picotls:", line)] != []


def test_list_attaches_nothing(serve: Serve) -> None:
    server = serve("2020-06", script=each_probe_once("2020-06"))
    listed("-p", str(server.pid))
    assert server.play() == (0, len(names_of("2020-06")))


# --- -a ------------------------------------------------------------------------------------------------

APPLICATION_DATA = """
quicly:stream_send conn=1 at=2 stream=3 off=4 data=x"c0ffee" data_len=3 is_fin=0 wrote_all=1
quicly:new_connection_id_send conn=1 at=2 sequence=3 retire_prior_to=4 cid="ab" stateless_reset_token="cd"
h2o:h3s_accept conn_id=5 quic=1
h2o:send_response_header conn_id=5 req_id=6 name="n" name_len=1 value="v" value_len=1
quicly:crypto_update_secret conn=1 at=2 is_enc=1 epoch=2 label="L" secret="0a0b0c"
"""


def test_application_data(serve: Serve, trace: Trace) -> None:
    """Names and values of headers are always printed, secrets never."""
    server = serve("2026-06", script=APPLICATION_DATA)
    globs = ("stream_send", "new-connection-id-send", "*update_secret", "h3s_accept", "send_response_header")
    words = [word for glob in globs for word in ("-t", glob)]
    options = ([], ["-a"], ["--application-data"])
    tracers = [trace(server, "quic", *words, *option, attached=False) for option in options]
    for tracer in tracers:
        tracer.wait_attached()
    server.play()
    without, short, long_ = [events_of(tracer) for tracer in tracers]
    for event in (*without, *short, *long_):
        if event["type"] in ("h3s-accept", "send-response-header"):
            del event["time"]
        assert list(event)[-1] == "connection" and event.pop("connection") == 1
    send = {"type": "stream-send", "seq": 1, "conn": 1, "time": 2, "stream-id": 3, "off": 4, "data-len": 3, "is-fin": 0,
            "wrote-all": 1}  # fmt: skip
    cid = {"type": "new-connection-id-send", "seq": 2, "conn": 1, "time": 2, "sequence": 3, "retire-prior-to": 4,
           "cid": "ab"}  # fmt: skip
    rest = [
        {"type": "h3s-accept", "seq": 3, "conn-id": 5, "conn-uuid": "", "conn": 1},
        {"type": "send-response-header", "seq": 4, "conn-id": 5, "req-id": 6, "name": "n", "name-len": 1, "value": "v",
         "value-len": 1, "conn": 1},
        {"type": "crypto-update-secret", "seq": 5, "conn": 1, "time": 2, "is-enc": 1, "epoch": 2, "label": "L"},
    ]  # fmt: skip
    assert without == [send, cid, *rest]
    assert short == long_ == [{**send, "data": "c0ffee"}, {**cid, "stateless-reset-token": "cd"}, *rest]


# --- reported decisions --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_version_and_selection_are_reported(serve: Serve, trace: Trace, version: str) -> None:
    """-dd prints the dates between which h2o had the probes of this server,
    and each selected probe with its signature."""
    server = serve(version)
    tracer = trace(server, "quic", "-d", "-t", "quicly:packet_acked", "-t", "receive")
    assert tracer.stop() == 0
    messages = tracer.messages()
    match = re.search(r"(?:(\d{4}-\d\d-\d\d) to (\d{4}-\d\d-\d\d)|since (\d{4}-\d\d-\d\d)).*", messages)
    assert match is not None
    assert (match[1] or match[3]) <= VERSIONS[version] < (match[2] or "9999")
    total = len(names_of(version))
    assert f"{total} of its {total} match" in match[0]
    for probe in probes_of(version):
        is_chosen = probe.full_name in ("quicly:packet_acked", "quicly:receive")
        is_followed = probe.full_name in LIVES
        assert (f"\n{declaration(probe)}\n" in messages) is is_chosen
        assert (f"\n{declaration(probe)} (only for numbers of connections)\n" in messages) is is_followed


# --- probes that are in no list ------------------------------------------------------------------------

# A server of a later h2o: a new probe, a probe with other arguments, and an unchanged one.
LATER = r"""
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/sdt.h>

int main(void)
{
    char connection[64];
    volatile int8_t s1 = -1;
    volatile uint8_t u1 = 255;
    volatile int16_t s2 = -32768;
    volatile uint16_t u2 = 65535;
    volatile int32_t s4 = -2147483647 - 1;
    volatile uint32_t u4 = 4294967295u;
    volatile int64_t s8 = INT64_MIN;
    volatile uint64_t u8 = UINT64_MAX;
    volatile uint32_t master_id = 77;

    memset(connection, 0, sizeof(connection));
    memcpy(connection + 16, (const void *)&master_id, 4);
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
        DTRACE_PROBE8(quicly, brand_new, s1, u1, s2, u2, s4, u4, s8, u8);
        DTRACE_PROBE1(h2o, none_of_its_arguments_is_a_number, "text");
        DTRACE_PROBE(picotls, without_arguments);
        DTRACE_PROBE4(quicly, pto, connection, s8, u8, u4);
        DTRACE_PROBE3(quicly, new_token_acked, connection, s8, u8);
        DTRACE_PROBE2(quicly, free, connection, s8);
        DTRACE_PROBE2(other, free, connection, s8);
        puts("fired");
        fflush(stdout);
    }
    return 0;
}
"""


class Later:
    """A process of that server. It fires its probes once per request of the test."""

    def __init__(self, folder: Path) -> None:
        (folder / "later.c").write_text(LATER)
        command = ["cc", "-O2", "-o", str(folder / "later"), str(folder / "later.c")]
        subprocess.run(command, check=True, timeout=PATIENCE)
        self.process = subprocess.Popen([folder / "later"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"

    def fire(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "fired\n"

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def later(tmp_path: Path) -> Iterator[Later]:
    server = Later(tmp_path)
    yield server
    server.stop()


BRAND_NEW = {
    "arg1": -1, "arg2": 255, "arg3": -32768, "arg4": 65535, "arg5": -(2**31), "arg6": 2**32 - 1, "arg7": -(2**63),
    "arg8": 2**64 - 1,
}  # fmt: skip


def without_time(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in event.items() if key not in ("seq", "time")} for event in events]


@pytest.mark.parametrize("program", ["h2olog", "h2olog-single"])
def test_unknown_probe_is_traced_when_named(later: Later, trace: Trace, program: str) -> None:
    """With the sizes and signs of its operands, and the time."""
    tracer = trace(SimpleNamespace(pid=later.pid), "quic", "-t", "quicly:brand-new", program=program)
    later.fire()
    (event,) = events_of(tracer)
    assert list(event) == ["type", "seq", *BRAND_NEW, "time"]
    assert without_time([event]) == [{"type": "brand-new", **BRAND_NEW}]


def test_unknown_probes_by_glob(later: Later, trace: Trace) -> None:
    """A probe with arguments that are in no list is unknown, too, because their meaning is."""
    tracer = trace(SimpleNamespace(pid=later.pid), "all", "-t", "*")
    later.fire()
    found = without_time(events_of(tracer))
    for event in found:
        assert event.pop("tid") == later.pid
    address = found[3]["arg1"]
    assert found == [
        {"type": "brand-new", "provider": "quicly", **BRAND_NEW},
        {"type": "none-of-its-arguments-is-a-number", "provider": "h2o", "arg1": found[1]["arg1"]},
        {"type": "without-arguments", "provider": "picotls"},
        {"type": "pto", "provider": "quicly", "arg1": address, "arg2": -(2**63), "arg3": 2**64 - 1, "arg4": 2**32 - 1},
        {"type": "new-token-acked", "provider": "quicly", "conn": 77, "generation": 2**64 - 1, "connection": 1},
        {"type": "free", "provider": "quicly", "conn": 77, "connection": 1},
    ]
    assert address > 0 and found[1]["arg1"] > 0


def test_unknown_probes_are_traced_only_by_name(later: Later, trace: Trace) -> None:
    tracer = trace(SimpleNamespace(pid=later.pid), "all")
    later.fire()
    assert [event["type"] for event in events_of(tracer)] == ["new-token-acked", "free"]


def test_unknown_probes_are_listed(later: Later) -> None:
    lines = listed("-p", str(later.pid))
    types = ("int8_t", "uint8_t", "int16_t", "uint16_t", "int32_t", "uint32_t", "int64_t", "uint64_t")
    new = ", ".join(f"{type_} arg{nth}" for nth, type_ in enumerate(types, 1))
    assert f"quicly:brand_new({new})" in lines
    assert "picotls:without_arguments()" in lines
    assert "quicly:free(struct st_quicly_conn_t *conn, int64_t at)" in lines
    assert len(lines) == 6 and not any(line.startswith("other:") for line in lines)
