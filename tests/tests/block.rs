//! `--block-fd`: with all set up, the command waits for somebody outside, and does not run if he goes away.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{StatusLog, TempDir, requires, shell};
use std::time::Duration;

const CHAINS: [&str; 3] = [
    "cap-drop -N --block-fd 7 --all -- $C",
    "cap-drop -N --block-fd 7 --all -- seccomp-load @default -- $C",
    "cap-drop -N --all </dev/null | seccomp-load --block-fd 7 @default -- $C",
];

#[test]
fn a_byte_lets_it_run_and_the_end_does_not() {
    if !requires::capability("SETPCAP") {
        return;
    }
    for chain in CHAINS {
        let dir = TempDir::new();
        let line = |last: &str| {
            format!(
                "C='touch ran'; mkfifo f; {chain} 7<f & exec 3>f; sleep 0.1; ls; {last}; exec 3>&-; wait $!"
            )
        };
        let out = shell(&line("true")).cwd(&dir).run();
        out.fails(125, "cannot wait on fd 7 before the command runs: it ended without a byte");
        assert!(!dir.join("ran").exists(), "{chain}");
        std::fs::remove_file(dir.join("f")).unwrap();
        let out = shell(&line("echo >&3")).cwd(&dir).run();
        // It was listed while the command had not run.
        assert_eq!((out.status, out.stdout.as_str()), (0, "f\n"), "{chain}: {out:?}");
        assert!(dir.join("ran").exists(), "{chain}");
    }
}

#[test]
fn the_command_does_not_have_it() {
    if !requires::capability("SETPCAP") {
        return;
    }
    for chain in CHAINS {
        shell(&format!("C=$PROBE; echo | {{ exec 7<&0 </dev/null; {chain}; }}"))
            .run()
            .probe()
            .expect_only_std_fds();
    }
}

/// What a script that sets up a network from outside does: it learns the pid, works on the namespaces, and says go.
#[test]
fn whoever_lets_it_run_knows_its_pid() {
    if !requires::root() {
        return;
    }
    let log = StatusLog::new();
    let line = "{ until grep -q . go; do sleep 0.01; done; cat go; } | { exec 7<&0 </dev/null; \
        ns-enter -N -nup --block-fd 7 --status-fd 9 -- sh -c 'uname -n'; }";
    let dir = TempDir::new();
    dir.file("go", "");
    let running = shell(line).cwd(&dir).fd(log.fd(), 9).spawn();
    let child = (0..2000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        let done = !log.of("receipt").is_empty();
        log.of("child").first().filter(|_| done).map(|event| event["pid"].as_i64().unwrap())
    });
    let child = child.expect("the pid is told");
    shell(&format!("nsenter -u -t {child} hostname set-from-outside")).run().succeeds();
    dir.file("go", "x");
    assert_eq!(running.wait().succeeds().stdout, "set-from-outside\n");
}

#[test]
fn where_nobody_waits_it_is_refused() {
    shell("cap-drop -N --block-fd 0 --all")
        .run()
        .refuses(125, "--block-fd belongs to the stage with the command");
    if requires::root() {
        shell("cap-drop -N --block-fd 77 --all -- true")
            .run()
            .refuses(125, "fcntl(77): Bad file number (EBADF)");
    }
    shell("runner --block-fd 0 run -b /nowhere x").run().fails(1, "");
}
