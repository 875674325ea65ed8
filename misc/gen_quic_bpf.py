#!/usr/bin/python3
"""Writes the tables that h2olog is built with, from h2o's USDT probe lists.

    gen_quic_bpf.py tables --conn-stats FILE [--source LIST]... LIST...
    gen_quic_bpf.py plain --at DATE LIST
    gen_quic_bpf.py embed NAME=FILE...

`tables` reads annotated lists (bpf/*-probes.d) and, with --source, plain ones out of an h2o source tree. For each
signature it writes the BPF C that captures it, and one row per field that says what to print of the event. `plain`
writes the list as h2o had it on a date. `embed` writes files as C strings. All write to standard output, or to the
file of --output.

misc/probe_lists.py reads and checks the lists, misc/layouts.py lays out the events; this file writes.
A fault in a list is reported as one line, FILE:LINE: SENTENCE.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Iterator

from layouts import (
    ADDRESS_SIZE, EVENT_LIMITS, HEAD_CONN, HEAD_SIZE, MAX_UNREAD, Layout, Value, lay_out, lay_out_generic,
)  # fmt: skip
from probe_lists import (
    INTEGERS, MAX_ARGUMENTS, SOURCE_DATE, ListError, Marks, Signature, StatsLayout, at, check_overlap, declared,
    is_date, is_too_long, merge_source, read, read_list, read_stats, unknown_payload,
)  # fmt: skip

# --- write ---------------------------------------------------------------------------------------------


def c_string(text: str, indent: str) -> str:
    """A C string literal, with one line of source per line of text."""
    lines = text.splitlines(keepends=True) or [""]
    quoted = (
        '"' + line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'
        for line in lines
    )
    return f"\n{indent}".join(quoted)


def capture_text(layout: Layout) -> str:
    """Returns the body of the BPF function that captures a signature. `ctx`, `id` and the arguments are already
    declared."""
    scratch = bool(layout.variable)
    members = [f".{name} = {value}" for name, value in layout.candidate.items()]
    initializer = ", ".join(members) if len(members) <= 2 else "".join(f"\n    {member}," for member in members) + "\n"
    kept = [f"const struct candidate candidate = {{{initializer}}};", "if (!keep(&candidate))\n    return 0;"]
    body: list[str] = ["struct event {", "    struct event_head head;"]
    for name, c_type, _, count in layout.members:
        body.append(f"    {c_type} {name}{f'[{count}]' if count > 1 else ''};")
    if scratch:
        body += ["};"]
        body += layout.early + kept
        body += [
            "struct scratch *scratch = claim(id);",
            "struct event *event;",
            f"u64 end = {layout.size};",
            "if (!scratch)\n    return 0;",
            "event = (struct event *)scratch->event;",
        ]
    else:
        body += ["} on_stack, *event = &on_stack;"]
        body += layout.early + kept
    body += [
        f"event->head.flags = {layout.head_flags};",
        f"event->head.conn = {layout.head_conn};",
        f"event->head.connection = {layout.head_connection};",
    ]
    body += layout.fixed + layout.variable
    if layout.stamped:
        body.append("event->stamp = STAMP;")
    body.append(f"submit(id, event, {'end' if scratch else layout.size});")
    if scratch:
        body.append("release(scratch);")
    body.append("return 0;")
    return "".join(f"    {line}\n" for statement in body for line in statement.split("\n"))


def bits(indices: set[int]) -> str:
    return f"0x{sum(1 << i for i in indices):x}"


def date_number(date: str | None) -> int:
    return int(date.replace("-", "")) if date else 0


def write_assertions() -> Iterator[str]:
    """Writes static assertions that bpf/event.h and include/server/signature.h have the values that misc/layouts.py
    uses."""
    for assumption in (
        f"sizeof(struct event_head) == {HEAD_SIZE}",
        f"offsetof(struct event_head, conn) == {HEAD_CONN}",
        "sizeof(((struct event_head *)NULL)->conn) == 4",
        "sizeof(((struct event_head *)NULL)->connection) == 8",
        "sizeof(((struct event_head *)NULL)->flags) == 2",
        f"EVENT_TIED == 1 << {MAX_UNREAD}",
        f"sizeof(struct sockaddr_in6) == {ADDRESS_SIZE}",
        *(f"{name} == {value}" for name, value in EVENT_LIMITS.items()),
        f"PROBE_ARGUMENTS_MAX == {MAX_ARGUMENTS}",
        f"PROBE_VARIABLE_MAX == {MAX_UNREAD}",
        f"PROBE_SOURCE_DATE == {date_number(SOURCE_DATE)}",
    ):
        yield f'_Static_assert({assumption}, "misc/layouts.py has another value");\n'
    yield "\n"


def write_signature(layout: Layout, index: str) -> Iterator[str]:
    """Writes the arrays to which the row of a signature points. Their names end with `index`."""
    s = layout.signature
    if s.probe:
        yield f"/* {s.declaration()} */\n"
    if layout.fields:
        yield f"static const struct field fields_{index}[] = {{\n"
        for v in layout.fields:
            yield (
                f'    {{"{v.key}", FIELD_{v.kind}, {v.width}, {"true" if v.application_data else "false"}, '
                f"{v.place}, {counter_width(layout, v)}, {v.maximum}, 0x{v.unread:x}}},\n"
            )
        yield "};\n"
    if s.arguments:
        yield f"static const struct argument arguments_{index}[] = {{\n"
        for a in s.arguments:
            width, signed = INTEGERS.get(a.type, (8, False))
            pointer = a.type not in INTEGERS
            flags = ", ".join(str(flag).lower() for flag in (signed, pointer, a.name in layout.loose))
            yield f'    {{"{a.name}", {width}, {flags}}},\n'
        yield "};\n"
    yield "\n"


def counter_width(layout: Layout, value: Value) -> int:
    if value.counted_by is None:
        return 0
    return next(width for name, _, width, _ in layout.members if name == value.counted_by)


def write_stats_layout(layout: StatsLayout, index: int) -> Iterator[str]:
    yield f"/* {layout.size} bytes: h2o {layout.since} to {layout.until or 'now'} */\n"
    yield f"static const struct stats_field stats_fields_{index}[] = {{\n"
    for field in layout.fields:
        yield f'    {{"{field.key}", {field.offset}, {field.width}, {str(field.signed).lower()}}},\n'
    yield "};\n\n"


def write_stats(stats: list[StatsLayout]) -> Iterator[str]:
    for index, layout in enumerate(stats):
        yield from write_stats_layout(layout, index)
    yield "const struct stats_layout stats_layouts[] = {\n"
    for index, layout in enumerate(stats):
        known = "".join(f".{kind} = {offset}, " for kind, offset in layout.known.items())
        yield (
            f"    {{.size = {layout.size}, {known}"
            f".fields = stats_fields_{index}, .num_fields = {len(layout.fields)}}},\n"
        )
    if not stats:
        yield "    {0}\n"
    yield f"}};\nconst size_t num_stats_layouts = {len(stats)};\n"


def write_row(layout: Layout, index: str) -> Iterator[str]:
    """Writes a row of the table of signatures. A generic one has no names: src/server/version.c adds them."""
    s = layout.signature
    yield "    {\n"
    if s.probe:
        yield f'        .provider = "{s.provider}",\n        .probe = "{s.probe}",\n'
        yield f"        .declaration = {c_string(s.declaration(), ' ' * 8)},\n"
        yield f"        .since = {date_number(s.since)},\n        .until = {date_number(s.until)},\n"
    if s.arguments:
        yield f"        .arguments = arguments_{index},\n"
    yield f"        .num_arguments = {len(s.arguments)},\n"
    if layout.fields:
        yield f"        .fields = fields_{index},\n"
    yield f"        .num_fields = {len(layout.fields)},\n"
    yield f"        .size = {layout.size},\n"
    yield f"        .reads = {bits(layout.reads)},\n"
    yield f"        .reads_application_data = {bits(layout.reads_application_data)},\n"
    yield f"        .capture = {c_string(capture_text(layout), ' ' * 12)},\n"
    yield "    },\n"


def write_generic() -> Iterator[str]:
    """Writes the signatures for probes that are in no list, by number of arguments."""
    layouts = lay_out_generic()
    yield "/* For probes that are in no list, by number of arguments. */\n"
    for count, layout in enumerate(layouts):
        yield from write_signature(layout, f"of_{count}")
    yield "const struct signature generic_signatures[PROBE_ARGUMENTS_MAX + 1] = {\n"
    for count, layout in enumerate(layouts):
        yield from write_row(layout, f"of_{count}")
    yield "};\n\n"


def write_tables(layouts: list[Layout], stats: list[StatsLayout]) -> Iterator[str]:
    yield "/* Written by misc/gen_quic_bpf.py from the probe lists; see include/server/signature.h. */\n"
    yield '#include <netinet/in.h>\n#include <stddef.h>\n\n#include "event.h"\n#include "server/signature.h"\n\n'
    yield from write_assertions()
    for index, layout in enumerate(layouts):
        yield from write_signature(layout, str(index))
    yield "const struct signature signatures[] = {\n"
    for index, layout in enumerate(layouts):
        yield from write_row(layout, str(index))
    yield f"}};\nconst size_t num_signatures = {len(layouts)};\n\n"
    yield from write_generic()
    yield from write_stats(stats)


def write_plain(signatures: list[Signature]) -> Iterator[str]:
    yield f"provider {signatures[0].provider} {{\n"
    for s in signatures:
        yield f"    probe {s.probe}({', '.join(declared(a) for a in s.arguments)});\n"
    yield "};\n"


def write_texts(named: list[tuple[str, Path]]) -> Iterator[str]:
    yield '/* Written by misc/gen_quic_bpf.py. */\n#include <stddef.h>\n\n#include "kernel/embedded.h"\n\n'
    yield "const struct embedded_file embedded_files[] = {\n"
    for name, file in named:
        yield f'    {{"{name}",\n     {c_string(file.read_text(encoding="utf-8"), "     ")}}},\n'
    yield "    {NULL, NULL},\n};\n"


# --- the commands --------------------------------------------------------------------------------------


def tables(arguments: argparse.Namespace) -> str:
    signatures: list[Signature] = []
    marks: dict[str, Marks] = {}
    for file in arguments.lists:
        found, said = read(file)
        signatures += found
        marks.setdefault(found[0].provider, Marks()).add(said)
    warnings: list[ListError] = []
    known = {(s.provider, s.probe, a.name, a.type) for s in signatures for a in s.arguments}
    for file in arguments.source:
        found, said = read(file)
        found = [s for s in found if not is_too_long(s, warnings)]
        if not found:
            continue
        marks.setdefault(found[0].provider, Marks()).add(said)
        marks[found[0].provider].application_data |= unknown_payload(found, known)
        signatures = merge_source(signatures, found)
    check_overlap(signatures)
    stats = read_stats(arguments.conn_stats)
    layouts, more_warnings = lay_out(signatures, marks, sorted({layout.size for layout in stats}))
    for warning in warnings + more_warnings:
        print(warning, file=sys.stderr)
    return "".join(write_tables(layouts, stats))


def plain(arguments: argparse.Namespace) -> str:
    if not is_date(arguments.at):
        raise ListError(arguments.list, 1, f"'{arguments.at}' is not a date; write YYYY-MM-DD")
    valid = at(read_list(arguments.list), arguments.at)
    if not valid:
        raise ListError(arguments.list, 1, f"h2o had none of these probes on {arguments.at}")
    return "".join(write_plain(valid))


def embed(arguments: argparse.Namespace) -> str:
    named = [tuple(pair.split("=", 1)) for pair in arguments.files]
    return "".join(write_texts([(name, Path(file)) for name, file in named]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("tables", help="write the tables that h2olog is built with")
    command.add_argument("--conn-stats", type=Path, required=True, metavar="FILE")
    command.add_argument("--source", type=Path, action="append", default=[], metavar="LIST")
    command.add_argument("lists", type=Path, nargs="+", metavar="LIST")
    command.set_defaults(run=tables)
    command = commands.add_parser("plain", help="write a list as h2o had it on a date")
    command.add_argument("--at", required=True, metavar="DATE")
    command.add_argument("list", type=Path, metavar="LIST")
    command.set_defaults(run=plain)
    command = commands.add_parser("embed", help="write files as C strings")
    command.add_argument("files", nargs="+", metavar="NAME=FILE")
    command.set_defaults(run=embed)
    for command in commands.choices.values():
        command.add_argument("--output", type=Path, metavar="FILE", help="write there; nothing if a list is wrong")
    arguments = parser.parse_args()
    try:
        text = arguments.run(arguments)
        if arguments.output is None:
            sys.stdout.write(text)
        else:
            arguments.output.write_text(text, encoding="utf-8")
    except ListError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
