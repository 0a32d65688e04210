#!/bin/sh
# What criu-ctl costs over calling criu by hand: dump and restore of a process with 1 GiB of touched memory, and how long
# the same process stands still for a migration. In the lane that has a criu that works; as root, from anywhere:
#
#     bench/criu.sh [PAIRS]        with the release build, or the one in $BIN
#
# Pairs take turns, ours first in every other one, and the images are in memory, so that no disk is measured. All dumps are
# of the same process, which goes on, and all restores from the same images. The first pair is to warm up, and of the others
# the fastest counts: what disturbs a run, as the memory that the machine has to find for it, only ever makes it slower.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
pairs=${1:-15}
if [ "${CATENA_LANE:-}" != trixie ]; then exec "$top/tests/lanes/in-trixie" "$here/criu.sh" "$pairs"; fi

bin=${BIN:-$top/target/x86_64-unknown-linux-gnu/release}
[ -x "$bin/criu-ctl" ] || { echo "criu.sh: no criu-ctl in $bin: scripts/build.sh, or BIN=FOLDER" >&2; exit 1; }
work=$(mktemp -d)
pid=
clean_up() {
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || :
    rm -rf "$work"
}
trap clean_up EXIT
cd "$work"

# shellcheck disable=SC2016  # perl's own variables
setsid perl -e '$m = "catena\0\0" x (1 << 27); open F, ">", "ready"; close F; sleep 1 while 1' \
    </dev/null >/dev/null 2>&1 &
pid=$!
until [ -e ready ]; do sleep 0.1; done
sleep 1

# Who started it waits for it; a restored one is nobody's child here.
ended() {
    wait "$pid" 2>/dev/null || :
    while kill -0 "$pid" 2>/dev/null; do sleep 0.001; done
}
microseconds() { echo $(($(date +%s%N) / 1000)); }
# timed NAME CMD: runs it, and writes down how long it took.
timed() {
    name=$1
    shift
    start=$(microseconds)
    "$@" >out 2>&1 </dev/null || { echo "criu.sh: $* does not run" >&2; cat out >&2; exit 1; }
    echo $(($(microseconds) - start)) >>"$name"
}
# What criu-ctl asks for too: as much of a log, cgroups left alone, a restored tree that is let go.
dump() {
    rm -rf img && mkdir -m 700 img
    case $1 in
    criu) timed dump-criu criu dump -t "$pid" -D img -v4 -o dump.log --manage-cgroups=ignore --leave-running ;;
    criu-ctl) timed dump-criu-ctl "$bin/criu-ctl" dump -t "$pid" -D img --leave-running ;;
    esac
}
restore() {
    case $1 in
    criu) timed restore-criu criu restore -D img -v4 -o restore.log --manage-cgroups=ignore -d ;;
    criu-ctl) timed restore-criu-ctl "$bin/criu-ctl" restore -D img -d ;;
    esac
}
gone() {
    kill -9 "$pid"
    ended
}
# ours_first N: who goes first takes turns, for what one leaves to the other, memory above all, is not what is measured.
ours_first() { [ $(($1 % 2)) = 0 ]; }
n=0
while [ "$n" -le "$pairs" ]; do
    [ "$n" != 1 ] || rm -f dump-*
    if ours_first "$n"; then order='criu-ctl criu'; else order='criu criu-ctl'; fi
    for who in $order; do
        dump "$who"
    done
    n=$((n + 1))
done
rm -f restore-*
# All restores are from one dump of ours, with its manifest, which is no sample.
cp dump-criu-ctl samples
dump criu-ctl
mv samples dump-criu-ctl
gone
n=0
while [ "$n" -le "$pairs" ]; do
    [ "$n" != 1 ] || rm -f restore-*
    if ours_first "$n"; then order='criu-ctl criu'; else order='criu criu-ctl'; fi
    for who in $order; do
        restore "$who"
        gone
    done
    n=$((n + 1))
done
cp restore-criu samples
restore criu
mv samples restore-criu
n=0
while [ "$n" -lt 5 ]; do
    rm -rf img
    "$bin/criu-ctl" migrate -t "$pid" -D img -d --max-rounds 0 >out 2>err </dev/null || { cat err >&2; exit 1; }
    sed 's/.*downtime \([0-9.]*\) ms$/\1/' out | awk '{ print $1 * 1000 }' >>downtime
    n=$((n + 1))
done

least() { sort -n "$1" | head -n 1; }
cat <<E
## A checkpoint

\`bench/criu.sh $pairs\`: \`criu-ctl dump\` and \`restore -d\` of a process with 1 GiB of touched memory, against \`criu\`
called by hand with as much of a log: $pairs pairs that took turns, images in memory, all dumps of the
same process and all restores from the same, criu-ctl $("$bin/criu-ctl" --version | sed -n '1s/.* //p'),
criu $(criu --version | sed -n 's/^Version: //p'), Linux $(uname -r). The fastest of each; the goal is at most 1.03 times criu.

E
echo '| 1 GiB, touched | criu-ctl, ms | criu, ms | criu-ctl / criu |'
echo '| --- | ---: | ---: | ---: |'
for what in dump restore; do
    awk -v what="$what" -v ours="$(least $what-criu-ctl)" -v theirs="$(least $what-criu)" \
        'BEGIN { printf "| %s | %.0f | %.0f | %.3f |\n", what, ours / 1000, theirs / 1000, ours / theirs }'
done
awk -v down="$(least downtime)" 'BEGIN { printf "| migrate in one round: downtime | %.0f | | |\n", down / 1000 }'
