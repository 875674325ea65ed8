"""The parts of t/matrix that need no root. Only `./make.sh matrix` runs the rest, because it takes hours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

MATRIX = Path(__file__).parents[1] / "matrix"
sys.path.insert(0, str(MATRIX))
import matrix  # noqa: E402
import roots  # noqa: E402
import vm  # noqa: E402
from table import Row, chosen, count_tests, table  # noqa: E402

KNOWN = ["debian-11", "debian-12", "deb-12"]


def a_test(name: str, output: str, ending: str = "Test Passed.") -> str:
    """Returns a part of the log of ctest, in the format of ctest 3.18 to 4.3."""
    line = "-" * 58
    return (
        f'1/9 Testing: {name}\n1/9 Test: {name}\nCommand: "{name}"\nDirectory: /\n"{name}" start time: Nov 22 15:38 UTC\n'
        f"Output:\n{line}\n{output}\n<end of output>\nTest time =   0.10 sec\n{line}\n{ending}\n"
        f'"{name}" end time: Nov 22 15:38 UTC\n{line}\n\n'
    )


def test_table() -> None:
    good = Row("debian-12", "Debian 12.15", "0.26.0", "14", "gcc 12.2.0", "6.18.0", 412, 412, 0.104, 0.316)
    assert table([good, Row("deb-13", failure="installing fails")]).splitlines() == [
        "| row | distribution | libbcc | LLVM | compiler | kernel | tests | attach `http` | attach `quic` |",
        "| --- | --- | --- | --- | --- | --- | --- | ---: | ---: |",
        "| debian-12 | Debian 12.15 | 0.26.0 | 14 | gcc 12.2.0 | 6.18.0 | 412/412 | 0.10 s | 0.32 s |",
        "| deb-13 | – | – | – | – | – | **failed** | – | – |",
    ]
    assert Row("a|b\nc").columns()[0] == "a\\|b c"


def test_incomplete_rows_fail() -> None:
    assert Row("x", passed=3, total=3).is_good
    assert not Row("x").is_good
    assert not Row("x", passed=2, total=3).is_good
    assert not Row("x", passed=3, total=3, failure="it does not attach").is_good
    assert Row("x", passed=2, total=3).columns()[6] == "**2/3**"
    assert Row("x", passed=3, total=3, failure="it does not attach").columns()[6] == "**3/3**"


def test_chosen_rows() -> None:
    assert chosen(KNOWN, []) == KNOWN
    assert chosen(KNOWN, ["deb-12", "debian-11", "deb-12"]) == ["debian-11", "deb-12"]
    with pytest.raises(ValueError, match="there is no row debian-10; there are: debian-11, debian-12, deb-12"):
        chosen(KNOWN, ["debian-11", "debian-10"])


def test_every_package_has_a_build_release() -> None:
    assert set(matrix.PACKAGES.values()) <= set(matrix.RELEASES)
    listed = subprocess.run([sys.executable, str(MATRIX / "matrix.py"), "list"], capture_output=True, text=True)
    assert listed.returncode == 0
    assert listed.stdout.split() == list(matrix.ROWS)


def test_fresh_rows() -> None:
    """The oldest and the newest release of each kind has one."""
    assert set(matrix.FRESH.values()) == set(matrix.RELEASES.values()) - {"sid"}


def test_fresh_machine_is_minimal() -> None:
    command = roots.command_in_fresh(Path("/root-of-it"), ["./make.sh", "test"], "/clone")
    entering, environment = command.index("sh"), command.index("env")
    assert "tracefs" not in command[entering + 2] and "rbind" not in command[entering + 2]
    assert command[environment:] == [
        "env", "-i", "-C", "/clone", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
        "TERM=linux", "./make.sh", "test",
    ]  # fmt: skip


def test_processes_of_a_root(tmp_path: Path) -> None:
    assert any(line.startswith(f"{os.getpid()} ") for line in matrix.processes_in(Path("/")))
    assert matrix.processes_in(tmp_path) == []


@pytest.fixture
def type_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[str, str]]:
    """Types a command as into the console of a root. Returns its output and the log."""
    monkeypatch.setattr(roots, "command_in_fresh", lambda root, words, cwd: list(words))

    def type_(command: str) -> tuple[str, str]:
        with (tmp_path / "log").open("w") as log:
            output = matrix.type_command(tmp_path, command, log)
        return output, (tmp_path / "log").read_text()

    return type_


def test_typing(type_here: Callable[[str], tuple[str, str]], tmp_path: Path) -> None:
    output, log = type_here("echo said; echo complained >&2")
    assert output == "said\ncomplained\n" and output in log
    with pytest.raises(matrix.Failure, match="^exit 3 fails$"):
        type_here("exit 3")


def test_remaining_processes_fail_a_row(
    type_here: Callable[[str], tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "processes_in", lambda root: ["7 ./server"])
    with pytest.raises(matrix.Failure, match="^true leaves running: 7 ./server$"):
        type_here("true")


def test_counting_passed_tests() -> None:
    log = "Start testing: Nov 22 15:38 UTC\n" + "-" * 58 + "\n"
    log += a_test("e2e-http", ".......  [100%]\n18 passed in 11.77s")
    log += a_test("misc-generator", "= 100 passed, 3 warnings in 75.01s (0:01:15) =")
    log += a_test("unit-text", "[==========] 21 test(s) run.\n[  PASSED  ] 21 test(s).")
    log += a_test("fuzz-text", "Done 100000 runs in 3 second(s)")
    assert count_tests(log) == (140, 140, [])


@pytest.mark.parametrize(
    ("output", "ending", "counts"),
    [
        ("FAILED x\n1 failed, 17 passed in 11.77s", "Test Failed.", (17, 18)),
        ("2 passed, 1 skipped, 1 xfailed, 1 error in 1.00s", "Test Failed.", (2, 5)),
        ("17 passed, 1 skipped in 11.77s", "Test Passed.", (17, 18)),  # successful for pytest, but not tested
        ("[  PASSED  ] 12 test(s).\n[  SKIPPED ] 2 test(s), listed below:", "Test Passed.", (12, 14)),
        ("[  PASSED  ] 12 test(s).\n[  FAILED  ] 1 test(s), listed below:", "Test Failed.", (12, 13)),
        ("[  PASSED  ] 0 test(s).\n[  FAILED  ] tests: 13 test(s), listed below:", "Test Failed.", (0, 13)),  # cmocka 2
        ("[  PASSED  ] 12 test(s).", "Test Failed.", (12, 13)),  # a leak that was found at the end
        ("no tests ran in 0.01s", "Test Failed.", (0, 1)),
        ("SEGV", "Test Failed.", (0, 1)),
        ("...", "Test timeout computed to be: 600", (0, 1)),
    ],
)
def test_counting_failed_tests(output: str, ending: str, counts: tuple[int, int]) -> None:
    log = a_test("unit-text", "[  PASSED  ] 21 test(s).") + a_test("bad", output, ending)
    assert count_tests(log) == (21 + counts[0], 21 + counts[1], ["bad"])


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("H2OLOG_MATRIX_CACHE", raising=False)
    assert roots.cache_folder() == tmp_path / "home" / ".cache" / "h2olog-matrix"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert roots.cache_folder() == tmp_path / "xdg" / "h2olog-matrix"
    monkeypatch.setenv("H2OLOG_MATRIX_CACHE", str(tmp_path / "chosen"))
    assert roots.cache_folder() == tmp_path / "chosen"
    assert (tmp_path / "chosen").is_dir()


def test_results_of_an_emulated_machine(tmp_path: Path) -> None:
    """A test that is not applicable is counted separately.
    A test that was skipped for another reason has not passed."""
    (tmp_path / "test_life.xml").write_text(
        '<testsuites><testsuite><testcase classname="t.e2e.test_life" name="test_a[1]"/>'
        '<testcase classname="t.e2e.test_life" name="test_b"><failure message="x">y</failure></testcase>'
        '<testcase classname="t.e2e.test_life" name="test_c"><skipped message="not applicable: no links"/></testcase>'
        '<testcase classname="t.e2e.test_life" name="test_d"><skipped message="no time"/></testcase>'
        '<testcase classname="t.e2e.test_life" name="test_e"><error message="x"/></testcase></testsuite></testsuites>',
        encoding="utf-8",
    )
    results = vm.read_results(tmp_path)
    assert (results.passed, results.not_applicable, results.complete, results.figures) == (1, 1, False, {})
    assert results.failed == ["test_life::test_b", "test_life::test_d", "test_life::test_e"]
    (tmp_path / "complete").touch()
    (tmp_path / "figures.json").write_text('{"kernel": "5.10.0", "attach_http": 6.5}', encoding="ascii")
    results = vm.read_results(tmp_path)
    assert results.complete and results.figures == {"kernel": "5.10.0", "attach_http": 6.5}
    assert Row("kernel-5.10", passed=1, total=1, not_applicable=2).columns()[6] == "1/1, 2 n/a"


def test_every_machine_has_a_release() -> None:
    assert set(matrix.KERNELS.values()) <= set(matrix.RELEASES)
    files = Path("/vmlinuz"), Path("/initrd")
    command = vm.qemu_command(vm.MACHINES["arm64"], *files, [Path("/disk")], {"H2OLOG_X": "1"})
    assert command[0] == "qemu-system-aarch64" and command[command.index("-append") + 1].endswith(" H2OLOG_X=1")
