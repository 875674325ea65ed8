#!/usr/bin/env python3
"""Writes the table of probes that the stand-in server (t/standin) fires.

Its input are the plain D provider lists of one version of h2o, the same files from which `dtrace -h` makes the headers.
The header of NAME.d is NAME.h.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "misc"))

from probe_lists import ListError, Signature, read_list  # noqa: E402

# The number of macros in <sys/sdt.h>; PROBE_MAX_ARGUMENTS in t/standin/probes.h.
MAX_ARGUMENTS = 12

# Arguments that h2o passes with another type than the declared one, so that their operands have another size or sign. A
# tracer must handle that. These are some of the real servers' arguments that lose no bits.
PASSED_AS = {
    ("quicly:crypto_update_secret", "epoch"): "size_t",
    ("quicly:max_stream_data_receive", "stream_id"): "uint64_t",
    ("quicly:packet_commit", "len"): "ssize_t",
    ("quicly:packet_sent", "len"): "ssize_t",
    ("quicly:path_challenge_receive", "bytes_len"): "int",
    ("quicly:path_challenge_send", "bytes_len"): "int",
    ("quicly:path_response_receive", "bytes_len"): "int",
    ("quicly:path_response_send", "bytes_len"): "int",
    ("quicly:send", "state"): "unsigned",
}

# Probes that h2o fires at several locations with different operands, one for each version of HTTP. In the stand-in,
# even and odd numbers of connections use different locations.
WITH_TWO_LOCATIONS = {
    "h2o:receive_request",
    "h2o:receive_request_header",
    "h2o:send_response",
    "h2o:send_response_header",
}


def fail(signature: Signature, sentence: str) -> NoReturn:
    raise ListError(signature.file, signature.line, f"{signature.full_name} {sentence}")


def check(signatures: list[Signature]) -> None:
    """Checks that a list of one version has no probe twice, and none with too many arguments."""
    seen: set[str] = set()
    for signature in signatures:
        if signature.full_name in seen:
            fail(signature, "is declared twice: this is not a plain list of one version")
        if len(signature.arguments) > MAX_ARGUMENTS:
            fail(signature, f"has more than {MAX_ARGUMENTS} arguments")
        seen.add(signature.full_name)


def macro_of(signature: Signature) -> str:
    """Returns the name of the probe's macro in the header that dtrace makes."""
    return f"{signature.provider}_{signature.probe.replace('__', '_')}".upper()


def passed_type(signature: Signature, name: str, declared: str) -> str:
    """Returns the type of an argument where the probe is fired."""
    return PASSED_AS.get((signature.full_name, name), declared)


def join(type_: str, name: str) -> str:
    """Returns a parameter as C code."""
    return type_ + name if type_.endswith("*") else f"{type_} {name}"


def write_functions(signature: Signature) -> Iterator[str]:
    """Returns the functions of a probe."""
    name = f"{signature.provider}_{signature.probe}"
    macro = macro_of(signature)
    types = [passed_type(signature, argument.name, argument.type) for argument in signature.arguments]
    names = [argument.name for argument in signature.arguments]
    parameters = [join(*pair) for pair in zip(types, names)]
    casts = [f"({type_})a[{i}]" for i, type_ in enumerate(types)]

    yield ""
    yield f"static bool enabled_{name}(void)"
    yield "{"
    yield f"    return {macro}_ENABLED();"
    yield "}"
    yield ""
    yield from wrap(f"__attribute__((noinline)) static void trace_{name}(", parameters or ["void"], ")")
    yield "{"
    yield from wrap(f"    {macro}(", names, ");")
    yield "}"
    yield ""
    if signature.full_name in WITH_TWO_LOCATIONS:
        yield f"__attribute__((noinline)) static void trace_even_{name}(const uint64_t *a)"
        yield "{"
        yield from wrap(f"    {macro}(", casts, ");")
        yield "}"
        yield ""
    yield f"static bool fire_{name}(const uint64_t *a)"
    yield "{"
    yield f"    if (!{macro}_ENABLED())"
    yield "        return false;"
    if signature.full_name in WITH_TWO_LOCATIONS:
        yield "    if ((a[0] & 1) == 0)"
        yield f"        trace_even_{name}(a);"
        yield "    else"
        yield from wrap(f"        trace_{name}(", casts, ");")
    else:
        if not casts:
            yield "    (void)a;"
        yield from wrap(f"    trace_{name}(", casts, ");")
    yield "    return true;"
    yield "}"


def wrap(start: str, items: list[str], end: str) -> Iterator[str]:
    """Returns a call with its arguments in aligned lines."""
    line = start
    for i, item in enumerate(items):
        text = item + (end if i == len(items) - 1 else ",")
        if i == 0:
            line += text
        elif len(line) + 1 + len(text) > 100:
            yield line
            line = " " * len(start) + text
        else:
            line += " " + text
    yield line if items else start + end


def write_row(signature: Signature) -> Iterator[str]:
    """Returns the row of a probe in the table."""
    name = f"{signature.provider}_{signature.probe}"

    yield f'    {{"{signature.provider}", "{signature.probe}", {len(signature.arguments)},'
    yield "     {"
    for argument in signature.arguments:
        yield f'         {{"{argument.type}", "{argument.name}"}},'
    if not signature.arguments:
        yield "         {NULL, NULL},"
    yield "     },"
    yield f"     enabled_{name}, fire_{name}}},"


def write_file(lists: list[Path], signatures: list[Signature]) -> Iterator[str]:
    """The whole file."""
    yield "/* Made by t/gen_standin.py. */"
    yield '#include "probes.h"'
    yield ""
    yield "#include <stddef.h>"
    yield "#include <stdint.h>"
    yield "#include <sys/types.h>"
    yield ""
    for file in lists:
        yield f'#include "{file.stem}.h"'
    yield ""
    structs = sorted({a.type for s in signatures for a in s.arguments if a.type.startswith("struct ")})
    for struct in structs:
        yield f"{struct.rstrip(' *')};"
    yield ""
    yield "/* The trace_ functions are not inlined, so that the arguments are where h2o has them: in registers, on the"
    yield " * stack, or behind a pointer. */"
    for signature in signatures:
        yield from write_functions(signature)
    yield ""
    yield "const struct probe probe_table[] = {"
    for signature in signatures:
        yield from write_row(signature)
    yield "};"
    yield ""
    yield "const size_t probe_table_size = sizeof(probe_table) / sizeof(probe_table[0]);"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("lists", type=Path, nargs="+", metavar="LIST", help="a plain probe list")
    arguments = parser.parse_args()

    try:
        signatures = [signature for file in arguments.lists for signature in read_list(file)]
        check(signatures)
    except (ListError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    text = "\n".join(write_file(arguments.lists, signatures)) + "\n"
    arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
