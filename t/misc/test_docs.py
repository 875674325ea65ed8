"""The manual page, the texts of the completions and the changelogs must match the program.

misc/gen_docs.py makes them. The expected content is taken from `h2olog --help` and from CMakeLists.txt.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
GENERATOR = TOP / "misc" / "gen_docs.py"
BUILD = Path(os.environ.get("H2OLOG_BUILD_DIR", TOP / "build"))
GENERATED = BUILD / "generated"

# An option in --help: letter or none, name, argument.
HELP_ROW = re.compile(r"^  (?:-(\w), |    )--([a-z-]+)(?: ([A-Z]+)|\[=([A-Z,.]+)\])?(?:  |$)", re.M)


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def help_text() -> str:
    return output_of(BUILD / "h2olog", "--help")


def help_options() -> list[tuple[str, str, str]]:
    """Letter ("" for none), name and argument ("" for none)."""
    options = HELP_ROW.findall(help_text())
    assert len(options) > 20
    return [(letter, name, argument or optional) for letter, name, argument, optional in options]


def help_modes() -> list[str]:
    match = re.match(r"Usage: h2olog \[([a-z|]+)\]", help_text())
    assert match is not None
    return match.group(1).split("|")


def page(name: str = "h2olog.1") -> str:
    """Returns the page as text, without the sequences for bold letters."""
    rendered = output_of("mandoc", "-T", "utf8", "-O", "width=200", GENERATED / name)
    return re.sub(".\b", "", rendered)


def flattened(text: str) -> str:
    return " ".join(text.split())


def version() -> str:
    match = re.search(r"^project\(h2olog VERSION (\S+) ", (TOP / "CMakeLists.txt").read_text(), re.M)
    assert match is not None
    return match.group(1)


# --- the pages, and --help ------------------------------------------------------------------------------


def test_page_and_help_have_the_same_options() -> None:
    section = page().partition("\nOPTIONS\n")[2].partition("\nTEXT OUTPUT\n")[0]
    written = re.findall(r"^     (?:-(\w), )?--([a-z-]+)(?: ([A-Z]+)|\[=([A-Z,.]+)\])?$", section, re.M)
    assert [(letter, name, argument or optional) for letter, name, argument, optional in written] == help_options()


@pytest.mark.parametrize("program", ["quicplot", "h2olog2qlog"])
def test_pages_of_the_scripts_have_their_options(program: str) -> None:
    helped = re.findall(r"^  -(\w)(?: [A-Z|]+)?, --([a-z-]+)(?: ([A-Z|]+))?", output_of(TOP / "misc" / program, "--help"), re.M)
    section = page(f"{program}.1").partition("\nOPTIONS\n")[2].partition("\nEXIT STATUS\n")[0]
    written = re.findall(r"^     -(\w), --([a-z-]+)(?: ([A-Z |]+))?$", section, re.M)
    assert sorted((letter, name, argument.replace(" ", "")) for letter, name, argument in written) == sorted(helped)
    assert len(helped) >= 3


@pytest.mark.parametrize("program", ["quicplot", "h2olog2qlog"])
@pytest.mark.parametrize("option", ["-V", "--version"])
def test_scripts_have_the_version(program: str, option: str) -> None:
    """In the source tree. t/misc/test_install.py tests the installed programs."""
    project = re.search(r"^project\(h2olog VERSION (\S+)", (TOP / "CMakeLists.txt").read_text(encoding="utf-8"), re.M)
    assert project is not None
    assert output_of(TOP / "misc" / program, option) == f"{program} {project.group(1)}\n"


def test_page_has_the_texts_of_help() -> None:
    """The page has the whole text of each option, as a sentence with a capital and a full stop."""
    rows = re.split(r"^(?=  (?:-\w, |    )--)", help_text().partition("\n\nExamples:")[0], flags=re.M)[1:]
    text = flattened(page()).lower()
    assert len(rows) == len(help_options())
    for row in rows:
        said = flattened(re.sub(HELP_ROW, "", row)).lower()
        assert len(said) > 10 and f"{said}." in text


def test_page_has_the_modes() -> None:
    text = page()
    for mode in help_modes():
        match = re.search(rf"^  {mode} +(\S.*(?:\n {{12}}\S.*)*)", help_text(), re.M)
        assert match is not None
        assert re.search(rf"^     {mode}\s+{re.escape(flattened(match.group(1)))}\.", text, re.M | re.I), mode


def test_synopsis_has_each_option() -> None:
    synopsis = page().partition("\nSYNOPSIS\n")[2].partition("\nDESCRIPTION\n")[0]
    letters = set("".join(re.findall(r"(?<![-\w])-(\w+)", synopsis)) + "".join(re.findall(r"\| -?(\w)\b", synopsis)))
    assert letters == {letter for letter, _, _ in help_options() if letter}
    assert f"[{' | '.join(help_modes())}]" in synopsis


def test_compressed_page() -> None:
    """Like `gzip -9n`, which Debian requires: no name, no time, best compression."""
    content = (GENERATED / "h2olog.1.gz").read_bytes()
    assert gzip.decompress(content) == (GENERATED / "h2olog.1").read_bytes()
    assert content[3] == 0 and content[4:8] == bytes(4) and content[8] == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_has_each_option_and_mode(shell: str) -> None:
    text = (GENERATED / f"h2olog.{shell}").read_text()
    forms = {
        "bash": "-{letter} --{name}(?![a-z-])", "zsh": "-{letter}[+]?,--{name}[=]?}}", "fish": "-s {letter} -l {name} "
    }  # fmt: skip
    long_forms = {"bash": "^ *--{name}=?$", "zsh": "--{name}(?:=-?)?'\\[", "fish": "-c h2olog -l {name} "}
    for letter, name, _ in help_options():
        form = forms[shell] if letter else long_forms[shell]
        assert len(re.findall(form.format(letter=letter, name=name), text, re.M)) == 1, name
    for mode in help_modes():
        assert re.search(rf"\b{mode}\b", text)


# --- the version ---------------------------------------------------------------------------------------


def test_version_is_the_same_everywhere() -> None:
    assert output_of(BUILD / "h2olog", "--version").splitlines()[0] == f"h2olog {version()}"
    assert page().rstrip().splitlines()[-1].startswith(f"h2olog {version()} ")
    releases = re.findall(r"^## (.*)$", (TOP / "CHANGELOG.md").read_text(), re.M)
    newest = next(release for release in releases if "unreleased" not in release.lower())
    assert newest.startswith(f"[{version()}] - ")


# --- the generator -------------------------------------------------------------------------------------

VIEWS = 'VIEW("http", "lines; the default", .probes = {"h2o:*", "x"}, .sink = text_open)\n'
OPTIONS_TABLE = r"""
/* OPTION(id, letter, name, argument, views, help) */
OPTION(PID, 'p', "pid", "PID", VIEW_ANY, "trace this")
OPTION(LONG, 0, "long-one", "[NAME,...]", VIEW_ANY, "hide this")
OPTION(A_NAME, 'n', "a-name", NULL, VIEW_EVENTS,
       "say 'what' "
       "is \"so\" [here]: at length; may be repeated")
"""


def generate(
    folder: Path, template: str, views: str = VIEWS, options: str = OPTIONS_TABLE
) -> subprocess.CompletedProcess[str]:
    (folder / "template").write_text(template)
    (folder / "views.def").write_text(views)
    (folder / "options.def").write_text(options)
    return subprocess.run(
        [sys.executable, "-B", GENERATOR, "fill", "--views", folder / "views.def", "--options", folder / "options.def",
         "--version", "1.2.3", "--output", folder / "output", folder / "template"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "template, expected",
    [
        ("h2olog @version@ is it\n", "h2olog 1.2.3 is it\n"),
        ("@mode http@\n", ".It Cm http\nLines; the default.\n"),
        (
            "@option pid@\n@option long-one@\n@option a-name@\n",
            ".It Fl p , Fl \\-pid Ar PID\nTrace this.\n"
            ".It Fl \\-long\\-one Ns Op \\&= Ns Ar NAME,...\nHide this.\n.It Fl n , Fl \\-a\\-name\n"
            'Say \\(aqwhat\\(aq is "so" [here]: at length; may be repeated.\n',
        ),
        ("  @bash-modes@\n", "  http\n"),
        ("  @bash-words@\n", "  -p --pid=\n  --long-one\n  -n --a-name\n"),
        ("@bash-arguments@\n", "-p | --pid) argument=PID ;;\n"),
        (
            "@zsh-options@\n",
            "'(-p --pid)'{-p+,--pid=}'[trace this]:PID:_h2olog_PID' \\\n"
            "'(--long-one)'--long-one=-'[hide this]::NAME:_h2olog_NAME' \\\n"
            "'*'{-n,--a-name}'[say '\\''what'\\'' is \"so\" [here\\]]' \\\n",
        ),
        ("@zsh-modes@\n", "'http:lines'\n"),
        (
            "@fish-options@\n",
            "complete -c h2olog -s p -l pid -x -a '(__h2olog_PID)' -d 'trace this'\n"
            "complete -c h2olog -l long-one -f -a '(__h2olog_NAME)' -d 'hide this'\n"
            "complete -c h2olog -s n -l a-name -d 'say \\'what\\' is \"so\" [here]'\n",
        ),
    ],
)
def test_templates(tmp_path: Path, template: str, expected: str) -> None:
    done = generate(tmp_path, template)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "output").read_text() == expected


@pytest.mark.parametrize(
    "template, views, options, sentence",
    [
        ("one\n@nix@\n", VIEWS, OPTIONS_TABLE, "template:2: there is no @nix@"),
        (
            "@option pid@\n@option long-one@\n", VIEWS, OPTIONS_TABLE,
            "template:1: @option@ must appear exactly once for each option; wrong: ['a-name']",
        ),
        ("@option pid@\n@option long-one@\n@option a-name@\n@option x@\n", VIEWS, OPTIONS_TABLE, "wrong: ['x']"),
        ("@option pid@\n@option long-one@\n@option a-name@\n@option a-name@\n", VIEWS, OPTIONS_TABLE, "some of them twice"),
        (
            "@mode quic@\n", VIEWS, OPTIONS_TABLE,
            "@mode@ must appear exactly once for each mode; wrong: ['http', 'quic']",
        ),
        ("", "", OPTIONS_TABLE, "views.def:1: the table is empty"),
        ("", VIEWS, "", "options.def:1: the table is empty"),
        ("", VIEWS, OPTIONS_TABLE.replace("NULL", "nothing"), "options.def:1: 'nothing' is neither a string nor NULL"),
        ("", VIEWS.replace('"lines; the default"', "LINES"), OPTIONS_TABLE, "'LINES' is neither a string nor NULL"),
        ("", VIEWS, OPTIONS_TABLE.replace("VIEW_ANY, ", ""), "options.def:1: "),
    ],
)  # fmt: skip
def test_bad_templates_and_tables(tmp_path: Path, template: str, views: str, options: str, sentence: str) -> None:
    done = generate(tmp_path, template, views, options)
    assert done.returncode == 1 and sentence in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "output").exists()



def write_changelog(tmp_path: Path, text: str, kind: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "CHANGELOG.md").write_text(text)
    return subprocess.run(
        [sys.executable, "-B", GENERATOR, "changelog", "--version", "1.1.0", "--kind", kind, "--maintainer", "A <a@b>",
         "--output", tmp_path / "output", tmp_path / "CHANGELOG.md"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_changelogs(tmp_path: Path) -> None:
    text = "# Changelog\n\n## [1.1.0] - 2026-12-01\n\n- new\n\n## [1.0.0] - 2026-11-22\n\n- first\n"
    assert write_changelog(tmp_path, text, "debian").returncode == 0
    assert (tmp_path / "output").read_text() == (
        "h2olog (1.1.0-1) unstable; urgency=medium\n\n  * Release 1.1.0; see CHANGELOG.md.\n\n"
        " -- A <a@b>  Tue, 01 Dec 2026 00:00:00 +0000\n\n"
        "h2olog (1.0.0-1) unstable; urgency=medium\n\n  * Release 1.0.0; see CHANGELOG.md.\n\n"
        " -- A <a@b>  Sun, 22 Nov 2026 00:00:00 +0000\n"
    )
    assert write_changelog(tmp_path, text, "rpm").returncode == 0
    assert (tmp_path / "output").read_text() == (
        "* Tue Dec 01 2026 A <a@b> - 1.1.0-1\n- Release 1.1.0; see CHANGELOG.md.\n\n"
        "* Sun Nov 22 2026 A <a@b> - 1.0.0-1\n- Release 1.0.0; see CHANGELOG.md.\n"
    )


def test_changelog_of_another_version_is_refused(tmp_path: Path) -> None:
    done = write_changelog(tmp_path, "# Changelog\n\n## [1.0.0] - 2026-11-22\n", "debian")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the first release must be '## [1.1.0] - YYYY-MM-DD'" in done.stderr
