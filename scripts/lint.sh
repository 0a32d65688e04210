#!/bin/sh
# Style as a test: rustfmt, clippy with every warning an error, unsafe only where it may be, shell scripts.
set -eu
. "$(dirname "$0")/env.sh"
cd "$top"
failed=0
step() { printf '%s\n' "lint: $1"; }
fail() { printf '%s\n' "lint: $1" >&2; failed=1; }

step rustfmt
cargo fmt --all --check || fail 'rustfmt: run cargo fmt --all'

step clippy
cargo clippy --quiet --locked --workspace --all-targets -- -D warnings || fail clippy

step 'unsafe only in chain/src/sys'
if git grep -nE '\bunsafe[[:space:]]*(\{|fn|impl|extern|trait)' -- '*.rs' ':!chain/src/sys'; then
    fail 'unsafe outside chain/src/sys'
fi
for tool in $tools; do
    head -n 30 "$tool/src/main.rs" | grep -q '#!\[forbid(unsafe_code)\]' || fail "$tool/src/main.rs does not forbid unsafe code"
done

step 'no stubs, no swallowed results'
if git grep -nE '\b(todo|unimplemented)!\(|let _ = ' -- '*.rs'; then fail 'finish it, or say why not in an error'; fi

step 'shell scripts'
if command -v shellcheck >/dev/null; then
    # shellcheck disable=SC2046  # file names of this repository have no spaces
    shellcheck -x $(git grep -lE '^#!/bin/(ba|da)?sh|^# shellcheck shell' -- . ':!*.md') || fail shellcheck
else
    step 'SKIP: shellcheck is not installed'
fi

[ "$failed" = 0 ] && step clean
exit "$failed"
