#!/bin/sh
# Builds, tests and installs h2olog. On Debian and Ubuntu, it installs missing packages first.
set -eu
cd "$(dirname "$0")"

usage() {
    cat <<'END'
./make.sh          build h2olog: build/h2olog
./make.sh deps     install the packages for building; deps test: also those for testing
./make.sh install  build, and install to /usr/local
./make.sh package  build, and make a .deb and a .rpm: build/h2olog*
./make.sh demo     build, and trace a small server
./make.sh test     build, and run every test
./make.sh bench    build, and measure the cost of tracing
./make.sh matrix   build and test on several releases of Debian; matrix list: list the rows
END
}

say() {
    printf '%s\n' "make.sh: $*" >&2
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "this needs root; run it as root, or install sudo"
        exit 1
    fi
}

# Installs missing packages.
need() {
    if ! command -v apt-get >/dev/null; then
        say "apt is missing; install the equivalent of these Debian packages yourself: $*"
        return 0
    fi
    missing=
    for package; do
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            missing="$missing $package"
        fi
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    # The output of apt goes to stderr: a closed stdout (| head) must not interrupt it.
    # shellcheck disable=SC2086 # one word per package
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing \
        >/dev/null 2>&1; then # the package lists are old or missing
        as_root apt-get update -q >&2
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >&2
    fi
}

need_for_building() {
    need gcc libc6-dev make cmake pkg-config python3 libbpfcc-dev libpcre2-dev libseccomp-dev
}

need_for_testing() {
    need systemtap-sdt-dev libcmocka-dev python3-pytest python3-matplotlib clang clang-tidy cppcheck curl \
        jq man-db groff-base mandoc zsh fish dpkg-dev file rpm goaccess python3-jsonschema
    # libFuzzer. Up to Debian 11, the package clang has it.
    ls "$(clang -print-resource-dir 2>&1)"/lib/*/libclang_rt.fuzzer* >/dev/null 2>&1 ||
        need libclang-rt-dev
}

build() {
    cmake -S . -B build "$@" >build.log 2>&1 || { cat build.log >&2; exit 1; }
    make -C build -j"$(nproc)" >build.log 2>&1 || { cat build.log >&2; exit 1; }
    rm -f build.log
}

# Prints. Ends the demo if the reader is gone.
show() {
    # shellcheck disable=SC2059 # the first argument is the format
    printf "$@" 2>/dev/null || exit 1
}

# h2olog ends when the server ends, so only the server must be ended.
end_demo() {
    trap '' HUP INT PIPE TERM
    [ -z "$server_pid" ] || kill "$server_pid" 2>/dev/null || :
    wait
    rm -rf "$demo_folder"
}

demo() {
    server=build/t/standin/standin-2026-06
    server_pid=
    demo_folder=$(mktemp -d)
    out=$demo_folder/out attached=$demo_folder/attached
    touch "$out" "$attached"
    # A signal without a trap ends the shell without running the EXIT trap.
    trap end_demo EXIT
    trap 'exit 1' HUP INT PIPE TERM
    "$server" >"$out" &
    server_pid=$!
    while ! grep -q listening "$out"; do
        kill -0 "$server_pid" 2>/dev/null || { say "the stand-in server does not start"; exit 1; }
        sleep 0.1
    done
    url=http://$(sed -n 's/^listening on \([^ ]*\) .*/\1/p' "$out")

    show '\n$ sudo h2olog -d -p %s &\n' "$server_pid"
    as_root build/h2olog -d -p "$server_pid" 2>"$attached" &
    tracer_pid=$!
    while ! grep -q Attaching "$attached"; do
        kill -0 $tracer_pid 2>/dev/null || { cat "$attached" >&2; exit 1; }
        sleep 0.1
    done
    show '%s\n' "$(cat "$attached")"
    for path in / /status/404 /bytes/100000; do
        show "\$ curl -H 'Cookie: id=42' %s%s\n" "$url" "$path"
        curl -s -o /dev/null -H 'Cookie: id=42' "$url$path"
        sleep 0.2
    done
    kill "$server_pid" # h2olog ends with the server
    wait $tracer_pid
    server_pid=
    show '\nThat was h2olog. For your own server: sudo build/h2olog\n'
}

case ${1:-build} in
build)
    need_for_building
    build
    say "built build/h2olog"
    ;;
deps)
    need_for_building
    [ "${2:-}" != test ] || need_for_testing
    ;;
install)
    need_for_building
    build
    as_root make -C build install
    ;;
package)
    need_for_building
    need dpkg-dev file rpm
    build -DCMAKE_BUILD_TYPE=RelWithDebInfo -DH2OLOG_SANITIZE=OFF -DH2OLOG_STANDIN=OFF -DH2OLOG_TESTS=OFF
    rm -f build/h2olog*.deb build/h2olog*.rpm
    (cd build && cpack) >build.log 2>&1 || { cat build.log >&2; exit 1; }
    rm -f build.log
    say "made" build/h2olog*.deb build/h2olog*.rpm
    ;;
demo)
    need_for_building
    need systemtap-sdt-dev curl
    build -DH2OLOG_STANDIN=ON
    demo
    ;;
test)
    need_for_building
    need_for_testing
    build -DH2OLOG_TESTS=ON
    cd build
    as_root ctest -j4 --output-on-failure # most tests wait most of the time
    ;;
bench)
    need_for_building
    need systemtap-sdt-dev
    build -DH2OLOG_STANDIN=ON
    as_root /usr/bin/python3 -B t/bench/bench.py
    ;;
matrix)
    shift
    if [ "${1:-}" = list ]; then
        exec /usr/bin/python3 -B t/matrix/matrix.py list
    fi
    need debootstrap git
    case " $* " in
    "  " | *" kernel-"* | *" arm64 "*) need e2fsprogs qemu-system-x86 qemu-system-arm qemu-user-static ;;
    esac
    as_root env ${H2OLOG_MATRIX_CACHE:+"H2OLOG_MATRIX_CACHE=$H2OLOG_MATRIX_CACHE"} \
        ${H2OLOG_MIRROR:+"H2OLOG_MIRROR=$H2OLOG_MIRROR"} /usr/bin/python3 -B t/matrix/matrix.py "$@"
    ;;
help | -h | --help)
    usage
    ;;
*)
    say "there is no command '$1'; the commands are:"
    usage >&2
    exit 2
    ;;
esac
