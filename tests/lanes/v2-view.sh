#!/bin/bash
# Runs CMD where /sys/fs/cgroup is cgroup v2 alone, in a mount namespace of its own; the host's mounts stay as they are.
# Controllers that the host uses with v1 are not in it: freeze, kill and the device program are.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/common.sh"

if [ "${1-}" != --inside ]; then
    [ $# -gt 0 ] || die "run nothing: v2-view.sh CMD..."
    need_root
    exec unshare --mount --propagation private -- "$0" --inside "$@"
fi
shift
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
export CATENA_LANE=v2-view
exec "$@"
