"""misc/gen_quic_bpf.py: its output for good lists, and its messages for bad ones.

t/data/probes.json has the signatures that h2o had, by date. They were taken from h2o's history, independently of the
generator. Signatures with later dates are not checked, so that a new signature needs no other file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterable, NamedTuple

import pytest
from surroundings import make_dice

TOP = Path(__file__).parents[2]
GENERATOR = TOP / "misc" / "gen_quic_bpf.py"
CONN_STATS = TOP / "bpf" / "conn-stats.tsv"
PROVIDERS = ("h2o", "quicly", "picotls")
LISTS = [TOP / "bpf" / f"{provider}-probes.d" for provider in PROVIDERS]
FACTS: dict[str, Any] = json.loads((TOP / "t" / "data" / "probes.json").read_text(encoding="utf-8"))

sys.path.insert(0, str(TOP / "misc"))
import gen_quic_bpf  # noqa: E402
import probe_lists  # noqa: E402

# Secrets that can decrypt a connection, as (probe, argument). They must never be read.
SECRETS = {
    ("quicly:crypto_receive_key_update", "secret"),
    ("quicly:crypto_receive_key_update_prepare", "secret"),
    ("quicly:crypto_send_key_update", "secret"),
    ("quicly:crypto_update_secret", "secret"),
    ("picotls:new_secret", "secret_hex"),
}

# Application data that h2o's own lists do not mark.
ALSO_APPLICATION_DATA = {
    ("h2o:h3_frame_receive", "base"),  # the name of `bytes` until 2020-09-04
    ("h2o:h3_packet_receive", "base"),
    ("h2o:h3_packet_receive", "bytes"),
    ("picotls:receive_message", "bytes"),
    ("quicly:crypto_decrypt", "decrypted"),
    ("quicly:new_connection_id_receive", "stateless_reset_token"),
    ("quicly:new_connection_id_send", "stateless_reset_token"),
    ("quicly:stream_receive", "data"),
    ("quicly:stream_send", "data"),
}

# Bytes that are no payload: numbers and tokens of the protocol. Of the packet of quicly:receive, only the first octet
# is read.
NO_PAYLOAD = {
    ("picotls:client_random", "bytes"),
    ("quicly:new_token_receive", "token"),
    ("quicly:new_token_send", "token"),
    ("quicly:path_challenge_receive", "bytes"),
    ("quicly:path_challenge_send", "bytes"),
    ("quicly:path_response_receive", "bytes"),
    ("quicly:path_response_send", "bytes"),
    ("quicly:receive", "bytes"),
}

Arguments = tuple[tuple[str, str], ...]


class Fact(NamedTuple):
    """A signature in probes.json."""

    provider: str
    probe: str
    since: str
    until: str | None
    arguments: Arguments


HISTORY = [
    Fact(p["provider"], p["probe"], p["from"], p["until"], tuple((t, n) for t, n in p["args"])) for p in FACTS["probes"]
]
LAST_DATE = max(date for f in HISTORY for date in (f.since, f.until) if date is not None)


def with_later_ones(history: list[Fact]) -> list[Fact]:
    """Returns the signatures that were added to the lists later, and the older ones that ended then."""
    listed = [
        Fact(s.provider, s.probe, s.since or "", s.until, tuple((a.type, a.name) for a in s.arguments))
        for file in LISTS
        for s in probe_lists.read_list(file)
    ]
    ended = {f._replace(until=None): f for f in listed if f.until is not None and f.until > LAST_DATE}
    return [ended.get(f, f) for f in history] + [f for f in listed if f.since > LAST_DATE]


FACT_LIST = with_later_ones(HISTORY)


def arguments_of(facts: list[Fact]) -> set[tuple[str, str]]:
    return {(f"{f.provider}:{f.probe}", name) for f in facts for _, name in f.arguments}


def facts_at(date: str, provider: str) -> set[tuple[str, Arguments]]:
    return {
        (f.probe, f.arguments)
        for f in FACT_LIST
        if f.provider == provider and f.since <= date and (f.until is None or date < f.until)
    }


def run(*arguments: str | Path, seed: str = "0") -> subprocess.CompletedProcess[str]:
    """Runs the generator in the same way as the build."""
    return subprocess.run(
        [sys.executable, "-B", str(GENERATOR), *map(str, arguments)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONHASHSEED": seed},
    )  # fmt: skip


def make_tables(*lists: Path, source: Iterable[Path] = (), conn_stats: Path = CONN_STATS) -> str:
    """Returns the output of `tables`. Does not start a process, which would be the slowest part."""
    return gen_quic_bpf.tables(argparse.Namespace(lists=list(lists), source=list(source), conn_stats=conn_stats))


class Row(NamedTuple):
    """A signature of the generated tables."""

    declaration: str
    since: int
    until: int
    capture: str


ROW = re.compile(
    r'    \{\n        \.provider = "(\w+)",\n        \.probe = "(\w+)",\n        \.declaration = "([^"]*)",\n'
    r"        \.since = (\d+),\n        \.until = (\d+),\n(.*?)\n    \},\n",
    re.S,
)


def rows_of(tables: str) -> list[Row]:
    return [
        Row(declaration, int(since), int(until), rest[rest.index(".capture") :])
        for _, _, declaration, since, until, rest in ROW.findall(tables)
    ]


def declaration_of(fact: Fact) -> str:
    arguments = ", ".join(f"{type_}{'' if type_.endswith('*') else ' '}{name}" for type_, name in fact.arguments)
    return f"{fact.provider}:{fact.probe}({arguments})"


def number_of(date: str | None) -> int:
    return int(date.replace("-", "")) if date is not None else 0


# --- our own lists -------------------------------------------------------------------------------------


def test_there_are_208_facts() -> None:
    assert len(HISTORY) == len(set(HISTORY)) == 208
    assert len(FACT_LIST) == len(set(FACT_LIST))


@pytest.mark.parametrize("file", LISTS, ids=PROVIDERS)
def test_lists_match_the_facts(file: Path) -> None:
    """Our lists have the same signatures, arguments and dates, and no others."""
    provider = file.name.partition("-")[0]
    found = [
        Fact(s.provider, s.probe, s.since or "", s.until, tuple((a.type, a.name) for a in s.arguments))
        for s in probe_lists.read_list(file)
    ]
    wanted = [fact for fact in FACT_LIST if fact.provider == provider]
    assert sorted(found, key=str) == sorted(wanted, key=str)


def test_signatures_have_their_lines() -> None:
    for file in LISTS:
        lines = file.read_text(encoding="utf-8").split("\n")
        for signature in probe_lists.read_list(file):
            assert re.match(rf"    probe {signature.probe}\(", lines[signature.line - 1])


def marked(kind: str) -> set[tuple[str, str]]:
    """Returns the arguments that an annotation of our lists names, read without the generator."""
    found: set[tuple[str, str]] = set()
    for file in LISTS:
        for text in re.findall(rf"/\* @{kind}\s+(\{{.*?\}})\s*\*/", file.read_text(encoding="utf-8"), re.S):
            for probe, names in json.loads(text).items():
                found |= {(f"{file.name.partition('-')[0]}:{probe}", name) for name in names}
    return found


def test_marks_are_right() -> None:
    h2o_marks = {(probe, name) for probe, names in FACTS["appdata"].items() for name in names}
    known = arguments_of(HISTORY)
    assert marked("secret") & known == SECRETS
    assert marked("appdata") & known == (h2o_marks - SECRETS) | ALSO_APPLICATION_DATA
    assert marked("text") & known == {("picotls:client_random", "bytes")}


def test_marks_name_arguments_that_exist() -> None:
    """A misspelled annotation would have no effect."""
    there = arguments_of(FACT_LIST)
    for kind in ("appdata", "secret", "text"):
        assert marked(kind) <= there


def test_no_payload_is_unmarked() -> None:
    """Bytes, encrypted or not, are application data, or are known not to be."""
    declared = {
        (f"{f.provider}:{f.probe}", name)
        for f in FACT_LIST
        for type_, name in f.arguments
        if type_ in ("const void *", "const uint8_t *", "uint8_t *")
    }
    assert declared - marked("appdata") == NO_PAYLOAD


def test_no_secret_is_unmarked() -> None:
    """Arguments whose name shows that they are secret, in all of h2o's history and in later signatures."""
    assert {(probe, name) for probe, name in arguments_of(HISTORY) if "secret" in name} == SECRETS
    assert {(probe, name) for probe, name in arguments_of(FACT_LIST) if "secret" in name} <= marked("secret")


# --- tables --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables() -> str:
    return make_tables(*LISTS)


def test_tables_have_every_signature_once(tables: str) -> None:
    found = sorted((row.declaration, row.since, row.until) for row in rows_of(tables))
    assert found == sorted((declaration_of(f), number_of(f.since), number_of(f.until)) for f in FACT_LIST)
    assert f"const size_t num_signatures = {len(FACT_LIST)};\n" in tables


def fields_of(tables: str) -> list[tuple[str, str, bool]]:
    """Returns the probe and the key of each field in the tables, and whether it is application data."""
    found = []
    for probe, rows in re.findall(
        r"/\* (\w+:\w+)\([^\n]*\) \*/\nstatic const struct field fields_\d+\[\] = \{\n(.*?)\};\n", tables, re.S
    ):
        for key, is_application_data in re.findall(r'^    \{"([^"]+)", FIELD_\w+, \d+, (true|false),', rows, re.M):
            found.append((probe, key, is_application_data == "true"))
    return found


def keys_of(tables: str) -> list[tuple[str, list[str]]]:
    """Returns the probe and the keys of each signature that has fields."""
    return [
        (probe, re.findall(r'^    \{"([^"]*)", FIELD_', rows, re.M))
        for probe, rows in re.findall(
            r"/\* (\w+:\w+)\([^\n]*\) \*/\nstatic const struct field fields_\d+\[\] = \{\n(.*?)\};\n", tables, re.S
        )
    ]


def test_no_key_appears_twice(tables: str) -> None:
    """A JSON object has each key once."""
    found = keys_of(tables)
    assert len(found) == len(FACT_LIST)  # every event has its time
    for probe, keys in found:
        assert len(keys) == len(set(keys)), probe


def test_tables_have_no_secret_and_mark_application_data(tables: str) -> None:
    fields = fields_of(tables)
    assert len({probe for probe, _, _ in fields}) == len({(f.provider, f.probe) for f in FACT_LIST})
    for probe, name in SECRETS:
        assert (probe, name.replace("_", "-")) not in {(field[0], field[1]) for field in fields}
    application_data = {(probe, key) for probe, key, is_data in fields if is_data}
    wanted = {(probe, name) for probe, names in FACTS["appdata"].items() for name in names}
    wanted = (wanted | ALSO_APPLICATION_DATA | (marked("appdata") - arguments_of(HISTORY))) - SECRETS
    headers = {(p, n) for p, n in wanted if p in ("h2o:receive_request_header", "h2o:send_response_header")}
    assert application_data == {(probe, name.replace("_", "-")) for probe, name in wanted - headers}


def test_capture_reads_no_secret(tables: str) -> None:
    """The secret is the last argument of each of these probes. The C of their captures does not read it."""
    seen = 0
    for row in rows_of(tables):
        probe, names = row.declaration.partition("(")[0], re.findall(r"(\w+)[,)]", row.declaration)
        if (probe, names[-1]) in SECRETS:
            seen += 1
            assert f"arg{len(names) - 1}" not in row.capture
            assert f"arg{len(names) - 2}" in row.capture  # the name of the arguments in the captures
    assert seen >= 9


def layouts_of(tables: str) -> list[tuple[str, str, list[tuple[str, ...]]]]:
    """Returns the size, the conditions and the fields of each layout of the statistics."""
    fields = {
        index: re.findall(r'^    \{"([^"]+)", (\d+), (\d+), (true|false)\},$', rows, re.M)
        for index, rows in re.findall(r"struct stats_field stats_fields_(\d+)\[\] = \{\n(.*?)\};\n", tables, re.S)
    }
    return [
        (size, known, fields[index])
        for size, known, index, count in re.findall(
            r"\{\.size = (\d+), (.*?)\.fields = stats_fields_(\d+), \.num_fields = (\d+)\},\n", tables
        )
        if len(fields[index]) == int(count)
    ]


def test_tables_have_the_layouts_of_conn_stats(tables: str) -> None:
    """The layouts match t/data/conn-stats-layouts.tsv, which is from debug information."""
    wanted: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for line in (TOP / "t" / "data" / "conn-stats-layouts.tsv").read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("#"):
            size, since, _, key, offset, width, signed = line.split("\t")
            wanted.setdefault((size, since), []).append((key, offset, width, "true" if signed == "1" else "false"))
    found = layouts_of(tables)
    assert [(size, fields) for size, _, fields in found] == [(size, fields) for (size, _), fields in wanted.items()]
    assert len(found) >= 17 and f"const size_t num_stats_layouts = {len(found)};\n" in tables
    # each layout has a condition, except for the oldest one, which has no pointer
    assert [known for size, known, _ in found if "pointer" not in known] == [""]
    assert {known for size, known, _ in found if size == "936"} == {
        ".pointer = 768, .nonzero = 780, ", ".pointer = 776, "
    }  # fmt: skip
    assert {known for size, known, _ in found if size == "544"} == {
        ".pointer = 464, .nonzero = 444, ", ".pointer = 464, .zero = 444, "
    }  # fmt: skip


def test_output_is_deterministic(tmp_path: Path, tables: str) -> None:
    arguments = ["tables", "--conn-stats", CONN_STATS, *LISTS]
    first, second = run(*arguments, seed="1"), run(*arguments, seed="2")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout == tables
    written = run(*arguments, "--output", tmp_path / "tables.c", seed="3")
    assert (written.returncode, written.stdout, written.stderr) == (0, "", "")
    assert (tmp_path / "tables.c").read_text(encoding="utf-8") == tables


def compile_and_run(folder: Path, *sources: str) -> str:
    """Compiles C with the project's headers. Returns its output."""
    files = []
    for number, source in enumerate(sources):
        files.append(str(folder / f"source-{number}.c"))
        Path(files[-1]).write_text(source, encoding="utf-8")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{TOP / 'include'}", f"-I{TOP / 'bpf'}"]
    done = subprocess.run(["cc", *flags, "-o", str(folder / "run"), *files], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return subprocess.run([str(folder / "run")], check=True, capture_output=True, text=True, timeout=60).stdout


# Prints the captures as functions, like src/kernel/program.c, with the values of the tables as static assertions.
PRINT_CAPTURES = r"""
#include <stdio.h>
#include <string.h>
#include "server/signature.h"

static int is_key_of(const char *key, const char *name)
{
    char spelled[64];
    snprintf(spelled, sizeof(spelled), "%s", strcmp(name, "at") == 0 ? "time"
             : strcmp(name, "num_bytes") == 0 ? "bytes-len" : name);
    for (char *at = spelled; *at != 0; ++at)
        *at = *at == '_' ? '-' : *at;
    return strcmp(key, spelled) == 0;
}

/* What the C calls the values of an event is its own affair; at present it is as h2o does. */
static int has_member(const char *capture, const char *name, int width)
{
    char member[64];
    snprintf(member, sizeof(member), "%d %s;\n", 8 * width, name);
    return strstr(capture, member) != NULL;
}

static void print_capture(const char *name, size_t i, const struct signature *s)
{
    printf("/* %s */\nint %s%zu(struct pt_regs *ctx)\n{\n    enum { id = 0, silent = 0 };\n",
           s->declaration != NULL ? s->declaration : "generic", name, i);
    for (size_t j = 0; j < s->num_arguments; ++j)
        if (((s->reads | s->reads_application_data) >> j & 1) != 0)
            printf("    const u64 arg%zu = 0;\n", j);
    printf("%s    _Static_assert(sizeof(struct event) >= %d && sizeof(struct event) < %d + 8, \"size\");\n",
           s->capture, s->size, s->size);
    for (size_t j = 0; j < s->num_arguments; ++j)
        for (size_t k = 0; k < s->num_fields; ++k)
            if (!s->arguments[j].is_pointer && is_key_of(s->fields[k].key, s->arguments[j].name) &&
                has_member(s->capture, s->arguments[j].name, s->fields[k].width))
                printf("    _Static_assert(offsetof(struct event, %s) == %d && "
                       "sizeof(((struct event *)0)->%s) == %d, \"%s\");\n",
                       s->arguments[j].name, s->fields[k].place, s->arguments[j].name, s->fields[k].width,
                       s->arguments[j].name);
    puts("}");
}

int main(void)
{
    for (size_t i = 0; i < num_signatures; ++i)
        print_capture("f", i, &signatures[i]);
    for (size_t i = 0; i <= PROBE_ARGUMENTS_MAX; ++i)
        print_capture("g", i, &generic_signatures[i]);
    return 0;
}
"""

# Replaces the first lines of the program, so that the host's compiler can compile it instead of libbcc.
PRELUDE = """
#include <stddef.h>
#include <stdint.h>
#define H2OLOG_BPF 1
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int8_t s8; typedef int16_t s16; typedef int32_t s32; typedef int64_t s64;
u64 bpf_pseudo_fd(u64 kind, u64 fd);
struct pt_regs;
enum {
    RING_MAP, LOST_MAP, SCRATCH_MAP, TIES_MAP, ENTRIES_MAP, GATE_MAP, NUM_PROBES, WATERMARK, TIE_CONNECTIONS,
    WITH_STAMPS, WITH_THREADS, THREADS_OF_SERVER, NAMESPACE_DEVICE, NAMESPACE_INODE, APPLICATION_DATA
};
#include "event.h"
#include "capture.h"
INLINE int keep(const struct candidate *candidate) { return candidate->name != candidate->name_length; }
"""


def compile_captures(folder: Path, tables: str) -> None:
    """The captures are valid C, read the arguments of the tables, and put values at the offsets of the tables."""
    captures = compile_and_run(folder, tables, PRINT_CAPTURES)
    assert captures.count("\nint f") == len(rows_of(tables)) != 0
    assert captures.count("\nint g") == 17  # of 0 to 16 arguments
    assert captures.count("_Static_assert(offsetof") >= len(rows_of(tables)) / 2
    (folder / "captures.c").write_text(PRELUDE + captures, encoding="utf-8")
    command = ["cc", "-std=gnu11", "-fsyntax-only", f"-I{TOP / 'bpf'}", str(folder / "captures.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_captures_compile(tmp_path: Path, tables: str) -> None:
    compile_captures(tmp_path, tables)


# Changes of the generator's assumptions: header, old text, new text.
MUTATIONS = [
    ("bpf/event.h", "uint64_t connection; /* address", "uint64_t unused, connection; /* address"),  # another size
    ("bpf/event.h", "uint32_t conn; /* quicly", "uint32_t unused; uint32_t conn; /* quicly"),  # another offset
    ("bpf/event.h", "uint32_t conn; /* quicly", "uint16_t conn, unused; /* quicly"),
    ("bpf/event.h", "uint16_t flags;", "uint8_t flags;"),
    ("bpf/event.h", "uint64_t connection; /* address", "uint32_t connection, unused; /* address"),
    ("bpf/event.h", "#define EVENT_TIED 0x8000", "#define EVENT_TIED 0x4000"),
    ("bpf/event.h", "#define EVENT_NAME_MAX   256", "#define EVENT_NAME_MAX 512"),
    ("bpf/event.h", "#define EVENT_TEXT_MAX   4096", "#define EVENT_TEXT_MAX 2048"),
    ("bpf/event.h", "#define EVENT_STRING_MAX 1024", "#define EVENT_STRING_MAX 4096"),
    ("bpf/event.h", "#define EVENT_MAX 8192", "#define EVENT_MAX 4096"),
    ("include/server/signature.h", "#define PROBE_ARGUMENTS_MAX 16", "#define PROBE_ARGUMENTS_MAX 17"),
    ("include/server/signature.h", "#define PROBE_VARIABLE_MAX  15", "#define PROBE_VARIABLE_MAX 16"),
    ("include/server/signature.h", "#define PROBE_SOURCE_DATE 99991231", "#define PROBE_SOURCE_DATE 99991230"),
]  # fmt: skip


@pytest.mark.parametrize("header, old, new", [("bpf/event.h", "", "")] + MUTATIONS)
def test_tables_do_not_compile_with_other_headers(tmp_path: Path, tables: str, header: str, old: str, new: str) -> None:
    """If generator and headers differ, a static assertion stops the build."""
    for name in ("bpf/event.h", "include/server/signature.h"):
        (tmp_path / name).parent.mkdir(parents=True)
        text = (TOP / name).read_text(encoding="utf-8")
        if name == header and old:
            assert text.count(old) == 1
            text = text.replace(old, new)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "tables.c").write_text(tables, encoding="utf-8")
    folders = [f"-I{tmp_path / 'include'}", f"-I{tmp_path / 'bpf'}"]
    command = ["cc", "-std=c11", "-fsyntax-only", *folders, str(tmp_path / "tables.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) == (old == ""), done.stderr
    assert ("static assertion failed" in done.stderr) == (old != ""), done.stderr


def test_embed(tmp_path: Path) -> None:
    """The C string has the content of the file."""
    content = 'a "quoted" \\ line\n\ttab, and %s\n\nno newline at the end'
    (tmp_path / "file").write_text(content, encoding="utf-8")
    (tmp_path / "empty").write_text("", encoding="utf-8")
    done = run("embed", f"a/b.h={tmp_path / 'file'}", f"none={tmp_path / 'empty'}")
    assert (done.returncode, done.stderr) == (0, "")
    program = (
        '#include <stdio.h>\n#include "kernel/embedded.h"\nint main(void)\n{\n'
        "    for (const struct embedded_file *f = embedded_files; f->path; ++f)\n"
        '        printf("%s=%s;", f->path, f->content);\n    return 0;\n}\n'
    )
    printed = compile_and_run(tmp_path, done.stdout, program)
    assert printed == f"a/b.h={content};none=;"


# --- plain ---------------------------------------------------------------------------------------------


def read_plain(text: str, provider: str) -> list[tuple[str, Arguments]]:
    """Parses a list without annotations, without the generator."""
    assert re.fullmatch(rf"provider {provider} \{{\n(    probe \w+\([^()]*\);\n)+\}};\n", text)
    found = []
    for probe, words in re.findall(r"probe (\w+)\((.*)\);", text):
        pairs = [re.fullmatch(r"(.*?[ *])(\w+)", word.strip()) for word in words.split(",")]
        found.append((probe, tuple((pair[1].strip(), pair[2]) for pair in pairs if pair is not None)))
    return found


@pytest.mark.parametrize("date", ["2019-09-24", "2020-06-04", "2020-06-05", "2020-12-18", "2024-10-14", "2026-06-20"])
@pytest.mark.parametrize("file", LISTS, ids=PROVIDERS)
def test_plain_is_what_h2o_had(tmp_path: Path, file: Path, date: str) -> None:
    provider = file.name.partition("-")[0]
    done = run("plain", "--at", date, file)
    assert (done.returncode, done.stderr) == (0, "")
    found = read_plain(done.stdout, provider)
    assert len(found) == len(set(found))
    assert set(found) == facts_at(date, provider)

    dtrace = shutil.which("dtrace")
    assert dtrace is not None, "dtrace is missing: install systemtap-sdt-dev"
    (tmp_path / "list.d").write_text(done.stdout, encoding="utf-8")
    subprocess.run([dtrace, "-h", "-s", "list.d", "-o", "list.h"], check=True, cwd=tmp_path, timeout=60)
    header = (tmp_path / "list.h").read_text(encoding="utf-8")
    for probe, _ in found:
        macro = f"{provider}_{probe.replace('__', '_')}".upper()
        assert f"#define {macro}_ENABLED()" in header


def test_plain_on_every_date() -> None:
    """On each day of a change, and on the day before."""
    dates = {date for f in FACT_LIST for date in (f.since, f.until) if date is not None}
    dates |= {f"{date[:8]}{int(date[8:]) - 1:02}" for date in dates} | {"2019-01-01", "2030-01-01"}
    for provider, file in zip(PROVIDERS, LISTS):
        signatures = probe_lists.read_list(file)
        for date in sorted(dates):
            found = [(s.probe, tuple((a.type, a.name) for a in s.arguments)) for s in probe_lists.at(signatures, date)]
            assert len(found) == len(set(found)) and set(found) == facts_at(date, provider), date


def test_plain_before_the_first_probe(tmp_path: Path) -> None:
    done = run("plain", "--at", "2019-09-23", LISTS[1], "--output", tmp_path / "list.d")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"{LISTS[1]}:\d+: [^\n]*2019-09-23\n", done.stderr)
    assert not (tmp_path / "list.d").exists()


@pytest.mark.parametrize("date", ["yesterday", "2020-6-4", "20200604", "2020-13-01", "2020-06-31", "0"])
def test_plain_at_an_invalid_date(date: str) -> None:
    """Compared as strings, these are later or earlier than all dates."""
    done = run("plain", "--at", date, LISTS[1])
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert date in done.stderr and "Traceback" not in done.stderr


# --- a list from an h2o source tree --------------------------------------------------------------------

ANNOTATED = """\
/* @appdata
{
    "changed": ["data"]
}
*/
/* @secret
{
    "kept": ["secret"]
}
*/
provider quicly {
    /* @from 2020-01-01 @until 2020-02-01 */
    probe gone_long_ago(int64_t at);
    /* @from 2020-01-01 @until 2021-03-04 */
    probe changed(int64_t at, int number);
    /* @from 2021-03-04 */
    probe changed(int64_t at, int number, const void *data, size_t data_len);
    /* @from 2020-01-01 */
    probe kept(int64_t at, const char *secret);
    /* @from 2020-01-01 */
    probe removed(int64_t at, uint8_t epoch);
};
"""

PLAIN = """\
/* Copyright (c) 2019 Fastly, Kazuho Oku
 *
 * @appdata is not meant here */

/* @appdata
{
  "changed": ["data"],
  "kept": ["secret"],
  "brand_new": ["payload"]
}
*/
// one comment more
provider quicly {
  probe changed(int64_t at, uint64_t number, const void *data, size_t data_len);
  probe kept(int64_t at, const char *secret);
  probe brand_new(struct st_quicly_conn_t *conn, int64_t at,
                  const void *payload, size_t payload_len); /* at the end */
};
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a list to a file. Returns the file."""

    def write_file(text: str | bytes, name: str = "list.d") -> Path:
        file = tmp_path / name
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    return write_file


def test_source_becomes_the_newest_version(write: Callable[..., Path]) -> None:
    text = make_tables(write(ANNOTATED), source=[write(PLAIN, "plain.d")])
    found = {(row.declaration, row.since, row.until) for row in rows_of(text)}
    newest = max(since for _, since, _ in found)
    assert newest > 20210304
    assert found == {
        ("quicly:gone_long_ago(int64_t at)", 20200101, 20200201),
        ("quicly:changed(int64_t at, int number)", 20200101, 20210304),
        ("quicly:changed(int64_t at, int number, const void *data, size_t data_len)", 20210304, newest),
        ("quicly:changed(int64_t at, uint64_t number, const void *data, size_t data_len)", newest, 0),
        ("quicly:kept(int64_t at, const char *secret)", 20200101, 0),
        ("quicly:removed(int64_t at, uint8_t epoch)", 20200101, newest),
        ("quicly:brand_new(struct st_quicly_conn_t *conn, int64_t at, const void *payload, size_t payload_len)",
         newest, 0),
    }  # fmt: skip
    assert len(rows_of(text)) == 7


def test_source_marks_its_application_data(write: Callable[..., Path]) -> None:
    """h2o's own list marks application data. It marks secrets, too; they stay secrets."""
    text = make_tables(write(ANNOTATED), source=[write(PLAIN, "plain.d")])
    fields = fields_of(text)
    assert ("quicly:brand_new", "payload", True) in fields
    assert [is_data for probe, key, is_data in fields if key == "data"] == [True, True]
    assert not any(key == "secret" for _, key, _ in fields)


TEXTS = """provider quicly {
    probe brand_new(int64_t at, const char *error, const char *uuid, const char *body, size_t body_len);
    probe third_new(char *line, size_t num_line, const char *dcid, uint64_t pn, size_t len);
    probe other_new(int64_t at, const char *text, size_t len, const char *reason);
    probe changed(int64_t at, const char *number, size_t number_len);
};
"""


def test_source_text_with_a_length_is_application_data(write: Callable[..., Path]) -> None:
    """Text with a length that is not in our lists can be payload. NUL-terminated text is a name."""
    text = make_tables(write(ANNOTATED), source=[write(TEXTS, "texts.d")])
    found = [field for field in fields_of(text) if field[0].endswith("_new")]
    texts = {"error", "uuid", "body", "line", "dcid", "text", "reason"}
    assert {key for _, key, _ in found} >= texts
    assert {key for _, key, is_data in found if is_data} == {"body", "line", "text"}


def test_source_changes_the_type_of_a_known_argument(write: Callable[..., Path]) -> None:
    """Arguments are known by name and type. An argument that was a number can be payload now."""
    text = make_tables(write(ANNOTATED), source=[write(TEXTS, "texts.d")])
    rows = re.findall(r"/\* quicly:changed\(([^\n]*)\) \*/.*?\n(.*?)\};\n", text, re.S)
    marked_number = [
        "const char *number" in declaration
        for declaration, fields in rows
        if re.search(r'\{"number", FIELD_TEXT, \d+, true', fields)
    ]
    assert marked_number == [True]
    assert len([1 for declaration, _ in rows if "const char *number" in declaration]) == 1


def test_source_without_changes(write: Callable[..., Path]) -> None:
    """A list without changes adds no version."""
    plain = [write(run("plain", "--at", "2999-01-01", file).stdout, f"plain-{file.name}") for file in LISTS]
    assert make_tables(*LISTS, source=plain) == make_tables(*LISTS)


def test_source_of_an_older_h2o(write: Callable[..., Path]) -> None:
    """The probes are then known in two versions. No probe is lost or declared twice."""
    plain = [write(run("plain", "--at", "2020-06-04", file).stdout, f"plain-{file.name}") for file in LISTS]
    rows = rows_of(make_tables(*LISTS, source=plain))
    newest = max(row.since for row in rows)
    current = {row.declaration for row in rows if row.until == 0}
    then = {provider: facts_at("2020-06-04", provider) for provider in PROVIDERS}
    assert current == {declaration_of(f) for f in FACT_LIST if (f.probe, f.arguments) in then[f.provider]}
    before = {(row.declaration, row.since) for row in rows if row.since != newest}
    assert before == {(declaration_of(f), number_of(f.since)) for f in FACT_LIST}


def test_source_is_checked(write: Callable[..., Path]) -> None:
    """A user cannot change the list of a source tree. What cannot be printed is left out, with a warning."""
    plain = write(PLAIN.replace("size_t payload_len", "size_t count"), "plain.d")
    done = run("tables", "--conn-stats", CONN_STATS, "--source", plain, write(ANNOTATED))
    assert done.returncode == 0
    assert done.stderr == (
        f"{plain}:16: warning: quicly:brand_new: payload is bytes without a length; this argument is not printed\n"
    )
    assert dict(keys_of(done.stdout))["quicly:brand_new"] == ["conn", "time", "count"]


# Printed keys of each probe of t/data/source-probes.d; "*": only with -a.
SOURCE_KEYS = {
    "none": "time",
    "nothing": "time",
    "types": "reason port number from spaced count cb is-on time",
    "with_marks": "plain-text* body-text* header-text bytes* bytes-len time",
    "large": "id first* first-len second-len time",
    "left_out": "conn-id odd-len req-id conn time",
    "names": "flags id end event arg0 STAMP register head* head-len time",
}
SOURCE_WARNINGS = [
    (66, "too_many: has more than 16 arguments; it is treated as unknown"),
    *(
        (55, f"left_out: {sentence}; this argument is not printed")
        for sentence in (
            "struct st_other_t of other is not a type that h2olog knows",
            "union un_other_t of another is not a type that h2olog knows",
            "struct timeval of at_ is not a type that h2olog knows",
            "size_t of counters is not a type that h2olog knows",
            "point_t of point is not a type that h2olog knows",
            "endless is bytes without a length",
            "session_secret looks like a secret",
            "odd is counted by odd_len, which is not an unsigned integer",
            "a struct st_quicly_stats_t needs an argument named size",
            "two fields have the key conn",
            "two fields have the key type",
        )
    ),
    (71, "large: its events can have more than 8192 bytes; this argument is not printed"),
]


def test_source_with_each_construct(tmp_path: Path) -> None:
    """Every other construct of a list is accepted."""
    source = TOP / "t" / "data" / "source-probes.d"
    done = run("tables", "--conn-stats", CONN_STATS, "--source", source, *LISTS)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [f"{source}:{line}: warning: h2o:{text}" for line, text in SOURCE_WARNINGS]
    found: dict[str, list[str]] = {}
    for probe, key, is_data in fields_of(done.stdout):
        found.setdefault(probe, []).append(f"{key}*" if is_data else key)
    assert {name: " ".join(found[f"h2o:{name}"]) for name in SOURCE_KEYS} == SOURCE_KEYS
    assert "h2o:too_many" not in found
    declaration = next(row.declaration for row in rows_of(done.stdout) if row.declaration.startswith("h2o:types("))
    assert declaration == (
        "h2o:types(struct st_quicly_conn_t *conn, const char *reason, uint16_t port, int number, "
        "const struct sockaddr *from, const char *spaced, unsigned long count, uintptr_t cb, bool is_on)"
    )
    compile_captures(tmp_path, done.stdout)


def test_source_tree_without_a_list(tmp_path: Path) -> None:
    """Before 2019-09-24, h2o had no list of quicly. A folder that is not the top of a tree has no list of h2o."""
    tree, build = tmp_path / "h2o", tmp_path / "build"
    command = ["cmake", "-S", str(TOP), "-B", str(build), f"-DH2O_SOURCE_DIR={tree}"]
    for name, file in (("deps/picotls/picotls-probes.d", LISTS[2]), ("h2o-probes.d", LISTS[0])):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and "H2O_SOURCE_DIR has no h2o-probes.d" in done.stderr
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        assert run("plain", "--at", "2019-09-10", file, "--output", tree / name).returncode == 0
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "H2O_SOURCE_DIR has no deps/quicly/quicly-probes.d" in done.stderr
    rules = (build / "CMakeFiles" / "h2olog-core.dir" / "build.make").read_text(encoding="utf-8")
    assert sorted(re.findall(r"--source (\S+)", rules)) == [
        str(tree / "deps" / "picotls" / "picotls-probes.d"), str(tree / "h2o-probes.d")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("struct a {\n", "middle of a declaration"),
        ("struct a\nprovider h2o { probe a(); };", "';' is missing before 'provider'"),
        ("struct a };\n", "'}' does not belong"),
        ("typedef int;\n", "no probe"),
        ("struct a;\n", "no probe"),
        ("int a;\nprovider h2o { probe a(); };", "'provider' is missing before 'int'"),
        ("<<<<<<< HEAD\nprovider h2o { probe a(); };", "'<' does not belong"),
        ("provider h2o { struct a; probe a(); };", "'probe' is missing before 'struct'"),
        ("provider h2o { probe a(/* @appdata */); /* @secret */ probe b(); };", "annotation.*read"),
    ],
)
def test_source_is_not_a_list(write: Callable[..., Path], text: str, sentence: str) -> None:
    plain = write(text, "plain.d")
    with pytest.raises(probe_lists.ListError, match=sentence):
        make_tables(*LISTS, source=[plain])


def test_source_declares_twice(write: Callable[..., Path]) -> None:
    plain = write(PLAIN.replace("};", "probe kept(int64_t at, const char *secret, int more);\n};"), "plain.d")
    done = run("tables", "--conn-stats", CONN_STATS, "--source", plain, write(ANNOTATED))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(rf"{plain}:\d+: quicly:kept is declared twice", done.stderr)


def test_lists_need_no_annotations(write: Callable[..., Path]) -> None:
    text = make_tables(write("provider h2o{probe a(void);probe b();probe c(unsigned x,\nchar*y)  ;  }  ;"))
    assert [(row.declaration, row.since, row.until) for row in rows_of(text)] == [
        ("h2o:a()", 0, 0), ("h2o:b()", 0, 0), ("h2o:c(unsigned x, char *y)", 0, 0)
    ]  # fmt: skip


def test_names_that_captures_use(write: Callable[..., Path], tmp_path: Path) -> None:
    """An argument of a later h2o can have a name that captures or C use. It is reported, or works."""
    names = [
        "head", "event", "on_stack", "stamp", "scratch", "end", "id", "ctx", "silent", "conn", "flags", "submit",
        "arg0", "tied", "dcid_size", "stream_id", "rtt", "register", "u64", "value", "lost", "tid", "size", "STAMP", "INLINE",
        "connection",
    ]  # fmt: skip
    accepted = []
    for name in names:
        probes = [
            f"probe a_{name}(int {name});",
            f"probe b_{name}(uint64_t conn_id, int {name}, const char *dcid);",
            f"probe c_{name}(int {name}, struct st_quicly_stream_t *stream, struct quicly_rtt_t *rtt_, "
            "struct sockaddr *to);",
        ]
        for probe in probes:
            try:
                make_tables(write(f"provider h2o {{ {probe} }};"))
                accepted.append(probe)
            except probe_lists.ListError as error:
                assert re.search(rf"\b{name}\b", str(error))
    assert accepted
    compile_captures(tmp_path, make_tables(write(f"provider h2o {{ {' '.join(accepted)} }};")))


def test_argument_named_connection(write: Callable[..., Path]) -> None:
    """If a later h2o has an argument named `connection`, it gets another key."""
    text = make_tables(write("provider quicly { probe a(struct st_quicly_conn_t *conn, int64_t at, int connection); };"))
    assert keys_of(text) == [("quicly:a", ["conn", "time", "server-connection"])]


# --- bad lists -----------------------------------------------------------------------------------------

GOOD = """\
provider quicly {
    /* @from 2020-01-01 */
    probe first(int64_t at, const char *dcid);
    /* @from 2020-01-01 */
    probe second(int64_t at, const void *data, size_t data_len);
};
"""


def replaced(old: str, new: str) -> str:
    assert GOOD.count(old) >= 1
    return GOOD.replace(old, new, 1)


SIXTEEN = ", ".join(f"int a{i}" for i in range(16))

# The error, the list, the line of the message, and a pattern for its sentence.
BAD: dict[str, tuple[str | bytes, int, str]] = {
    "unknown type": (replaced("int64_t at,", "int63_t at,"), 3, "first.*int63_t.* at .*type"),
    "unknown struct": (replaced("const char *dcid", "struct st_other_t *dcid"), 3, "first.*st_other_t.*dcid.*type"),
    "pointer to a known type": (replaced("int64_t at,", "int64_t *at,"), 3, "first.*int64_t.* at .*type"),
    "pointer to a pointer": (replaced("const char *dcid", "const char **dcid"), 3, "first.*dcid.*type"),
    "more than an event holds": (
        replaced("size_t data_len", "size_t data_len, const char *more, size_t more_len"), 5, "second.*8192 bytes"
    ),
    "bytes without a length": (replaced("size_t data_len", "size_t size"), 5, "second.*data.*length.*data_len"),
    "bytes of another's length": (replaced("size_t data_len", "size_t dcid_len"), 5, "second.*data.*length"),
    "signed length": (replaced("size_t data_len", "int data_len"), 5, "second.*data.*data_len.*unsigned"),
    "length that is no number": (replaced("size_t data_len", "const char *data_len"), 5, "second.*data_len"),
    "secret": (replaced("*dcid", "*secret"), 3, "first.*secret.*@secret"),
    "secret in a longer name": (replaced("*dcid", "*traffic_secret_hex"), 3, "first.*traffic_secret_hex.*@secret"),
    "secret of another probe": (
        '/* @secret {"second": ["secret"]} */ ' + replaced("*dcid", "*secret"), 3, "first.*secret.*@secret"
    ),
    "secret that is application data": (
        '/* @appdata {"first": ["secret"]} */ ' + replaced("*dcid", "*secret"), 3, "first.*secret.*@secret"
    ),
    "declared twice": (replaced("second", "first"), 5, "quicly:first.*twice.*line 3"),
    "declared twice, once without dates": (
        replaced("    /* @from 2020-01-01 */\n    probe second", "    probe first"), 4, "quicly:first.*twice"
    ),
    "times that overlap": (
        replaced("second", "first").replace("@from 2020-01-01 */", "@from 2019-01-01 @until 2020-01-02 */", 1),
        5, "quicly:first.*twice",
    ),
    "no date": (replaced("2020-01-01", "yesterday"), 2, "yesterday.*date"),
    "date without zeros": (replaced("2020-01-01", "2020-1-1"), 2, "2020-1-1.*date"),
    "date with more": (replaced("2020-01-01", "2020-01-01T00:00"), 2, "2020-01-01T00:00.*date"),
    "no such month": (replaced("2020-01-01", "2020-13-01"), 2, "2020-13-01.*date"),
    "no such day": (replaced("2020-01-01", "2020-02-30"), 2, "2020-02-30.*date"),
    "until no date": (replaced("2020-01-01 */", "2020-01-01 @until today */"), 2, "today.*date"),
    "until before from": (
        replaced("2020-01-01 */", "2020-01-01 @until 2019-12-31 */"), 2, "2019-12-31.*after.*2020-01-01"
    ),
    "until on the same day": (
        replaced("2020-01-01 */", "2020-01-01 @until 2020-01-01 */"), 2, "2020-01-01.*after.*2020-01-01"
    ),
    "until alone": (replaced("@from", "@until"), 2, "annotation.*read"),
    "from without a date": (replaced("@from 2020-01-01", "@from"), 2, "annotation.*read"),
    "dates the wrong way round": (
        replaced("@from 2020-01-01", "@until 2021-01-01 @from 2020-01-01"), 2, "annotation.*read"
    ),
    "mark without JSON": ("/* @secret */\n" + GOOD, 1, "annotation.*read"),
    "mark with a list": ('/* @secret ["dcid"] */\n' + GOOD, 1, "annotation.*read"),
    "bad JSON": ('\n/* @secret {"first": ["dcid",]} */\n' + GOOD, 2, "JSON.*@secret"),
    "JSON of no lists": ('/* @appdata {"first": "dcid"} */\n' + GOOD, 1, "@appdata"),
    "JSON of numbers": ('/* @appdata {"first": 1} */\n' + GOOD, 1, "JSON.*@appdata"),
    "JSON of lists of numbers": ('/* @appdata {"first": [1]} */\n' + GOOD, 1, "@appdata"),
    "no ; after a probe": (replaced("*dcid);", "*dcid)"), 5, "';' is missing"),
    "no ; after the provider": (replaced("};", "}"), 6, "middle of a declaration|';' is missing"),
    "no )": (replaced("*dcid);", "*dcid;"), 3, r"'\)' is missing.*first"),
    "no (": (replaced("first(", "first "), 3, r"'\(' is missing"),
    "no {": (replaced("quicly {", "quicly"), 3, "'{' is missing before 'probe'"),
    "no }": (replaced("};", ""), 5, "middle of a declaration"),
    "no name of a provider": (replaced("provider quicly", "provider"), 1, "provider"),
    "no word as the name of a provider": (replaced("provider quicly", "provider *"), 1, "provider"),
    "no name of a probe": (replaced("probe first(", "probe ("), 3, "cannot be the name"),
    "no name of an argument": (replaced("int64_t at,", "int64_t,"), 3, "first.*type and a name.*int64_t"),
    "pointer without a name": (replaced("const char *dcid", "const char *"), 3, "first.*type and a name.*const char"),
    "name that begins with a digit": (replaced("probe first", "probe 1st"), 3, "1st.*name"),
    "name that is not ASCII": (replaced("probe first", "probe fir\u017ft"), 3, "fir\u017ft"),
    "argument that is not ASCII": (replaced("at,", "\u00e0t,"), 3, "\u00e0t"),
    "empty argument": (replaced("at, const", "at,, const"), 3, "argument of first is empty"),
    "empty argument at the end": (replaced("*dcid);", "*dcid, );"), 3, "argument of first"),
    "two arguments of one name": (replaced("const char *dcid", "int at"), 3, "first.*two arguments.* at"),
    "two fields of one key": (
        replaced("const char *dcid", "struct st_quicly_stream_t *stream, int64_t stream_id"), 3, "first.*stream"
    ),
    "two fields of one key, by renaming": (replaced("const char *dcid", "int64_t time"), 3, "first.*time"),
    "more than 16 arguments": (
        replaced("int64_t at, const char *dcid", f"{SIXTEEN}, int one_too_many"), 3, "quicly:first.*16 arguments"
    ),
    "not 'probe'": (replaced("probe first", "prob first"), 3, "'probe' is missing before 'prob'"),
    "not 'provider'": (replaced("provider", "privoder"), 1, "'provider' is missing before 'privoder'"),
    "stray character": (replaced("at, const", "at, @const"), 3, "'@' does not belong"),
    "stray bracket": (replaced("*dcid", "dcid[8]"), 3, r"'\[' does not belong"),
    "stray quote": (replaced("first", '"first"'), 3, "'\"' does not belong"),
    "stray word": (replaced("};", "}; x"), 6, "'provider' is missing before 'x'|middle of a declaration"),
    "control character": (replaced("first", "fi\0rst"), 3, "does not belong"),
    "unclosed comment": (
        replaced("    /* @from 2020-01-01 */\n    probe second", "    /* probe second"), 4, "'/'|comment"
    ),
    "empty list": (b"", 1, "no probe|declares no"),
    "only comments": ("/* nothing */\n\n// more\n", 1, "no probe|declares no"),
    "provider without probes": ("provider quicly {\n};\n", 2, "no probe|declares no"),
    "not UTF-8": (replaced("first", "f\xefrst").encode("latin-1"), 1, "UTF-8"),
    "UTF-16": (GOOD.encode("utf-16"), 1, "UTF-8"),
    "conn_stats without a size": (
        replaced("const char *dcid", "struct st_quicly_stats_t *stats"), 3, "quicly:first.*size"
    ),
}  # fmt: skip


def test_base_of_bad_lists_is_good(write: Callable[..., Path]) -> None:
    assert len(rows_of(make_tables(write(GOOD)))) == 2
    assert len(rows_of(make_tables(write(replaced("int64_t at, const char *dcid", SIXTEEN))))) == 2
    assert len(rows_of(make_tables(write(replaced("second", "first").replace("01 */", "01 @until 2020-01-02 */", 1)
                                         .replace("2020-01-01 */", "2020-01-02 */"))))) == 2  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_list(write: Callable[..., Path], tmp_path: Path, what: str) -> None:
    text, line, sentence = BAD[what]
    file, output = write(text), tmp_path / "tables.c"
    done = run("tables", "--conn-stats", CONN_STATS, "--output", output, file)
    assert done.returncode == 1, done.stderr
    match = re.fullmatch(rf"{file}:(\d+): ([^\n]+)\n", done.stderr)
    assert match is not None, done.stderr
    assert int(match[1]) == line and re.search(sentence, match[2]), done.stderr
    assert done.stdout == "" and not output.exists()


def test_bad_list_keeps_the_old_output(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "tables.c").write_text("from the last build")
    done = run("tables", "--conn-stats", CONN_STATS, "--output", tmp_path / "tables.c", write("bad"))
    assert done.returncode == 1
    assert (tmp_path / "tables.c").read_text() == "from the last build"


def test_missing_list(tmp_path: Path) -> None:
    done = run("tables", "--conn-stats", CONN_STATS, tmp_path / "none.d")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"{tmp_path}/none.d:\d+: [^\n]*No such file[^\n]*\n", done.stderr)


def test_list_that_is_a_folder(tmp_path: Path) -> None:
    done = run("plain", "--at", "2020-01-01", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"{tmp_path}:\d+: [^\n]*directory[^\n]*\n", done.stderr)


# --- the layouts of conn_stats -------------------------------------------------------------------------

GOOD_STATS = """\
# a comment
layout\t936\t2020-01-01\t2020-02-03\tpointer@768\tnonzero@4
cwnd\t0\tuint32_t

signed\t928\tint64_t
layout\t936\t2020-02-03\t-\tzero@4
cwnd\t8\tuint16_t
"""
LAYOUT = "layout\t936\t2020-01-01\t-\n"


def layout_line(*columns: str) -> str:
    return "\t".join(("layout", *columns)) + "\n"


BAD_STATS: dict[str, tuple[str | bytes, int, str]] = {
    "two columns": (LAYOUT + "cwnd\t0\n", 2, "tab"),
    "four columns": (LAYOUT + "cwnd\t0\tuint32_t\t\n", 2, "tab"),
    "blanks": ("# x\n" + LAYOUT + "cwnd 0 uint32_t\n", 3, "tab"),
    "unknown type": (LAYOUT + "cwnd\t0\tuint33_t\n", 2, "tab"),
    "a pointer": (LAYOUT + "cwnd\t0\tconst char *\n", 2, "tab"),
    "offset no number": (LAYOUT + "cwnd\t-4\tuint32_t\n", 2, "tab"),
    "no offset": (LAYOUT + "cwnd\t\tuint32_t\n", 2, "tab"),
    "a power": (LAYOUT + "cwnd\t\u00b2\tuint32_t\n", 2, "tab"),
    "no key": (LAYOUT + "\t0\tuint32_t\n", 2, "FIELD"),
    "outside": (GOOD_STATS + "ssthresh\t933\tuint32_t\n", 8, "ssthresh.*outside.*936"),
    "a quote in the key": (LAYOUT + 'cw"nd\t0\tuint32_t\n', 2, "cw.nd"),
    "the same key twice": (GOOD_STATS + "cwnd\t12\tuint32_t\n", 8, "cwnd.*twice"),
    "two fields at one place": (GOOD_STATS + "ssthresh\t9\tuint8_t\n", 8, "ssthresh.*cwnd"),
    "not UTF-8": (LAYOUT.encode() + b"cw\xefnd\t0\tuint32_t\n", 1, "UTF-8"),
    "a field of no layout": ("cwnd\t0\tuint32_t\n", 1, "layout"),
    "a layout without dates": ("layout\t936\n", 1, "layout"),
    "size no number": (layout_line("many", "2020-01-01", "-"), 1, "SIZE"),
    "no size": (layout_line("", "2020-01-01", "-"), 1, "SIZE"),
    "larger than what is captured": (layout_line("5000", "2020-01-01", "-"), 1, "5000"),
    "no date": (layout_line("936", "yesterday", "-"), 1, "FROM"),
    "no such day": (layout_line("936", "2020-01-01", "2020-02-30"), 1, "UNTIL"),
    "until before from": (layout_line("936", "2020-01-01", "2019-12-31"), 1, "2019-12-31.*after"),
    "an unknown sign": (layout_line("936", "2020-01-01", "-", "pointed@8"), 1, "pointed@8"),
    "a sign without a place": (layout_line("936", "2020-01-01", "-", "pointer"), 1, "pointer"),
    "two signs of a kind": (layout_line("936", "2020-01-01", "-", "zero@8", "zero@16"), 1, "zero@16.*once"),
    "a pointer outside": (layout_line("936", "2020-01-01", "-", "pointer@936"), 1, "pointer@936"),
    "a pointer at no aligned place": (layout_line("936", "2020-01-01", "-", "pointer@12"), 1, "pointer@12"),
    "a sign at 0": (layout_line("936", "2020-01-01", "-", "zero@0"), 1, "zero@0"),
    "too many of a size": ((LAYOUT + "cwnd\t0\tuint32_t\n") * 5, 9, "936"),
    "no field": (LAYOUT + layout_line("940", "2020-01-01", "-") + "cwnd\t0\tuint32_t\n", 2, "936.*no field"),
    "no field at the end": (GOOD_STATS + layout_line("940", "2020-01-01", "-"), 8, "940.*no field"),
}  # fmt: skip


def test_good_stats(write: Callable[..., Path]) -> None:
    text = make_tables(write(GOOD), conn_stats=write(GOOD_STATS, "stats.tsv"))
    assert layouts_of(text) == [
        ("936", ".pointer = 768, .nonzero = 4, ", [("cwnd", "0", "4", "false"), ("signed", "928", "8", "true")]),
        ("936", ".zero = 4, ", [("cwnd", "8", "2", "false")]),
    ]


@pytest.mark.parametrize("what", BAD_STATS)
def test_bad_stats(write: Callable[..., Path], tmp_path: Path, what: str) -> None:
    text, line, sentence = BAD_STATS[what]
    stats, output = write(text, "stats.tsv"), tmp_path / "tables.c"
    done = run("tables", "--conn-stats", stats, "--output", output, write(GOOD))
    assert done.returncode == 1, done.stderr
    match = re.fullmatch(rf"{stats}:(\d+): ([^\n]+)\n", done.stderr)
    assert match is not None, done.stderr
    assert int(match[1]) == line and re.search(sentence, match[2]), done.stderr
    assert done.stdout == "" and not output.exists()


def test_missing_stats(write: Callable[..., Path], tmp_path: Path) -> None:
    done = run("tables", "--conn-stats", tmp_path / "none.tsv", write(GOOD))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"{tmp_path}/none.tsv:\d+: [^\n]*No such file[^\n]*\n", done.stderr)


# --- random lists --------------------------------------------------------------------------------------

ROUNDS = 3000

# Remains of typical editing errors.
PIECES = [
    "/*", "*/", "//", "#", "{", "}", "(", ")", ";", ",", "*", "\n", " ", "\t", '"', "[", "]", "\\", "@", "-",
    "\0", "\x7f",
    "provider", "probe", "void", "const", "struct", "unsigned", "int", "uint64_t", "const char *", "const void *",
    "struct st_quicly_conn_t *", "struct st_quicly_stats_t *", "struct quicly_rtt_t *", "size_t size", "secret", "len",
    "@from", "@until", "@secret", "@appdata", "@text", "2020-01-01", "9999-99-99", "0", "-1", "1e400", "null",
    "{}", "[[]]", "\u00e9", "\u2028", "\U0001f600",
]  # fmt: skip


def excerpt(random_: random.Random, text: str) -> str:
    """Returns a list with some probes of a list, and with all its annotations."""
    head, _, rest = text.partition("provider ")
    name, _, body = rest.partition(" {\n")
    probes = re.findall(r"    /\* @from .*?;\n", body, re.S)
    start = random_.randrange(len(probes))
    return f"{head}provider {name} {{\n{''.join(probes[start : start + random_.randrange(1, 12)])}}};\n"


def mangle(random_: random.Random, text: str) -> bytes:
    """Deletes, inserts, replaces, doubles or swaps a byte, a token, or a line."""
    unit = random_.choice([r"[\s\S]", r"\w+|\s+|[^\w\s]", r"[^\n]*\n"])
    parts = re.findall(unit, text)
    at, other = random_.randrange(len(parts)), random_.randrange(len(parts))
    kind = random_.randrange(5)
    if kind == 0:
        del parts[at : at + random_.choice((1, 1, 1, 2, 10))]
    elif kind == 1:
        parts.insert(at, random_.choice(PIECES))
    elif kind == 2:
        parts[at] = random_.choice(PIECES)
    elif kind == 3:
        parts.insert(other, parts[at])
    else:
        parts[at], parts[other] = parts[other], parts[at]
    mangled = "".join(parts).encode()
    if random_.randrange(20) == 0:
        place = random_.randrange(len(mangled) + 1)
        mangled = mangled[:place] + bytes([random_.randrange(256)]) + mangled[place:]
    if random_.randrange(40) == 0:
        mangled = mangled[: random_.randrange(len(mangled) + 1)]
    return mangled


def test_mangled_lists(write: Callable[..., Path]) -> None:
    """Every list is either read, or one line reports the error and its position."""
    random_ = make_dice(3059)
    texts = [file.read_text(encoding="utf-8") for file in LISTS]
    annotated = write(ANNOTATED, "annotated.d")
    good = bad = 0
    for _ in range(ROUNDS):
        text = excerpt(random_, random_.choice(texts))
        mangled = text.encode()
        for _ in range(random_.choice((1, 1, 2, 4))):
            mangled = mangle(random_, mangled.decode("utf-8", "replace") or text)
        file = write(mangled)
        as_source = random_.randrange(10) == 0
        try:
            written = make_tables(annotated, source=[file]) if as_source else make_tables(file)
        except probe_lists.ListError as error:
            bad += 1
            match = re.fullmatch(rf"({re.escape(str(file))}|{re.escape(str(annotated))}):(\d+): (.+)", str(error), re.S)
            assert match is not None, (str(error), mangled)
            lines = max(1, len(Path(match[1]).read_bytes().split(b"\n")))
            assert 1 <= int(match[2]) <= lines, (str(error), mangled)
        except Exception as error:
            raise AssertionError(f"{mangled!r} makes it fail: {error!r}") from error
        else:
            good += 1
            check_tables(written, mangled)
    # Both cases must occur; otherwise the test checks nothing.
    assert good > ROUNDS / 20 and bad > ROUNDS / 5, (good, bad)


def check_tables(written: str, mangled: bytes) -> None:
    """Checks that an accepted list gives valid tables, and that no secret is in them."""
    rows = rows_of(written)
    assert rows and f"const size_t num_signatures = {len(rows)};\n" in written, mangled
    for row in rows:
        assert re.fullmatch(r"[A-Za-z_]\w*:[A-Za-z_]\w*\([\w *,]*\)", row.declaration, re.A), mangled
    for probe, keys in keys_of(written):
        assert all(re.fullmatch(r"[\w-]+", key, re.A) for key in keys), (probe, mangled)
        assert len(keys) == len(set(keys)), (probe, mangled)
    assert not re.search(r'\{"([^"]*-)?secret(-[^"]*)?", FIELD_(TEXT|BYTES)', written), mangled
