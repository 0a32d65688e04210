//! What a start costs: nothing is read that no link needs.

use catena_tests::{TempDir, bin_dir, requires, shell};

const TOOLS: [&str; 8] =
    ["cg-apply", "idmap", "ns-enter", "rootfs-prep", "cap-drop", "seccomp-load", "criu-ctl", "runner"];

#[test]
fn a_start_opens_no_file() {
    if !requires::command("strace") {
        return;
    }
    let dir = TempDir::new();
    for tool in TOOLS {
        assert!(bin_dir().join(tool).is_file(), "{tool} is not built");
        let line = format!("strace -f -qq -e trace=open,openat,openat2 -o calls {tool} --version");
        shell(&line).cwd(&dir).run().succeeds();
        let calls = std::fs::read_to_string(dir.join("calls")).unwrap();
        assert_eq!(calls, "", "{tool}");
    }
}
