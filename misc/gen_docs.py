#!/usr/bin/python3
"""Makes the manual pages and the completions from the tables in src/*.def, and the changelogs of packages.

    gen_docs.py fill --compiler CC --views FILE --options FILE --version VERSION TEMPLATE
    gen_docs.py gzip FILE
    gen_docs.py changelog --version VERSION --kind debian|rpm --maintainer NAME FILE

`fill` reads the tables of modes and options, and replaces these in a template: @version@ anywhere; and as a whole
line @mode NAME@ or @option NAME@ (a heading and the text of --help, in mdoc), @bash-modes@, @bash-words@,
@bash-arguments@, @zsh-options@, @zsh-modes@, @fish-options@ or @fish-modes@. If a template has one @option@, it must
have all of them; the same applies to @mode@. `gzip` compresses as `gzip -9n` does. `changelog` makes the changelog
of a package from CHANGELOG.md.

The tables are read with the C preprocessor, so it works the same when cross-compiling.
"""

from __future__ import annotations

import argparse
import datetime
import email.utils
import gzip
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Callable


class SourceError(Exception):
    """An error in a source file, with its position."""

    def __init__(self, file: Path, line: int, sentence: str) -> None:
        super().__init__(f"{file}:{line}: {sentence}")


@dataclass(frozen=True)
class Mode:
    name: str
    help: str


@dataclass(frozen=True)
class Option:
    letter: str  # "" if there is none
    name: str
    argument: str | None
    help: str
    argument_is_optional: bool

    @property
    def repeats(self) -> bool:
        return "may be repeated" in self.help or "twice" in self.help


@dataclass(frozen=True)
class Tables:
    modes: list[Mode]
    options: list[Option]


# --- parse ---------------------------------------------------------------------------------------------

STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def preprocess(compiler: str, file: Path, macro: str) -> list[list[str | None]]:
    """Returns the rows of a table. The cells of a row are separated by `macro`; a cell is a text, or None for NULL."""
    command = [compiler, "-E", "-P", "-x", "c", "-D", macro, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SourceError(file, 1, f"{compiler} cannot read it: {done.stderr.strip()}")
    return [
        [c_string(file, cell) for cell in row.split("H2OLOG_CELL")[1:]] for row in done.stdout.split("H2OLOG_ROW")[1:]
    ]


def c_string(file: Path, cell: str) -> str | None:
    """Returns the text of adjacent C string literals; None for NULL."""
    if cell.strip() == "NULL":
        return None
    if STRING.sub("", cell).strip():
        raise SourceError(file, 1, f"{cell.strip()!r} is neither a string nor NULL")
    return "".join(re.sub(r"\\(.)", r"\1", literal) for literal in STRING.findall(cell))


def make_option(letter: str | None, name: str | None, argument: str | None, help: str | None) -> Option:
    spelled = str(letter).strip("'")
    optional = argument is not None and argument.startswith("[")
    word = argument.strip("[]") if argument is not None else None
    return Option("" if spelled == "0" else spelled, str(name), word, str(help), optional)


def read_tables(compiler: str, views: Path, options: Path) -> Tables:
    view_rows = preprocess(compiler, views, "VIEW(name,help,...)=H2OLOG_ROW H2OLOG_CELL name H2OLOG_CELL help")
    option_rows = preprocess(
        compiler, options,
        "OPTION(id,letter,name,argument,views,help)="
        "H2OLOG_ROW H2OLOG_CELL #letter H2OLOG_CELL name H2OLOG_CELL argument H2OLOG_CELL help",
    )  # fmt: skip
    modes = [Mode(str(name), str(help)) for name, help in view_rows]
    parsed = [make_option(*cells) for cells in option_rows]
    for file, table in ((views, modes), (options, parsed)):
        if not table:
            raise SourceError(file, 1, "the table is empty")
    return Tables(modes, parsed)


# --- write ---------------------------------------------------------------------------------------------


def brief(help: str) -> str:
    """Shortens a help text for a completion."""
    return re.split(r"[;:] ", help)[0]


MDOC = {"\\": "\\e", "-": "\\-", "'": "\\(aq"}


def mdoc_escape(text: str) -> str:
    return "".join(MDOC.get(character, character) for character in text)


def mdoc_text(help: str) -> list[str]:
    """Makes a sentence from a help text, in wrapped lines. Escapes line starts that mdoc would read as requests."""
    sentence = mdoc_escape(help[:1].upper() + help[1:] + ".")
    lines = textwrap.wrap(sentence, 78, break_long_words=False, break_on_hyphens=False)
    return [f"\\&{line}" if line.startswith(".") else line for line in lines]


def mdoc_mode(tables: Tables, name: str) -> list[str]:
    mode = next(mode for mode in tables.modes if mode.name == name)
    return [f".It Cm {mode.name}", *mdoc_text(mode.help)]


def mdoc_option(tables: Tables, name: str) -> list[str]:
    option = next(option for option in tables.options if option.name == name)
    letter = f"Fl {option.letter} , " if option.letter else ""
    long = f"Fl {mdoc_escape('-' + option.name)}"
    argument = f" Ar {option.argument}" if option.argument is not None else ""
    if option.argument_is_optional:
        argument = f" Ns Op \\&= Ns Ar {option.argument}"
    return [f".It {letter}{long}{argument}", *mdoc_text(option.help)]


def quoted(text: str) -> str:
    """Quotes a word for a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def bash_modes(tables: Tables, _: str) -> list[str]:
    return [mode.name for mode in tables.modes]


def forms_of(option: Option) -> list[str]:
    """The spellings of an option: -w, --write."""
    return ([f"-{option.letter}"] if option.letter else []) + [f"--{option.name}"]


def bash_words(tables: Tables, _: str) -> list[str]:
    takes = {o.name: "=" if o.argument is not None and not o.argument_is_optional else "" for o in tables.options}
    return [" ".join(forms_of(o)) + takes[o.name] for o in tables.options]


def argument_kind(option: Option) -> str:
    """The word by which completions know the kind of an argument: NAME,... is a list of NAME."""
    return str(option.argument).partition(",")[0]


def bash_arguments(tables: Tables, _: str) -> list[str]:
    return [
        f"{' | '.join(forms_of(o))}) argument={argument_kind(o)} ;;"
        for o in tables.options
        if o.argument is not None and not o.argument_is_optional
    ]


def zsh_options(tables: Tables, _: str) -> list[str]:
    lines = []
    for option in tables.options:
        takes = option.argument is not None
        exclusive = "'*'" if option.repeats else f"'({' '.join(forms_of(option))})'"
        sign = "=-" if option.argument_is_optional else "=" if takes else ""
        long = f"--{option.name}{sign}"
        forms = f"{{-{option.letter}{'+' if takes else ''},{long}}}" if option.letter else long
        kind = argument_kind(option)
        argument = f"{'::' if option.argument_is_optional else ':'}{kind}:_h2olog_{kind}" if takes else ""
        text = re.sub(r"([]\\])", r"\\\1", brief(option.help))
        lines.append(exclusive + forms + quoted(f"[{text}]{argument}") + " \\")
    return lines


def zsh_modes(tables: Tables, _: str) -> list[str]:
    return [quoted(f"{mode.name}:" + re.sub(r"([:\\])", r"\\\1", brief(mode.help))) for mode in tables.modes]


def fish_options(tables: Tables, _: str) -> list[str]:
    lines = []
    for option in tables.options:
        argument = f" -x -a '(__h2olog_{argument_kind(option)})'" if option.argument is not None else ""
        if option.argument == "FILE":
            argument = " -r -F"  # fish completes file names itself
        if option.argument_is_optional:
            argument = argument.replace(" -x", " -f")
        letter = f" -s {option.letter}" if option.letter else ""
        lines.append(f"complete -c h2olog{letter} -l {option.name}{argument} -d {quoted_fish(option.help)}")
    return lines


def quoted_fish(help: str) -> str:
    return "'" + brief(help).replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish_modes(tables: Tables, _: str) -> list[str]:
    condition = "'not __fish_seen_subcommand_from " + " ".join(mode.name for mode in tables.modes) + "'"
    return [f"complete -c h2olog -n {condition} -a {m.name} -d {quoted_fish(m.help)}" for m in tables.modes]


WRITERS: dict[str, Callable[[Tables, str], list[str]]] = {
    "mode": mdoc_mode, "option": mdoc_option, "bash-modes": bash_modes, "bash-words": bash_words, "bash-arguments": bash_arguments,
    "zsh-options": zsh_options, "zsh-modes": zsh_modes, "fish-options": fish_options, "fish-modes": fish_modes,
}  # fmt: skip

PLACE = re.compile(r"(\s*)@([a-z-]+)(?: ([\w-]+))?@")


def check_complete(template: Path, text: str, tables: Tables) -> None:
    """Checks that a template has all modes or options once, if it has one."""
    for kind, words in (
        ("mode", [mode.name for mode in tables.modes]), ("option", [option.name for option in tables.options]),
    ):  # fmt: skip
        found = re.findall(rf"^@{kind} ([\w-]+)@$", text, re.M)
        if found and sorted(found) != sorted(words):
            wrong = sorted(set(found) ^ set(words)) or "some of them twice"
            raise SourceError(template, 1, f"@{kind}@ must appear exactly once for each {kind}; wrong: {wrong}")


def fill(arguments: argparse.Namespace) -> bytes:
    template, tables = arguments.template, read_tables(arguments.compiler, arguments.views, arguments.options)
    text = template.read_text(encoding="utf-8")
    check_complete(template, text, tables)
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        place = PLACE.fullmatch(line)
        if place is None:
            lines.append(line.replace("@version@", arguments.version))
            continue
        indent, name, word = place.groups(default="")
        if name not in WRITERS:
            raise SourceError(template, number, f"there is no @{name}@; misc/gen_docs.py knows {', '.join(WRITERS)}")
        lines += [indent + written for written in WRITERS[name](tables, word)]
    return ("\n".join(lines) + "\n").encode()


def compress(arguments: argparse.Namespace) -> bytes:
    return gzip.compress(arguments.file.read_bytes(), 9, mtime=0)


RELEASE = re.compile(r"^## \[(\S+)\] - (\d{4}-\d\d-\d\d)$", re.M)


def changelog(arguments: argparse.Namespace) -> bytes:
    """Makes one entry per release in CHANGELOG.md, which refers to that file."""
    releases = RELEASE.findall(arguments.file.read_text(encoding="utf-8"))
    if not releases or releases[0][0] != arguments.version:
        raise SourceError(arguments.file, 1, f"the first release must be '## [{arguments.version}] - YYYY-MM-DD'")
    entries = []
    for version, day in releases:
        date = datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.timezone.utc)
        if arguments.kind == "debian":
            entries.append(
                f"h2olog ({version}-1) unstable; urgency=medium\n\n  * Release {version}; see CHANGELOG.md.\n\n"
                f" -- {arguments.maintainer}  {email.utils.format_datetime(date)}\n"
            )
        else:
            entries.append(
                f"* {date:%a %b %d %Y} {arguments.maintainer} - {version}-1\n"
                f"- Release {version}; see CHANGELOG.md.\n"
            )
    return "\n".join(entries).encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("fill", help="replace the @...@ of a template")
    command.add_argument("--compiler", default="cc", metavar="CC")
    command.add_argument("--views", type=Path, required=True, metavar="FILE")
    command.add_argument("--options", type=Path, required=True, metavar="FILE")
    command.add_argument("--version", required=True)
    command.add_argument("template", type=Path, metavar="TEMPLATE")
    command.set_defaults(run=fill)
    command = commands.add_parser("gzip", help="compress, the same on each day")
    command.add_argument("file", type=Path, metavar="FILE")
    command.set_defaults(run=compress)
    command = commands.add_parser("changelog", help="write the changelog of a package")
    command.add_argument("--version", required=True)
    command.add_argument("--kind", choices=("debian", "rpm"), required=True)
    command.add_argument("--maintainer", required=True, metavar="NAME")
    command.add_argument("file", type=Path, metavar="FILE")
    command.set_defaults(run=changelog)
    for command in commands.choices.values():
        command.add_argument("--output", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    try:
        arguments.output.write_bytes(arguments.run(arguments))
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
