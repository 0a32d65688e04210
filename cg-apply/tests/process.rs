//! What is done to the process itself: resource limits and the OOM score. No privilege is needed for less.

use catena_tests::{Leftovers, Probe, requires, tool};

#[test]
fn resource_limits_are_the_commands_exactly() {
    let seen = tool("cg-apply")
        .args(["--rlimit", "nofile=100:200", "--rlimit", "core=0", "--rlimit", "RLIMIT_FSIZE=4096"])
        .args(["--rlimit", "Nproc=500:500"])
        .probe();
    seen.expect_rlimit("nofile", 100, 200).expect_rlimit("core", 0, 0);
    seen.expect_rlimit("fsize", 4096, 4096).expect_rlimit("nproc", 500, 500);
    let here = Probe::here();
    for name in ["as", "stack", "memlock", "cpu", "data"] {
        assert_eq!(seen.rlimits[name], here.rlimits[name], "{name}");
    }
    assert_eq!(seen.cgroup, here.cgroup, "no cgroup is needed for it");
    let seen = tool("cg-apply").args(["--rlimit", "stack=unlimited"]).run_probe_if_allowed();
    if let Some(seen) = seen {
        assert_eq!((seen.rlimits["stack"].soft, seen.rlimits["stack"].hard), (None, None));
    }
}

trait Allowed {
    fn run_probe_if_allowed(self) -> Option<Probe>;
}

impl Allowed for catena_tests::Tool {
    /// Raising the hard limit may need a capability that is not there.
    fn run_probe_if_allowed(self) -> Option<Probe> {
        let out = self.command([catena_tests::probe_path()]).run();
        (out.status == 0).then(|| out.probe())
    }
}

#[test]
fn a_low_limit_hits_the_command_and_no_link() {
    // With no file descriptor but three, later links could open nothing.
    let run =
        tool("cg-apply").args(["--rlimit", "nofile=3"]).then("cap-drop", ["--all", "--try", "bounding"]);
    run.verb(["open", "/dev/null"]).run().fails(1, "").stdout_is("EMFILE\n");
    let run = tool("cg-apply").args(["--rlimit", "fsize=0"]).then("cap-drop", ["--all", "--try", "bounding"]);
    let out = run.verb(["ran"]).run();
    assert_eq!((out.status, out.stdout.as_str()), (0, "RAN\n"), "{out:?}");
}

trait Stdout {
    fn stdout_is(&self, text: &str);
}

impl Stdout for catena_tests::Output {
    #[track_caller]
    fn stdout_is(&self, text: &str) {
        assert_eq!(self.stdout, text, "{self:?}");
    }
}

/// `cg-apply ARGS -- COMMAND`, under `outer`, without CAP_SYS_RESOURCE.
fn weak(outer: &[&str], args: &[&str], command: &[&str]) -> catena_tests::Output {
    let held = Probe::here().caps.effective & catena_tests::cap_bit("SYS_RESOURCE") != 0;
    let drop = ["cap-drop", "-N", "--cap-drop", "sys_resource", "--", "env"];
    let drop = if held { &drop[..] } else { &[] };
    let line = [drop, &["cg-apply", "-N"], args, &["--"], command].concat();
    // Behind env, for a link does not come twice in one chain.
    tool("cg-apply").arg("-N").args(outer).command(["env"].into_iter().chain(line)).run()
}

#[test]
fn a_hard_limit_that_cannot_be_raised_is_refused() {
    let run = |more: &[&str]| {
        let args = [&["--rlimit", "nofile=50:70"][..], more].concat();
        weak(&["--rlimit", "nofile=50:60"], &args, &["bash", "-c", "ulimit -Hn"])
    };
    let out = run(&[]);
    out.refuses(125, "raise the hard limit RLIMIT_NOFILE to 70: prlimit(RLIMIT_NOFILE)");
    assert!(out.stderr.contains("why: it is 60; raising it needs CAP_SYS_RESOURCE"), "{out:?}");
    assert_eq!(run(&["--try", "rlimits"]).succeeds().stdout, "60\n");
}

#[test]
fn the_oom_score_goes_up() {
    for score in ["1000", "500"] {
        let seen = tool("cg-apply").args(["--oom-score-adj", score]).probe();
        assert_eq!(seen.oom_score_adj.map(|s| s.to_string()).as_deref(), Some(score));
        assert_eq!(seen.cgroup, Probe::here().cgroup);
    }
    let present = Probe::here().oom_score_adj.unwrap();
    let seen = tool("cg-apply").args(["--oom-score-adj", &present.to_string()]).probe();
    assert_eq!(seen.oom_score_adj, Some(present));
}

#[test]
fn the_oom_score_does_not_go_down_without_the_capability() {
    let leftovers = Leftovers::watch();
    let run =
        |more: &[&str]| weak(&[], &[&["--oom-score-adj", "-1000"][..], more].concat(), &["echo", "ran"]);
    let out = run(&[]);
    out.refuses(125, "oom_score_adj to -1000");
    assert!(out.stderr.contains("lowering it needs CAP_SYS_RESOURCE"), "{out:?}");
    assert_eq!(run(&["--try", "oomScoreAdj"]).succeeds().stdout, "ran\n");
    leftovers.check();
    if !requires::capability("SYS_RESOURCE") {
        return;
    }
    let seen = tool("cg-apply").args(["--oom-score-adj", "-1000"]).probe();
    assert_eq!(seen.oom_score_adj, Some(-1000));
}
