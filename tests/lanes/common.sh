# shellcheck shell=bash disable=SC2034
# What the lane scripts share; sourced by them.

# Caches live here, never in the checkout.
lanes=${CATENA_LANES:-/var/cache/catena-lanes}
self=${0##*/}

say() { printf '%s: %s\n' "$self" "$*" >&2; }
die() { printf '%s: cannot %s\n' "$self" "$*" >&2; exit 125; }

need_root() { [ "$(id -u)" = 0 ] || die "make the lane: only root may mount (run it as root)"; }

# need PROGRAM PACKAGE: installs the package if the program is not there.
need() {
    command -v "$1" >/dev/null && return
    say "installing $2"
    { DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$2" ||
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$2"; }
    } >&2 || die "install $2 (apt-get install $2)"
}
