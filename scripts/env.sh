# Sourced by the other scripts: where the project is, which cargo, which libseccomp, where binaries land.
# shellcheck shell=sh
# shellcheck disable=SC2034  # what is set here is used by who sources it

top=$(cd "$(dirname "$0")/.." && pwd)
while [ ! -f "$top/Cargo.toml" ] && [ "$top" != / ]; do top=$(dirname "$top"); done

# rustup puts cargo where no login shell of root looks.
case ":$PATH:" in
*":${HOME:-/root}/.cargo/bin:"*) ;;
*) PATH="$PATH:${HOME:-/root}/.cargo/bin" ;;
esac
export PATH

# The static libseccomp lies in the folder of the compiler's own triple; what is set already wins.
if [ -z "${LIBSECCOMP_LIB_PATH:-}" ] && multiarch=$(gcc -print-multiarch 2>/dev/null) && [ -n "$multiarch" ]; then
    LIBSECCOMP_LIB_PATH=/usr/lib/$multiarch
    export LIBSECCOMP_LIB_PATH
fi

# The same for cargo's output: .cargo/config.toml asks for the host's own triple.
triple() { printf '%s\n' "${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}"; }
built() { printf '%s\n' "${CARGO_TARGET_DIR:-$top/target}/$(triple)/$1"; }

# The links of one chain refuse each other unless they are of one build; a release is named after its commit.
commit() {
    if id=$(git -C "$top" rev-parse --short=12 HEAD 2>/dev/null); then
        [ -z "$(git -C "$top" status --porcelain --untracked-files=no 2>/dev/null)" ] || id=$id.dirty
        printf '%s\n' "$id"
    fi
}

tools='cg-apply idmap ns-enter rootfs-prep cap-drop seccomp-load criu-ctl runner'
