"""A row of the matrix, and the table of all rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Row:
    """The results of one place. Empty members are unknown."""

    name: str
    distribution: str = ""
    libbcc: str = ""
    llvm: str = ""
    compiler: str = ""
    kernel: str = ""
    passed: int = 0
    total: int = 0
    attach_http: float | None = None  # seconds
    attach_quic: float | None = None
    failure: str = ""  # why this place cannot run h2olog, as a sentence; else empty
    not_applicable: int = 0  # tests that do not apply to that kernel, as they report
    note: str = ""  # information that the table does not have
    log: Path | None = None

    @property
    def is_good(self) -> bool:
        return not self.failure and self.total > 0 and self.passed == self.total

    def columns(self) -> list[str]:
        tests = f"{self.passed}/{self.total}" if self.total else ""
        if self.not_applicable:
            tests += f", {self.not_applicable} n/a"
        if not self.is_good:
            tests = f"**{tests or 'failed'}**"
        cells = [self.name, self.distribution, self.libbcc, self.llvm, self.compiler, self.kernel, tests]
        cells += [f"{time:.2f} s" if time is not None else "" for time in (self.attach_http, self.attach_quic)]
        return [cell.replace("|", "\\|").replace("\n", " ") or "–" for cell in cells]


HEAD = ["row", "distribution", "libbcc", "LLVM", "compiler", "kernel", "tests", "attach `http`", "attach `quic`"]


def table(rows: list[Row]) -> str:
    lines = [HEAD, ["---"] * 7 + ["---:"] * 2, *(row.columns() for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def chosen(known: list[str], wanted: list[str]) -> list[str]:
    """Returns the wanted rows, each once, in the order of the known ones; all, if none is named."""
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"there is no row {', '.join(unknown)}; there are: {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted]


# The summaries of pytest and cmocka. A skipped test has not passed.
PYTEST = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+) in [\d.]+s", re.MULTILINE)
CMOCKA = re.compile(r"^\[  (PASSED|SKIPPED|FAILED) +\] (?:\w+: )?(\d+) test\(s\)", re.MULTILINE)


def count_in(output: str, has_passed: bool) -> tuple[int, int]:
    """Returns how many tests in one test of ctest passed, and how many there were. One, if there is no summary."""
    counts: list[tuple[str, int]] = [(word.lower(), int(count)) for word, count in CMOCKA.findall(output)]
    for summary in PYTEST.findall(output):
        counts += [(word, int(count)) for count, word in re.findall(r"(\d+) (\w+)", summary)]
    counted = {"passed": True, "failed": False, "error": False, "errors": False, "skipped": False, "xfailed": False}
    passed = sum(count for word, count in counts if counted.get(word, False))
    total = sum(count for word, count in counts if word in counted)
    if total == 0:
        return int(has_passed), 1
    if passed == total and not has_passed:  # it failed after its last test
        total += 1
    return passed, total


def count_tests(log: str) -> tuple[int, int, list[str]]:
    """Parses ctest's LastTest.log. Returns the number of tests that passed, the number of all, and the names of ctest's
    tests that failed."""
    passed = total = 0
    failed: list[str] = []
    for part in re.split(r"^\d+/\d+ Testing: ", log, flags=re.MULTILINE)[1:]:
        has_passed = re.search(r"^Test Passed\.$", part, re.MULTILINE) is not None
        some, all_ = count_in(part, has_passed)
        passed, total = passed + some, total + all_
        if some != all_:
            failed.append(part.split("\n", 1)[0])
    return passed, total, failed
