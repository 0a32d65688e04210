#!/bin/sh
# All tests in every lane that this machine has; CONTRIBUTING.md says what each lane is for.
#
#   make test                      everything
#   make test LANES='native v2'    these lanes only
#   make test ONLY=cap-drop        test binaries whose name has this in it
#
# With CI=true a lane that cannot run is a failure, and so is a test that skips for a reason which .ci/may-skip does
# not have.
# shellcheck disable=SC2317  # lanes are called by name
set -u
. "$(dirname "$0")/env.sh"
cd "$top" || exit 125
bin=$(built debug)
logs=${CARGO_TARGET_DIR:-$top/target}/lanes
all='native v2 uml vm user old trixie engines fuzz budget'
LANES=${LANES:-$all}
mkdir -p "$logs" && rm -f "$logs"/*

# The tools too, for their packages have tests; what dev-dependencies ask of shared crates would build them twice.
printf 'building the tools and the tests\n'
cargo test --quiet --locked --workspace --no-run --message-format=json >"$logs/build.json" || exit 1
# Unit tests look at data alone, so once is enough for them; what runs a tool runs in every lane.
jq -r --arg only "${ONLY:-}" 'select(.reason == "compiler-artifact" and .profile.test and .executable)
    | (.manifest_path | rtrimstr("/Cargo.toml")) as $folder
    | [($folder | split("/") | last) + "/" + .target.name, .executable, $folder, .target.kind[0]]
    | select(.[0] | contains($only)) | @tsv' "$logs/build.json" | sort >"$logs/found"
# The engines have a lane of their own: they need a kernel and root, as native has them, and take their time.
grep '^tests/engines	' "$logs/found" | cut -f1-3 >"$logs/engines" || :
grep -v '^tests/engines	' "$logs/found" | cut -f1-3 >"$logs/everything" || :
awk -F'\t' '$4 == "test" && $1 != "tests/engines"' "$logs/found" | cut -f1-3 >"$logs/integration"
grep -E '^(criu-ctl|runner|tests)/' "$logs/integration" | grep -iE '^criu-ctl/|criu|checkpoint' >"$logs/criu" || :

# An emulated machine is slower still: what needs systemd, or a kernel that tells which pages were written to and whose
# sockets criu knows.
grep -E '/systemd	|/migrate_tracked	|/checkpoint_tracked	|/(criu|checkpoint)_tcp	' "$logs/integration" >"$logs/vm-tests" || :

# The other view of cgroups: what makes or looks at one.
grep -E '^(cg-apply|runner|tests)/|^rootfs-prep/(cgroups|hostile|oci|paths|questions)	|^ns-enter/(ask|join)	' \
    "$logs/integration" | grep -v '^tests/faults	' >"$logs/v2-tests" || :

# An older kernel: what opens, mounts, closes or runs something. What a command line or a config says, a signal or a
# resource does is the same there.
grep -vE '^(cg-apply|cap-drop)/|^tests/(order|signals|harness|status|stdin|plan_refused|dependencies|schema|cves|faults)	' \
    "$logs/integration" |
    grep -vE '^runner/(bad_input|flags|ends|races|killed|hooks_fail|durable|foreground|update|events|oom|rdt)	' \
        >"$logs/old-tests" || :

# User-mode Linux is another kernel with pure cgroup v2: what has to do with cgroups, mounts and namespaces. It is slow,
# too slow for recipes with a clock in them, for terminals, and for what is made of words alone: spellings, refusals, what
# is handed on, hooks.
grep -E '^(cg-apply|ns-enter|rootfs-prep|runner|tests)/' "$logs/integration" | grep -vE '^tests/(recipes|plan_refused|dependencies|schema|cves|faults|forms|harness|order|signals|stdin|status)	|^ns-enter/tty	|^runner/(bad_input|features|flags|durable|hooks|hooks_fail|terminal|exec_refused|exec_parity|parity|seccomp_agent)	|/rdt	' >"$logs/uml-tests" || :

# What may be skipped in a lane, by .ci/may-skip: `LANE: part of the reason`.
may_skip() { sed -n "s/^\(all\|$1\): //p" "$top/.ci/may-skip" 2>/dev/null | paste -sd';'; }

as_root() { [ "$(id -u)" = 0 ] || { echo "only root can make this lane"; return 1; }; }

# Each lane_X runs its tests; can_X says why it cannot be had, and fails, where it cannot.
can_native() { :; }
lane_native() {
    scripts/run-tests.sh "$logs/everything" && cargo test --quiet --locked --workspace --doc
}

can_v2() { as_root && { grep -q cgroup2 /proc/filesystems || { echo "this kernel has no cgroup v2"; return 1; }; }; }
lane_v2() { tests/lanes/v2-view.sh scripts/run-tests.sh "$logs/v2-tests"; }

can_uml() { as_root && { [ "$(uname -m)" = x86_64 ] || { echo "user-mode Linux is packaged for x86_64 only"; return 1; }; }; }
# A guest has one processor: two of them, each with every other test binary, take half the time.
lane_uml() {
    awk 'NR % 2' "$logs/uml-tests" >"$logs/uml-tests.odd"
    awk 'NR % 2 == 0' "$logs/uml-tests" >"$logs/uml-tests.even"
    tests/lanes/uml.sh --timeout 1200 scripts/run-tests.sh "$logs/uml-tests.odd" >"$logs/uml-odd" 2>&1 &
    tests/lanes/uml.sh --timeout 1200 scripts/run-tests.sh "$logs/uml-tests.even"
    even=$?
    wait $!
    odd=$?
    cat "$logs/uml-odd"
    [ "$even" = 0 ] || return "$even"
    return "$odd"
}

can_vm() { as_root && { [ "$(uname -m)" = x86_64 ] || { echo "the virtual machine is for x86_64"; return 1; }; }; }
lane_vm() {
    tests/lanes/trixie.sh systemd && tests/lanes/trixie.sh emulator &&
        tests/lanes/vm.sh scripts/run-tests.sh "$logs/vm-tests"
}

can_trixie() { as_root; }
# Containers once more where cgroup v2 is all there is.
lane_trixie() {
    grep '^runner/checkpoint_' "$logs/criu" >"$logs/criu-v2" || :
    tests/lanes/trixie.sh && tests/lanes/in-trixie scripts/run-tests.sh "$logs/criu" &&
        tests/lanes/v2-view.sh tests/lanes/in-trixie scripts/run-tests.sh "$logs/criu-v2"
}

can_engines() { as_root; }
# podman checkpoints with the criu of that tree.
lane_engines() { tests/lanes/trixie.sh && scripts/run-tests.sh "$logs/engines"; }

can_user() { as_root && { [ -n "$(ordinary_user)" ] || { echo "no ordinary user with a range in /etc/subuid"; return 1; }; }; }
ordinary_user() {
    awk -F: 'NR == FNR { range[$1] = 1; next } $3 >= 1000 && range[$1] { print $1; exit }' /etc/subuid /etc/passwd
}
lane_user() {
    name=$(ordinary_user)
    # In a session of the user's own making, as after a login: no group, no variable of root's.
    setpriv --reuid "$name" --regid "$name" --init-groups --inh-caps=-all --reset-env \
        env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin CI="${CI:-}" CATENA_REQUIRE="${CATENA_REQUIRE:-}" CATENA_MAY_SKIP="$CATENA_MAY_SKIP" CATENA_LANE=user \
        scripts/run-tests.sh "$logs/integration"
}

# A filter that answers ENOSYS is, to a program, a kernel that is older than the call: here one like Linux 5.4.
can_old() { as_root; }
lane_old() {
    CATENA_LANE=old "$bin/seccomp-load" -N --allow-new-privileges \
        -s openat2:ENOSYS,mount_setattr:ENOSYS,open_tree_attr:ENOSYS,listmount:ENOSYS,close_range:ENOSYS,faccessat2:ENOSYS -- \
        scripts/run-tests.sh "$logs/old-tests"
}

# A short look for what a change has broken; the targets are built in the quickest way.
can_fuzz() { :; }
lane_fuzz() { quickly scripts/fuzz.sh 5; }
quickly() { CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=false "$@"; }

can_budget() { :; }
lane_budget() { scripts/build.sh && scripts/budget.sh; }

# What the last two lanes build takes minutes: it is built beside the emulated machine, which has one processor, and the lanes
# behind that, in time that nobody else wants. What fails shows when the lane builds it again.
build_ahead() {
    for late in $LANES; do
        case $late in
        fuzz) quickly chrt --idle 0 scripts/fuzz.sh build ;;
        budget) chrt --idle 0 scripts/build.sh ;;
        esac
    done
}
ahead=

# passed, failed, skipped, from libtest's own words and ours.
count() {
    awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
        /^SKIPPED / { split($0, w, ": "); if (!seen[w[1] ": " w[2]]++) { skipped++; passed-- } }
        /^FAILED / { crashed++ }
        END { print passed + 0, (failed ? failed : crashed + 0), skipped + 0 }' "$1"
}

table=$logs/table
bad=0
for lane in $LANES; do
    case " $all " in *" $lane "*) ;; *) echo "test.sh: there is no lane $lane; there are: $all" >&2; exit 2 ;; esac
    log=$logs/$lane.log
    if ! why=$("can_$lane"); then
        printf '%s\t-\t-\t-\t-\tnot run: %s\n' "$lane" "$why" >>"$table"
        [ "${CI:-}" != true ] || bad=1
        continue
    fi
    printf 'lane %s ... ' "$lane"
    CATENA_MAY_SKIP=$(may_skip "$lane")
    export CATENA_MAY_SKIP
    [ "${CI:-}" != true ] || export CATENA_REQUIRE=all
    start=$(date +%s)
    case $lane in
    vm)
        build_ahead >"$logs/ahead.log" 2>&1 &
        ahead=$!
        ;;
    fuzz | budget) [ -z "$ahead" ] || wait "$ahead" || : ;;
    esac
    "lane_$lane" >"$log" 2>&1
    status=$?
    seconds=$(($(date +%s) - start))
    # shellcheck disable=SC2046  # three numbers
    set -- $(count "$log")
    note=
    if [ "$status" = 125 ] || { [ "$status" != 0 ] && [ "$2" = 0 ]; }; then note="ended with status $status"; fi
    if [ "$1" -le 0 ] && [ "$3" = 0 ]; then note="${note:-no test ran}"; fi
    if [ "$status" != 0 ] || [ "$2" != 0 ] || [ -n "$note" ]; then
        bad=1
        [ "$2" != 0 ] || set -- "$1" 1 "$3"
        printf 'FAILED (the whole of it: %s)\n' "$log"
        grep -nE '^(FAILED |left behind: |test .* FAILED|---- )|panicked at|^=== ' "$log" | head -n 60
        tail -n 40 "$log"
    else
        printf 'ok, %s s\n' "$seconds"
    fi
    printf '%s\t%s\t%s\t%s\t%s s\t%s\n' "$lane" "$1" "$2" "$3" "$seconds" "$note" >>"$table"
done

printf '\n%-10s %7s %7s %8s %8s\n' lane passed failed skipped time
while IFS='	' read -r lane passed failed skipped seconds note; do
    printf '%-10s %7s %7s %8s %8s  %s\n' "$lane" "$passed" "$failed" "$skipped" "$seconds" "$note"
done <"$table"

for lane in $LANES; do
    [ -f "$logs/$lane.log" ] || continue
    sed -n 's/^SKIPPED [^:]*: [^:]*: //p; s/^test .* ignored, *//p' "$logs/$lane.log" | sort | uniq -c | sort -rn | sed "s/^ *\([0-9]*\) /  \1 in $lane: /"
done >"$logs/skipped"
if [ -s "$logs/skipped" ]; then
    printf '\nskipped, and why:\n'
    cat "$logs/skipped"
fi
printf '\n'
awk -F'\t' '{ p += $2; f += $3; s += $4 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s }' "$table" | tee "$logs/summary"
exit "$bad"
