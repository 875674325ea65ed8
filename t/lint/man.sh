#!/bin/sh
# man(1) and mandoc(1) must have no warnings about a page.
set -eu

said=$(
    for page; do
        LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null || echo "man fails"
        mandoc -T lint -W warning "$page" 2>&1 || echo "mandoc fails"
    done
)
[ -z "$said" ] || { printf '%s\n' "$said"; exit 1; }
