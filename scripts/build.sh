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
# Cargo.toml says why. Renamed over the other, for that one may be running, or be a second name of what cargo keeps.
cargo build --profile release-quick --locked --quiet -p rootfs-prep
release=$(built release)
cp "$(built release-quick)/rootfs-prep" "$release/.rootfs-prep.$$"
mv "$release/.rootfs-prep.$$" "$release/rootfs-prep"
strip -o "$release/.cg-apply.$$" "$release/cg-apply"
mv "$release/.cg-apply.$$" "$release/cg-apply"
