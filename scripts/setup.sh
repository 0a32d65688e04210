#!/bin/sh
# Installs what WHAT needs on Debian, and nothing when it is there: build, demo, test, bench, lint or all.
# The only place that knows package names.
set -eu
. "$(dirname "$0")/env.sh"

build='gcc libc6-dev make git libseccomp-dev'
demo='busybox-static jq procps'
test='g++ busybox-static jq iproute2 passwd libcap2-bin strace util-linux procps uidmap runc crun bubblewrap mmdebstrap user-mode-linux'
engines='podman catatonit buildah containerd docker.io slurmctld slurmd slurm-client munge curl'
bench='busybox-static jq runc crun bubblewrap hyperfine mmdebstrap'
lint='shellcheck'

# Without what is here, tests skip aloud.
optional=
case ${1:-all} in
test | all) optional=$engines ;;
esac
case ${1:-all} in
build) wanted=$build ;;
demo) wanted="$build $demo" ;;
test) wanted="$build $test" ;;
bench) wanted="$build $bench" ;;
lint) wanted="$build $lint" ;;
all) wanted="$build $test $bench $lint" ;;
*)
    echo "setup.sh: build, demo, test, bench, lint or all, not '$1'" >&2
    exit 2
    ;;
esac

is_there() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# missing PACKAGE...: those that are not there.
missing() {
    for package; do is_there "$package" || printf ' %s' "$package"; done
}

# install PACKAGE...: none of them starts a service.
install() {
    echo "installing: $*"
    log=$(mktemp)
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] && policy=
    [ -z "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"; }
    status=0
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-remove --no-install-recommends \
        -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold install "$@"; } >"$log" 2>&1 </dev/null || status=$?
    [ -z "$policy" ] || rm -f "$policy"
    if [ "$status" != 0 ]; then
        tail -n 25 "$log" >&2
        echo "setup.sh: apt-get could not install: $*" >&2
    fi
    rm -f "$log"
    return "$status"
}

# shellcheck disable=SC2046,SC2086  # one word per package
install_missing() {
    set -- $(missing $wanted)
    [ $# = 0 ] || [ "$(id -u)" = 0 ] || { echo "setup.sh: as root, please: apt-get install $*" >&2 && exit 1; }
    [ $# = 0 ] || install "$@" || exit 1
    set -- $(missing $optional)
    if [ $# = 0 ]; then return; fi
    if [ "$(id -u)" != 0 ] || ! install "$@"; then echo "setup.sh: without $* some tests will skip" >&2; fi
}

# Cargo.toml says which Rust is the oldest that will do.
check_rust() {
    least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml")
    have=$(cargo --version 2>/dev/null | cut -d' ' -f2)
    if [ -z "$have" ]; then
        echo "setup.sh: there is no cargo: install Rust $least or newer (https://rustup.rs, or your own toolchain in PATH or ~/.cargo/bin)" >&2
        exit 1
    fi
    if [ "$(printf '%s\n%s\n' "$least" "$have" | sort -V | head -n 1)" != "$least" ]; then
        echo "setup.sh: cargo $have is too old: install Rust $least or newer (rustup update stable)" >&2
        exit 1
    fi
}

# Some tests become a user as ordinary as can be, with a range of ids of its own.
make_user() {
    awk -F: 'NR == FNR { range[$1] = 1; next } $3 >= 1000 && range[$1] { found = 1 } END { exit !found }' \
        /etc/subuid /etc/passwd 2>/dev/null && return
    [ "$(id -u)" = 0 ] || return 0
    echo 'making the user catena-tests (userdel -r catena-tests removes it)'
    useradd --create-home --shell /bin/sh catena-tests
}

if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
    install_missing
else
    echo "setup.sh: not a Debian system; what is needed, by Debian's names: $wanted" >&2
fi
check_rust
case ${1:-all} in test | all) make_user ;; esac
