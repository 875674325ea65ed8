"""What other programs make of the lines of requests: JSON against its schema, and access logs in goaccess.

The lines are those of t/misc/print_requests.c: random requests with hostile bytes.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from surroundings import make_dice

TOP = Path(__file__).parents[2]
BUILD = Path(os.environ.get("H2OLOG_BUILD_DIR", TOP / "build"))
SCHEMA = json.loads((TOP / "doc" / "requests.schema.json").read_text())

COMBINED = r'- - - [27/Nov/2026:10:29:34 +0000] "GET /a HTTP/2" 200 - "http://r/" "agent"'


def printed(form: str, count: int) -> list[str]:
    """Without newlines. No line has another character at which a reader may divide it."""
    seed = str(make_dice().randrange(1 << 32))
    command = [BUILD / "t" / "print-requests", form, str(count), seed]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for line in lines for character in line)
    return lines


def without_duplicates(members: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in members]
    assert len(names) == len(set(names))
    return dict(members)


def validator() -> jsonschema.Draft7Validator:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    return jsonschema.Draft7Validator(SCHEMA)


def test_json_is_as_its_schema_says() -> None:
    valid = validator()
    keys: set[str] = set()
    for line in printed("json", 1000):
        document = json.loads(line, object_pairs_hook=without_duplicates)
        errors = [error.message for error in valid.iter_errors(document)]
        assert not errors, line
        keys |= set(document)
    described = SCHEMA["definitions"]
    # duration-us: HTTP/3 only
    assert keys == set(described["request"]["properties"]) - {"duration-us"} | set(described["lost"]["properties"])


REQUEST = {"conn": 1, "req": 0, "state": "complete", "request-headers": [["a", "b"], ["a", None]]}


@pytest.mark.parametrize(
    "change",
    [
        {"conn": -1},
        {"conn": None},
        {"req": "1"},
        {"req": 1 << 64},
        {"state": "done"},
        {"status": "200"},
        {"status": None},
        {"ttfb-us": 0.5},
        {"truncated": False},
        {"protocol": None},
        {"path": 1},
        {"connection": 0},
        {"duration": 1},
        {"lost": 1},
        {"request-headers": [["a"]]},
        {"request-headers": [["a", "b", "c"]]},
        {"request-headers": [["a", 1]]},
        {"response-headers": {"a": "b"}},
    ],
)
def test_schema_refuses(change: dict[str, Any]) -> None:
    valid = validator()
    assert valid.is_valid(REQUEST)
    assert not valid.is_valid({**copy.deepcopy(REQUEST), **change})


@pytest.mark.parametrize("key", ["conn", "req", "state"])
def test_schema_requires(key: str) -> None:
    assert not validator().is_valid({name: value for name, value in REQUEST.items() if name != key})


def goaccess(lines: list[str], folder: Path) -> tuple[int, int]:
    """How many lines goaccess takes, and how many it refuses."""
    log, report = folder / "access.log", folder / "report.json"
    report.unlink(missing_ok=True)
    command = ["goaccess", log, "--log-format=COMBINED", "--no-global-config", "-o", report]
    help_text = subprocess.run(["goaccess", "--help"], stdout=subprocess.PIPE, text=True).stdout
    if "--no-ip-validation" in help_text:
        command.append("--no-ip-validation")
    else:  # Debian 11: it only takes an address
        lines = ["192.0.2.1" + line[1:] for line in lines]
    log.write_text("".join(line + "\n" for line in lines))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if not report.exists():  # it took none
        assert b"Format Errors" in done.stdout, done.stdout
        return 0, len(lines)
    # it decodes %0a in URLs, and writes what it gets
    general = json.loads(report.read_text(errors="replace"), strict=False)["general"]
    return general["valid_requests"], general["failed_requests"]


def test_goaccess_reads_combined(tmp_path: Path) -> None:
    lines = printed("combined", 3000)
    assert all(line.startswith("- - - [") for line in lines)
    assert goaccess(lines, tmp_path) == (3000, 0)


def test_goaccess_refuses_other_lines(tmp_path: Path) -> None:
    """Why the backslash at the end of a value is escaped: the line of a client that sends one would be missing."""
    assert goaccess([COMBINED], tmp_path) == (1, 0)
    assert goaccess([COMBINED, "garbage"], tmp_path) == (1, 1)
    assert goaccess([COMBINED, COMBINED[:-1] + '\\"'], tmp_path) == (1, 1)
    assert goaccess([COMBINED, COMBINED[:-1] + '\\x5c"'], tmp_path) == (2, 0)
