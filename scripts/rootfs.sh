#!/bin/sh
# rootfs.sh FOLDER: a root file system made of Debian's static busybox, a link for each of its programs.
set -eu
root=$1
busybox=$(command -v busybox || echo /bin/busybox)
mkdir -p "$root"
for folder in bin dev etc proc root run sys tmp usr var; do mkdir -p "$root/$folder"; done
[ -e "$root/sbin" ] || ln -s bin "$root/sbin"
[ -e "$root/usr/bin" ] || ln -s ../bin "$root/usr/bin"
install -m 755 "$busybox" "$root/bin/busybox"
"$busybox" --list | grep -vx busybox | while read -r name; do ln -sf busybox "$root/bin/$name"; done
chmod 1777 "$root/tmp"
echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:
nogroup:x:65534:' >"$root/etc/group"
