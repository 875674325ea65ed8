"""The installed files and the content of the packages. Uses its own build without tests, as packagers do."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
BUILD = Path(os.environ.get("H2OLOG_BUILD_DIR", TOP / "build"))
PREFIX = "/opt/some where"

# What `make install` installs, below the prefix.
INSTALLED = {
    "bin/h2olog",
    "bin/h2olog2qlog",
    "bin/quicplot",
    "share/bash-completion/completions/h2olog",
    "share/doc/h2olog/CHANGELOG.md",
    "share/doc/h2olog/LICENSE",
    "share/doc/h2olog/README.md",
    "share/doc/h2olog/SECURITY.md",
    "share/doc/h2olog/requests.schema.json",
    "share/h2olog/h2olog2qlog",
    "share/h2olog/h2olog_trace.py",
    "share/h2olog/quicplot",
    "share/h2olog/version",
    "share/fish/vendor_completions.d/h2olog.fish",
    "share/man/man1/h2olog.1.gz",
    "share/man/man1/h2olog2qlog.1.gz",
    "share/man/man1/quicplot.1.gz",
    "share/zsh/site-functions/_h2olog",
}
PROGRAMS = {name for name in INSTALLED if name.startswith("bin/")}
PROGRAMS |= {"share/h2olog/h2olog2qlog", "share/h2olog/quicplot"}
LINKS = {"bin/h2olog2qlog", "bin/quicplot"}
ELSEWHERE_IN_DEBIAN = {
    "share/doc/h2olog/CHANGELOG.md": ["share/doc/h2olog/changelog.gz", "share/doc/h2olog/changelog.Debian.gz"],
    "share/doc/h2olog/LICENSE": ["share/doc/h2olog/copyright"],
    "share/zsh/site-functions/_h2olog": ["share/zsh/vendor-completions/_h2olog"],
}


def cached(name: str) -> str:
    """Returns a setting of the build that runs this test."""
    match = re.search(rf"^{name}:\w+=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.M)
    return match.group(1) if match is not None else ""


CMAKE = cached("CMAKE_COMMAND")
VERSION = cached("CMAKE_PROJECT_VERSION")


def call(*command: str | Path, cwd: Path | None = None, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def files_of(top: Path) -> dict[Path, tuple[int, int]]:
    """Returns each file and folder with its size and time."""
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in (top, *top.rglob("*"))}


def without_builds(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == ".git" or (Path(folder) / name / "CMakeCache.txt").exists()]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build folder with a prefix. It builds a copy of the source tree, which nothing else changes; building and
    packaging must not change the copy."""
    folder, source = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("source") / "h2olog"
    shutil.copytree(TOP, source, symlinks=True, ignore=without_builds)
    before = files_of(source)
    configure = [CMAKE, "-S", source, "-B", folder, f"-DCMAKE_INSTALL_PREFIX={PREFIX}"]
    configure += [f"-D{name}={cached(name)}" for name in ("CMAKE_PREFIX_PATH", "CMAKE_C_COMPILER") if cached(name)]
    call(*configure)
    call(CMAKE, "--build", folder, "--parallel", "2")
    umask = os.umask(0o077)  # the umask of a packager, which must not affect the packages
    try:
        call(cached("CMAKE_CPACK_COMMAND"), "-G", "DEB;RPM", cwd=folder)
    finally:
        os.umask(umask)
    after = files_of(source)
    assert {path for path in after if before.get(path) != after[path]} == set()
    return folder


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def check_tree(top: Path, prefix: str, files: set[str]) -> None:
    """Checks that exactly these files exist and that all users can read them, that the program runs, and that the
    manual page has its version."""
    assert files_below(top) == {f"{prefix.lstrip('/')}/{name}" for name in files}
    below = top / prefix.lstrip("/")
    for name in files:
        assert (below / name).stat().st_mode & 0o7777 == (0o755 if name in PROGRAMS else 0o644), name
    assert call(below / "bin/h2olog2qlog", "--help").startswith("usage: h2olog2qlog"), "it finds what lies beside it"
    assert call(below / "bin/h2olog", "--version").startswith(f"h2olog {VERSION}\n")
    for program in ("quicplot", "h2olog2qlog"):
        assert call(below / "bin" / program, "--version") == f"{program} {VERSION}\n"
    page = gzip.decompress((below / "share/man/man1/h2olog.1.gz").read_bytes()).decode()
    assert f".Os h2olog {VERSION}\n" in page
    assert "application-data" in (below / "share/bash-completion/completions/h2olog").read_text()
    assert (below / "share/fish/vendor_completions.d/h2olog.fish").read_text().count("complete -c h2olog") > 10


# --- make install --------------------------------------------------------------------------------------


def test_make_install(build: Path, tmp_path: Path) -> None:
    """DESTDIR is put in front of the prefix."""
    call("make", "-C", build, "install", DESTDIR=str(tmp_path))
    check_tree(tmp_path, PREFIX, INSTALLED)
    assert (tmp_path / PREFIX[1:] / "share/zsh/site-functions/_h2olog").read_text().startswith("#compdef h2olog\n")


def test_cmake_install(build: Path, tmp_path: Path) -> None:
    call(CMAKE, "--install", build, "--prefix", tmp_path / "prefix")
    check_tree(tmp_path, "prefix", INSTALLED)


# --- the .deb ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deb(build: Path) -> Path:
    (package,) = build.glob("*.deb")
    return package


def test_deb_files(deb: Path, tmp_path: Path) -> None:
    moved = {name for names in ELSEWHERE_IN_DEBIAN.values() for name in names}
    call("dpkg-deb", "-x", deb, tmp_path)
    check_tree(tmp_path, "/usr", INSTALLED - set(ELSEWHERE_IN_DEBIAN) | moved)
    documents = tmp_path / "usr/share/doc/h2olog"
    assert (documents / "copyright").read_text() == (TOP / "LICENSE").read_text()
    assert gzip.decompress((documents / "changelog.gz").read_bytes()) == (TOP / "CHANGELOG.md").read_bytes()
    changes = gzip.decompress((documents / "changelog.Debian.gz").read_bytes()).decode()
    (tmp_path / "changelog").write_text(changes)
    assert call("dpkg-parsechangelog", "-l", tmp_path / "changelog", "-S", "Version").strip() == f"{VERSION}-1"


def test_deb_owners_and_modes(deb: Path) -> None:
    """Root owns all files, and all folders can be entered, whatever the umask was."""
    lines = call("dpkg-deb", "-c", deb).splitlines()
    assert len(lines) > 20
    for line in lines:
        assert re.match(r"(drwxr-xr-x|-rwxr-xr-x|-rw-r--r--|lrwxrwxrwx) root/root ", line), line


def test_deb_control(deb: Path) -> None:
    fields = dict(re.findall(r"^([\w-]+): (.*)$", call("dpkg-deb", "-f", deb), re.M))
    architecture = call("dpkg", "--print-architecture").strip()
    assert deb.name == f"h2olog_{VERSION}-1_{architecture}.deb"
    assert fields["Version"] == f"{VERSION}-1" and fields["Architecture"] == architecture
    assert fields["Section"] == "net" and fields["Priority"] == "optional"
    needed = {dependency.partition(" ")[0] for dependency in fields["Depends"].split(", ")}
    # the packages of the libraries that the program is linked with
    assert {"libc6", "libpcre2-8-0", "libseccomp2"} < needed and len(needed) == 4
    assert any(re.fullmatch(r"libbpfcc(t64)?|libbcc0?", name) for name in needed), needed


def test_deb_is_intact(deb: Path, tmp_path: Path) -> None:
    """The checksums of the package match its files."""
    call("dpkg-deb", "-R", deb, tmp_path)
    sums = (tmp_path / "DEBIAN/md5sums").read_text()
    assert {line.split(None, 1)[1] for line in sums.splitlines()} == {
        name for name in files_below(tmp_path) if not name.startswith("DEBIAN/") and name[len("usr/") :] not in LINKS
    }
    call("md5sum", "--check", "--quiet", "DEBIAN/md5sums", cwd=tmp_path)


def test_program_is_stripped(deb: Path, tmp_path: Path) -> None:
    call("dpkg-deb", "-x", deb, tmp_path)
    sections = call("readelf", "-SW", tmp_path / "usr/bin/h2olog")
    assert ".text" in sections and ".symtab" not in sections and ".debug_info" not in sections


# --- the .rpm ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rpm(build: Path) -> Path:
    (package,) = build.glob("*.rpm")
    return package


def test_rpm_files(rpm: Path) -> None:
    """The package contains its files and its own folders only, because other packages own the others."""
    listed = call("rpm", "-qp", "--queryformat", r"[%{FILEMODES:octal} %{FILEUSERNAME} %{FILENAMES}\n]", rpm).splitlines()
    modes = {name: (int(mode, 8), user) for mode, user, name in (line.split(" ", 2) for line in listed)}
    for folder in ("/usr/share/doc/h2olog", "/usr/share/h2olog"):
        assert modes.pop(folder) == (0o040755, "root")
    assert modes == {
        f"/usr/{name}": (0o120777 if name in LINKS else 0o100755 if name in PROGRAMS else 0o100644, "root")
        for name in INSTALLED
    }  # fmt: skip


def test_rpm_needs(rpm: Path) -> None:
    """The libraries, by their sonames."""
    needed = {line.partition("(")[0] for line in call("rpm", "-qp", "--requires", rpm).split("\n")}
    assert {"libbcc.so.0", "libpcre2-8.so.0", "libseccomp.so.2", "libc.so.6"} <= needed


def test_rpm_fields(rpm: Path) -> None:
    said = call("rpm", "-qp", "--queryformat", "%{NAME} %{VERSION}-%{RELEASE} %{LICENSE}\n%{DESCRIPTION}", rpm)
    assert said.startswith(f"h2olog {VERSION}-1 MIT\nShows what a running h2o is asked")
    assert f" - {VERSION}-1" in call("rpm", "-qp", "--changelog", rpm)
    assert call("rpm", "-qp", "--licensefiles", rpm) == "/usr/share/doc/h2olog/LICENSE\n"
