//! By the kernel's own account (strace): once the root is open, no path leads into it but from its fd.

mod common;

use catena_tests::{TempDir, requires, rootfs};

/// The paths of one line of strace, as it quotes them.
fn quoted(line: &str) -> Vec<String> {
    line.split('"').skip(1).step_by(2).map(String::from).collect()
}

/// Everything that rootfs-prep can be asked to do in a root, and not one look-up by name from outside.
#[test]
fn no_absolute_path_inside_a_root_is_looked_up_after_the_root_is_open() {
    if !requires::root() || !requires::command("strace") {
        return;
    }
    let (root, dir) = (rootfs(), TempDir::new());
    root.file("etc/secret", "x");
    let log = dir.join("log");
    let source = dir.file("source", "x");
    let args = format!(
        "--root {} --bind {} /etc/bound --tmpfs /run/new --tmpfs /etc/copied:copyup --mask /etc/secret --read-only /etc/passwd --dir /made/deep \
         --symlink x /made/link --mknod /made/pipe:p --cgroup /sys/fs/cgroup --chdir /work --propagation rslave --read-only /",
        root.path().display(),
        source.display()
    );
    let line = format!(
        "exec strace -f -qq -s 4096 -e trace=%file,open_tree,move_mount,mount_setattr,fsconfig,fspick,pivot_root -o {} \
         ns-enter -mpniuC -- rootfs-prep {args} -- /bin/true",
        log.display()
    );
    let out = catena_tests::shell(&line).run();
    assert_eq!(out.status, 0, "{out:?}");
    let text = std::fs::read_to_string(&log).expect("strace wrote it");
    let folder = root.path().display().to_string();
    // The process that opens the root, from there on.
    let opens = |l: &&str| l.contains(&format!("openat(AT_FDCWD, \"{folder}\""));
    let first = text.lines().find(opens).unwrap_or_else(|| panic!("the root is never opened:\n{text}"));
    let who = first.split(' ').next();
    let all = text.lines().skip_while(|l| !opens(l)).filter(|l| l.split(' ').next() == who);
    let lines: Vec<&str> = all.collect();
    assert!(
        lines.len() > 50 && lines.iter().any(|l| l.contains("pivot_root(")),
        "{} lines\n{text}",
        lines.len()
    );
    assert_eq!(
        // What the kernel answers is no name that is looked up.
        lines.iter().filter(|l| l.contains(&folder) && !l.contains("readlink")).count(),
        1,
        "the root is opened by its name once"
    );
    // Before the pivot every absolute path is the host's; a path of the container has to start at an fd.
    let before = lines.iter().take_while(|l| !l.contains("pivot_root(\".\""));
    let foreign: Vec<&&str> = before
        .filter(|line| {
            let known = |path: &String| {
                !path.starts_with('/')
                    || path == &folder
                    || source.starts_with(path)
                    || ["/proc", "/proc/kcore", "/"].contains(&path.as_str())
                    || path.starts_with("/sys/fs/cgroup")
                    || path.starts_with("/proc/self/")
            };
            // The target of a link that is made is no look-up.
            !line.contains("symlinkat(") && !quoted(line).iter().all(known)
        })
        .collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
    // What starts at an fd is kept in the root by the kernel, or is one name that is not followed.
    for line in lines.iter().filter(|l| l.contains(" openat2(") && !l.contains("AT_FDCWD")) {
        let kept = line.contains("RESOLVE_IN_ROOT") || line.contains("RESOLVE_BENEATH");
        assert!(kept && line.contains("RESOLVE_NO_MAGICLINKS"), "{line}");
    }
    // A mount goes on what an fd refers to, or on one name in it, which is not followed.
    for line in lines.iter().filter(|l| l.contains(" move_mount(")) {
        let followed = line.contains("MOVE_MOUNT_T_SYMLINKS");
        assert!(!followed && quoted(line).iter().all(|path| !path.contains('/')), "{line}");
    }
    let by_name = |l: &&&str| l.contains(" openat(") && !l.contains("AT_FDCWD") && !l.contains("\".\"");
    for line in lines.iter().filter(by_name) {
        let path = quoted(line).remove(0);
        let plain = !path.contains('/') && line.contains("O_NOFOLLOW")
            || path.starts_with("self/")
            || path.is_empty();
        assert!(plain, "{line}");
    }
}
