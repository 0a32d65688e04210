# shellcheck shell=sh disable=SC2154
# Sourced by run.sh: the commands of a container's life that engines give, runner, crun and runc side by side.
# Needs $work, $state, $id, $runs, and config.json in $work/bundle, whose command ends at once.

# The runtime with its global options; words without spaces.
call() {
    case $1 in
    crun) echo "crun --root $state/crun --cgroup-manager cgroupfs" ;;
    *) echo "$1 --root $state/$1" ;;
    esac
}

runtimes='runner crun runc'
copies=100

# Every id of these rows, for the clean-up.
lifecycle_ids() {
    for runtime in $runtimes; do
        # shellcheck disable=SC2046  # words of a command line
        $(call "$runtime") list -q 2>/dev/null | while read -r left; do
            $(call "$runtime") delete --force "$left" >/dev/null 2>&1 || :
        done
    done
}

# script NAME LINE...: the same lines for each runtime, with $rt for its call, in $work/NAME.RUNTIME.
script() {
    name=$1 && shift
    for runtime in $runtimes; do
        { echo "rt='$(call "$runtime")' id=$id.$runtime" && printf '%s\n' "$@"; } >"$work/$name.$runtime"
    done
}

# measure ROW WORDS...: one run of hyperfine over all runtimes; @ in the words stands for the runtime, and a first word
# --prepare SCRIPT for what is done before each run and not measured.
measure() {
    row=$1 prepare='' && shift
    if [ "$1" = --prepare ]; then prepare=$2 && shift 2; fi
    words=$*
    set --
    for runtime in $runtimes; do
        [ -z "$prepare" ] || set -- "$@" --prepare "sh $work/$prepare.$runtime"
        set -- "$@" -n "$runtime" "$(echo "$words" | sed "s|@rt|$(call "$runtime")|g; s|@|$runtime|g")"
    done
    echo "run.sh: $row" >&2
    hyperfine -N --warmup 5 --runs "$runs" --export-json "$work/row.json" --style basic "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
    jq -r --arg row "$row" '
        def ms: . * 100000 | round / 100;
        (.results | map({key: .command, value: .median}) | from_entries) as $t
        | "| \($row) | \($t.runner | ms) | \($t.crun | ms) | \($t.runc | ms) | \($t.runner / $t.crun * 100 | round / 100) |"
    ' "$work/row.json" >>"$work/rows"
}

# Turn by turn, so that a slow moment of the machine meets them all.
measure_parallel() {
    echo "run.sh: $copies at once" >&2
    rounds=$(((runs + 39) / 40))
    for _ in $(seq "$rounds"); do
        for runtime in $runtimes; do
            # shellcheck disable=SC2046
            if ! "$work/parallel" "$copies" $(call "$runtime") run --detach --bundle "$work/sleeper" "$id.%" \
                >>"$work/parallel.$runtime" 2>"$work/log" </dev/null; then
                echo "run.sh: $runtime does not start $copies at once" >&2
                head -n 5 "$work/log" >&2
                exit 1
            fi
            # shellcheck disable=SC2046
            "$work/parallel" "$copies" $(call "$runtime") delete --force "$id.%" >/dev/null </dev/null
        done
    done
    for percent in 50 99; do
        for runtime in $runtimes; do
            sort -n "$work/parallel.$runtime" |
                awk -v p="$percent" '{ t[NR] = $1 } END { at = int((NR * p + 99) / 100); print t[at] / 1000 }'
        done | paste -sd' ' | awk -v row="$copies started at once, p$percent" \
            '{ printf "| %s | %.2f | %.2f | %.2f | %.2f |\n", row, $1, $2, $3, $1 / $2 }' >>"$work/rows"
    done
}

# Writes the rows of the table to $work/rows.
lifecycle() {
    cc -O2 -static -o "$work/parallel" "$here/parallel.c"
    mkdir -p "$work/sleeper"
    jq --arg root "$work/bundle/rootfs" '.process.args = ["/bin/sleep", "1000"] | .root.path = $root' \
        "$work/bundle/config.json" >"$work/sleeper/config.json"
    : >"$work/rows"

    # shellcheck disable=SC2016  # expanded by the scripts
    script cycle "\$rt create --bundle $work/bundle \$id && \$rt start \$id && exec \$rt delete --force \$id"
    measure 'create, start, delete' "sh $work/cycle.@"

    script up "\$rt create --bundle $work/sleeper \$id && exec \$rt start \$id"
    measure 'delete --force of a running one' --prepare up "@rt delete --force $id.@"

    if runner exec --help >/dev/null 2>&1; then
        for runtime in $runtimes; do sh "$work/up.$runtime" </dev/null >/dev/null 2>&1; done
        measure 'exec' "@rt exec $id.@ /bin/true"
        for runtime in $runtimes; do $(call "$runtime") delete --force "$id.$runtime"; done
    else
        echo 'run.sh: LEFT OUT: exec, which this runner does not have' >&2
        echo '| exec | left out: this build of runner has none | | | |' >>"$work/rows"
    fi
    measure_parallel
}
