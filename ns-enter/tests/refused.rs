//! Command lines and layers that are wrong: one sentence, 125, and the command never runs.

use catena_tests::{Leftovers, StatusLog, TempDir, requires, shell, tool};

#[test]
fn a_command_line_that_is_wrong() {
    let leftovers = Leftovers::watch();
    for (line, text) in [
        ("", "it says no namespace"),
        ("--no-lo", "it says no namespace"),
        ("--bogus", "unknown option --bogus"),
        ("-m --bogus=1", "unknown option --bogus"),
        ("-mq", "unknown option -q"),
        ("-m stray", "stray is neither an option nor behind --"),
        ("--unshare nett", "no namespace is called 'nett'"),
        ("--unshare net,", "no namespace is called ''"),
        ("--unshare NET", "no namespace is called 'NET'"),
        ("--unshare", "--unshare"),
        ("--share net", "--unshare does not name network"),
        ("--unshare uts --share net", "--unshare does not name network"),
        ("--unshare all --share nett", "no namespace is called 'nett'"),
        ("-m --try al", "no namespace is called 'al'"),
        ("-m -m", "--mount[=<PATH>] and --mount[=<PATH>] exclude each other"),
        ("-mm", "--mount"),
        ("-n --join net=/proc/self/ns/net", "two different network namespaces"),
        ("-n --net=/proc/self/ns/net", "--net"),
        ("--unshare net --join network=/proc/self/ns/net", "two different network namespaces"),
        ("--join net=/a --join net=/b", "two different network namespaces"),
        ("-t 1 -n --join net=/proc/self/ns/net", "two different network namespaces"),
        ("-t 1 -n --unshare net", "two different network namespaces"),
        ("--join net", "--join net: not KIND=PATH"),
        ("--join net=", "the path is empty"),
        ("--join =/a", "no namespace is called ''"),
        ("--join nett=/a", "no namespace is called 'nett'"),
        ("--join pid_for_children=/a", "no namespace is called 'pid_for_children'"),
        ("-n --pid=", "the path of the pid namespace is empty"),
        ("-a", "--target"),
        ("-t 1", "-t says no namespace to join"),
        ("-t 1 --unshare net", "-t says no namespace to join"),
        ("-t 1 --net=/proc/self/ns/net", "-t says no namespace to join"),
        ("-t 0 -n", "'0' is no process"),
        ("-t -1 -n", "-1"),
        ("-t=-1 -n", "-1"),
        ("-t 99999999999 -n", "99999999999"),
        ("-t x -n", "'x'"),
        ("-t 1 -t 2 -n", "--target"),
        ("-t 999999999 -n", "pidfd_open(999999999): No such process (ESRCH)"),
        ("-t 2147483647 -a", "pidfd_open(2147483647): No such process (ESRCH)"),
        ("-u --hostname", "--hostname"),
        ("-u --status-fd 99", "fcntl(99): Bad file number (EBADF)"),
        ("-u --status-fd=-1", "-1"),
        ("-u --status-fd x", "'x'"),
        ("-u --keep-fd 99", "fcntl(99): Bad file number (EBADF)"),
        ("-u --keep-fd=-1", "-1"),
        ("-u --oci /nonexistent.json", "open(/nonexistent.json): No such file or directory (ENOENT)"),
        ("-u --plan /nonexistent.json", "/nonexistent.json"),
        ("-u --plan fd:99", "(EBADF)"),
        ("-u --new --plan x", "exclude each other"),
    ] {
        let out = tool("ns-enter").args(line.split_whitespace()).verb(["ran"]).run();
        out.refuses(125, text);
    }
    leftovers.check();
}

#[test]
fn a_forgotten_double_dash_is_told() {
    let out = tool("ns-enter").args(["-m", "sh"]).run();
    out.refuses(125, "try: ns-enter … -- sh");
}

#[test]
fn nothing_behind_the_dashes() {
    tool("ns-enter").args(["-u", "--"]).run().refuses(127, "nothing stands behind --");
    tool("ns-enter").args(["-u", "--", "cap-drop"]).run().refuses(127, "nothing stands behind cap-drop");
}

#[test]
fn the_class_is_told_to_scripts() {
    for (line, class) in [
        ("-m --bogus --status-fd 9", "usage"),
        ("--status-fd 9 --unshare nett", "usage"),
        ("--status-fd=9 -t 999999999 -n", "missing"),
        ("--status-fd=9 --join net=/nonexistent", "missing"),
        ("--status-fd=9 -n --hostname x", "usage"),
    ] {
        let log = StatusLog::new();
        tool("ns-enter").args(line.split_whitespace()).fd(log.fd(), 9).verb(["ran"]).run().refuses(125, "");
        log.expect_error(class);
        assert_eq!(log.events().len(), 1);
    }
}

/// The layer, as somebody else may have written it.
#[test]
fn a_layer_that_is_wrong() {
    for (spec, text) in [
        (r#"{"namespaces":[{"type":"net"}]}"#, "net"),
        (r#"{"namespaces":[{"type":"network","paht":"/x"}]}"#, "paht"),
        (r#"{"namespaces":[{"path":"/x"}]}"#, "type"),
        (r#"{"namespaces":{}}"#, "namespaces"),
        (r#"{"namespaces":null}"#, "namespaces"),
        (r#"{"namespace":[]}"#, "namespace"),
        (r#"{"namespaces":[{"type":"uts"},{"type":"uts"}]}"#, "namespaces[1]: uts is there twice"),
        (r#"{"namespaces":[{"type":"uts"},{"type":"uts","path":"/proc/self/ns/uts"}]}"#, "twice"),
        (r#"{"namespaces":[{"type":"uts","path":""}]}"#, "uts namespace"),
        (r#"{"namespaces":[{"type":"network","path":"fd:9"}]}"#, "fd"),
        (r#"{"hostname":"h"}"#, "no uts namespace"),
        (r#"{"namespaces":[{"type":"uts"}],"hostname":7}"#, "hostname"),
        (r#"{"timeOffsets":{"monotonic":{"secs":1}}}"#, "only a new time namespace"),
        (r#"{"timeOffsets":{"realtime":{"secs":1}}}"#, "no such clock"),
        (r#"{"timeOffsets":{"monotonic":{"seconds":1}}}"#, "seconds"),
        (r#"{"sysctl":{"vm.swappiness":"1"}}"#, "belongs to no namespace"),
        (r#"{"sysctl":{"net.ipv4.ip_forward":1}}"#, "ip_forward"),
        (r#"{"personality":{"domain":"BSD"}}"#, "'BSD' is unknown"),
        (r#"{"try":["nett"]}"#, "nett"),
        (r#"{"handOver":true}"#, "nobody waits for it"),
        (r#"{"handOver":true,"noFork":true}"#, "exclude each other"),
    ] {
        let plan =
            format!(r#"{{"catena":1,"layers":[{{"tool":"ns-enter","spec":{spec}}}],"complete":true}}"#);
        let line = tool("cap-drop").args(["--keep", "chown"]).input(plan);
        line.verb(["ran"]).run().refuses(125, text);
    }
}

#[test]
fn a_config_that_is_wrong() {
    let dir = TempDir::new();
    for (text, reason) in [
        ("", "config.json"),
        ("[]", "config.json"),
        (r#"{"ociVersion":"1.0","linux":{"namespaces":[{"type":"mnt"}]}}"#, "linux.namespaces[0].type"),
        (r#"{"ociVersion":"1.0","linux":{"namespaces":[{"type":"pid"},{"type":"pid"}]}}"#, "twice"),
        (
            r#"{"ociVersion":"1.0","linux":{"namespaces":[{"type":"pid","path":"rel"}]}}"#,
            "linux.namespaces[0].path: not an absolute path",
        ),
        (
            r#"{"ociVersion":"1.0","linux":{"netDevices":{"catena-none":{}}}}"#,
            "no network namespace is made or joined",
        ),
        (
            r#"{"ociVersion":"1.0","linux":{"netDevices":{"catena-none":{"name":"x/y"}}}}"#,
            "not a name of a network device",
        ),
        (r#"{"ociVersion":"1.0","hostname":"h"}"#, "no uts namespace"),
        (r#"{"ociVersion":"1.0","linux":{"sysctl":{"vm.swappiness":"1"}}}"#, "belongs to no namespace"),
    ] {
        dir.file("config.json", text);
        let run = tool("ns-enter").args(["--oci", "config.json"]).cwd(&dir).verb(["ran"]).run();
        run.refuses(125, reason);
    }
}

#[test]
fn out_of_order() {
    if !requires::root() {
        return;
    }
    for (line, text) in [
        ("cap-drop --all -- ns-enter -m -- $PROBE ran", "ns-enter must stand before cap-drop"),
        ("ns-enter -m -- ns-enter -u -- $PROBE ran", "ns-enter stands twice"),
        ("ns-enter -m -- idmap -r -- $PROBE ran", "idmap must stand before ns-enter"),
        ("ns-enter -m | ns-enter -u -- $PROBE ran", "ns-enter stands twice"),
        ("idmap -r -- ns-enter -n --join user=/proc/self/ns/user -- $PROBE ran", "idmap made one already"),
        ("false | ns-enter -m -- $PROBE ran", "empty"),
        ("ns-enter -m --bogus | cap-drop --all -- $PROBE ran", "cannot"),
    ] {
        let out = shell(line).run();
        assert_eq!((out.status, out.stdout.as_str()), (125, ""), "{line}: {out:?}");
        assert!(out.stderr.contains(text), "{line}: {out:?}");
    }
}

#[test]
fn a_user_namespace_from_a_chroot_is_refused_with_the_cause() {
    if !requires::root() {
        return;
    }
    let root = catena_tests::rootfs();
    let path = root.path().display().to_string();
    let line = format!(
        "cp $(command -v ns-enter) {path}/; mount --bind /proc {path}/proc; exec chroot {path} /ns-enter $WORDS -- /bin/echo ran"
    );
    for (words, call) in [("-U", "unshare(CLONE_NEWUSER)"), ("-Up", "clone3(CLONE_NEWUSER|CLONE_NEWPID)")] {
        let out = shell(&format!("exec unshare -m --propagation private bash -c '{line}'"))
            .env("WORDS", words)
            .run();
        out.refuses(125, &format!("cannot make namespaces: {call}: Operation not permitted (EPERM)"));
        assert!(
            out.stderr.contains("why: it makes no user namespace: this process is in a chroot"),
            "{out:?}"
        );
    }
}
