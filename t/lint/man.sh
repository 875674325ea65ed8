#!/bin/sh
# Neither man(1) nor mandoc(1) may have anything to say about the page.
set -eu

said=$(
    LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$1" 2>&1 >/dev/null || echo "man fails"
    mandoc -T lint -W warning "$1" 2>&1 || echo "mandoc fails"
)
[ -z "$said" ] || { printf '%s\n' "$said"; exit 1; }
