//! An ordinary user for one run: `/etc/passwd`, `/etc/subuid` and `/etc/subgid` of the test, in a mount namespace of the
//! test, so that the machine's own stay as they are.

use catena_tests::{Output, TempDir, requires, shell};

/// Its uid and gid.
pub(crate) const ID: u32 = 54_321;

/// What it is granted unless a test says otherwise.
pub(crate) const GRANTS: &str = "catena-user:300000:65536\n";

/// Can such a run be made here?
pub(crate) fn possible() -> bool {
    let files = std::path::Path::new("/etc/subuid").exists() && std::path::Path::new("/etc/subgid").exists();
    requires::root()
        && requires::command("newuidmap")
        && (files || requires::skip("needs /etc/subuid and /etc/subgid to mount over"))
}

/// Runs `line` as that user, with these lines in subuid and subgid.
pub(crate) fn run(grants: &str, line: &str) -> Output {
    let dir = TempDir::new();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    dir.file("passwd", format!("{passwd}catena-user:x:{ID}:{ID}::/:/bin/sh\n"));
    dir.file("subuid", grants);
    dir.file("subgid", grants);
    dir.file("line", line);
    let from = dir.path().display();
    let mounts = "for f in passwd subuid subgid; do mount --bind $D/$f /etc/$f || exit; done";
    let then = format!("exec setpriv --reuid {ID} --regid {ID} --clear-groups bash -c \"$(cat $D/line)\"");
    let inner = format!("D={from}; {mounts}; cd /; {then}");
    shell(&format!("exec unshare -m --propagation private bash -c '{inner}'")).run()
}
