#!/bin/sh
# The release build: small, static, named after its commit.
set -eu
. "$(dirname "$0")/env.sh"
cd "$top"

CATENA_COMMIT=${CATENA_COMMIT:-$(commit)}
export CATENA_COMMIT
packages=
for tool in $tools; do packages="$packages -p $tool"; done
# shellcheck disable=SC2086  # one word per package
cargo build --release --locked --quiet $packages
