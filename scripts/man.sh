#!/bin/sh
# man.sh [OUT_FOLDER [BIN_FOLDER]]: a page per tool, made from what its --help says, so that no page can say anything else.
set -eu
. "$(dirname "$0")/env.sh"
out=${1:-$top/target/man} bin=${2:-$(built release)}
mkdir -p "$out"
date=$(git -C "$top" log -1 --format=%cs 2>/dev/null || date -u +%Y-%m-%d)

# clap's long help: a sentence, `Usage:`, then headings in the first column, items by two spaces, their text by ten.
to_roff() {
    awk -v tool="$1" -v command="$2" -v date="$date" '
        function esc(text) {
            gsub(/\\/, "\\e", text); gsub(/-/, "\\-", text); gsub(/…/, "...", text)
            if (text ~ /^[.\x27]/) text = "\\&" text
            return text
        }
        function close_example() { if (example) { print ".EE"; example = 0 } }
        NR == 1 { about = $0 }
        NR == 1 && command == "" {
            print ".TH " toupper(tool) " 1 " date " catena"
            print ".SH NAME\n" tool " \\- " esc($0)
            next
        }
        NR == 1 { print ".SH \"" toupper(command) "\"\n" esc(about) "\n.PP"; next }
        /^Usage: / { sub(/^Usage: /, ""); print (command == "" ? ".SH SYNOPSIS" : "") "\n.B " esc($0); next }
        /^[A-Z][A-Za-z ]*:$/ {
            close_example(); heading = substr($0, 1, length($0) - 1); gap = 0
            print (command == "" ? ".SH \"" toupper(heading) "\"" : ".SS \"" heading "\"")
            if (heading ~ /^Example/) { print ".EX"; example = 1 }
            next
        }
        example && /^[^ ]/ { close_example(); print ".PP" }
        example && /^$/ { next }
        example { print esc($0); next }
        /^[[:space:]]*$/ { gap = 1; next }
        /^  (    )?[-<\[]/ { sub(/^ +/, ""); print ".TP\n.B " esc($0); gap = 0; next }
        /^          / { if (gap && said) print ".IP"; sub(/^ +/, ""); print (/^- / ? ".br\n" : "") esc($0); said = 1; gap = 0; next }
        /^  [a-z]/ { sub(/^ +/, ""); name = $1; sub(/^[a-z-]+ +/, ""); print ".TP\n.B " esc(name) "\n" esc($0); next }
        { if (gap) print ".PP"; print esc($0); gap = 0 }
        END { close_example() }
    ' | grep -v '^$'
}

for tool in $tools; do
    page=$out/$tool.1
    "$bin/$tool" --help | to_roff "$tool" '' >"$page"
    # A tool of subcommands has a section for each.
    "$bin/$tool" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' | grep -vx help | while read -r command; do
        "$bin/$tool" "$command" --help | to_roff "$tool" "$command" >>"$page"
    done
    {
        echo '.SH "SEE ALSO"'
        for other in $tools; do
            [ "$other" = "$tool" ] || printf '.BR %s (1),\n' "$(echo "$other" | sed 's/-/\\-/g')"
        done | sed '$s/,$//'
    } >>"$page"
done
