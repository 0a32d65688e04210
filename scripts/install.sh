#!/bin/sh
# install.sh [--remove] ROOT: the eight tools, their pages and licences below ROOT.
set -eu
. "$(dirname "$0")/env.sh"

remove=
[ "$1" != --remove ] || { remove=yes; shift; }
root=$1
bin=$root/bin doc=$root/share/doc/catena man=$root/share/man/man1

if [ -n "$remove" ]; then
    for tool in $tools; do rm -f "$bin/$tool" "$man/$tool.1"; done
    rm -rf "$doc"
    exit 0
fi

from=$(built release)
mkdir -p "$bin" "$doc" "$man"
for tool in $tools; do
    # Beside, then over: a tool that is running right now is never written to.
    install -m 755 "$from/$tool" "$bin/.$tool.new"
    mv -f "$bin/.$tool.new" "$bin/$tool"
    install -m 644 "$top/target/man/$tool.1" "$man/$tool.1"
done
for page in "$top"/README.md "$top"/LICENSE* "$top"/docs/*; do install -m 644 "$page" "$doc/"; done
echo "installed $(echo "$tools" | wc -w) tools and their pages into $bin"
