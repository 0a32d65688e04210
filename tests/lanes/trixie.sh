#!/bin/bash
# Makes a root folder of Debian 13, with criu, for Debian 12's criu 3.17 does not know the vDSO of newer kernels; or
# with systemd and a kernel too, to be booted; or one of Debian 12 with the emulator that boots it, which a host that
# has a newer qemu-utils cannot install.
#
#   tests/lanes/trixie.sh [criu|systemd|emulator]            makes it once (about half a minute), says where it is
#   tests/lanes/trixie.sh [criu|systemd|emulator] --again    throws the old one away first
#   tests/lanes/in-trixie CMD...                             runs a command in the one with criu
#   tests/lanes/vm.sh CMD...                                 boots the one with systemd, and runs a command there
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/common.sh"

root=$lanes/trixie suite=trixie variant=minbase
packages=criu,iproute2,procps,busybox-static
case ${1-} in
criu) shift ;;
systemd)
    root=$lanes/systemd
    packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,criu,iproute2,kmod,procps,busybox-static
    shift
    ;;
emulator)
    # Only unpacked: vm.sh runs two of its programs with the tree's own loader and libraries.
    root=$lanes/emulator suite=bookworm variant=extract
    packages=qemu-system-x86
    shift
    ;;
esac

# shellcheck disable=SC2016  # apt fills these in, not the shell
# The mirror that this machine's own apt uses for Debian's main archive.
mirror() {
    local uris
    uris=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian')
    # Before the first `apt-get update` no Release file has told apt the labels.
    [ -n "$uris" ] || uris=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security)
    printf '%s\n' "$uris" | head -n 1
}

case ${1-} in
'' | --again) ;;
*) die "read the command line: unknown word $1" ;;
esac
need_root
mkdir -p "$lanes"
exec 9>"$lanes/.${root##*/}.lock"
flock 9

[ "${1-}" != --again ] || rm -rf --one-file-system "$root"
# A tree made with other packages is made again.
if [ "$(cat "$root/.lane-complete" 2>/dev/null)" = "$packages" ]; then
    say "$root is there already"
    exit 0
fi
need mmdebstrap mmdebstrap
from=$(mirror)
[ -n "$from" ] || die "find the mirror of Debian that apt uses (apt-get indextargets names none)"
eval "$(apt-config shell proxy Acquire::http::Proxy)"
say "making $root from $from with $packages"
rm -rf --one-file-system "$root" "$root.new"
options=(--quiet "--variant=$variant" --mode=root "--include=$packages" --aptopt='Acquire::Retries "3"')
if [ "${root##*/}" = systemd ]; then
    # Somebody with a systemd of his own. The kernel is only unpacked: installed, it would want an initrd made.
    # shellcheck disable=SC2016  # mmdebstrap fills it in
    options+=('--customize-hook=chroot "$1" useradd -m -u 1000 tester'
        '--customize-hook=export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" && cd "$1" &&
            kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/.*Depends: \(linux-image-[0-9].*\)/\1/p") &&
            apt-get -q -o APT::Sandbox::User=root download "$kernel" && dpkg-deb -x "$kernel"_*.deb . && rm "$kernel"_*.deb &&
            chroot . depmod "${kernel#linux-image-}"')
    # What a machine that lives for minutes has no use for takes half of its boot.
    # shellcheck disable=SC2016  # mmdebstrap fills it in
    options+=('--customize-hook=cd "$1/usr/lib/systemd/system-generators" && mv systemd-run-generator systemd-fstab-generator .. && rm ./* &&
            mv ../systemd-*-generator . && cd "$1/etc/systemd/system" &&
            for unit in dev-hugepages.mount run-lock.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
                ldconfig.service systemd-journal-catalog-update.service systemd-random-seed.service \
                systemd-sysctl.service systemd-tmpfiles-setup-dev-early.service systemd-tmpfiles-setup-dev.service \
                systemd-update-done.service; do ln -s /dev/null "$unit"; done')
fi
[ -z "${proxy-}" ] || options+=("--aptopt=Acquire::http::Proxy \"$proxy\"")
mmdebstrap "${options[@]}" "$suite" "$root.new" "$from" >&2 9>&- || die "make $root"
echo "$packages" >"$root.new/.lane-complete"
mv "$root.new" "$root"
say "$root is ready"
