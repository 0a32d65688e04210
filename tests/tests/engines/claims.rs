//! What holds for podman and Docker alike, in the words of their common command line.

use catena_tests::engines::{Engine, IMAGE};
use catena_tests::{Output, Probe, Stdin};

/// What engines leave to root in a container.
const CAPS: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// `run --rm OPTIONS IMAGE /probe`.
#[track_caller]
fn probe(engine: &impl Engine, options: &[&str]) -> Probe {
    engine.run(&[&["--rm"], options].concat(), &["/probe"]).probe()
}

/// A shell line in a container of its own; what it printed.
#[track_caller]
fn sh(engine: &impl Engine, options: &[&str], line: &str) -> String {
    let out = engine.run(&[&["--rm"], options].concat(), &["sh", "-c", line]);
    assert_eq!(out.status, 0, "{out:#?}");
    out.stdout
}

/// What a terminal showed, without the end of input that script(1) types when it has read its own.
pub(crate) fn shown(out: &Output) -> String {
    out.stdout.replace('\r', "").replace("^@", "").replace("^D\u{8}\u{8}", "")
}

/// Output, error output and status are the command's; and it is `runner` that has the container while it runs.
pub(crate) fn run_is_the_commands(engine: &impl Engine) {
    let out = engine.run(&["--rm"], &["sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!((out.status, out.stdout.as_str(), out.stderr.as_str()), (42, "out\n", "err\n"));
    let out = engine.run(&["--rm"], &["sh", "-c", "kill -TERM $$; sleep 9"]);
    assert_eq!(out.status, 0, "a first process is deaf to signals of its own: {out:#?}");
    let input = engine.words("run", &["--rm", "--interactive"], &["cat"]);
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    assert_eq!(engine.cli(&input).input("from outside\n").run().succeeds().stdout, "from outside\n");

    assert!(engine.known_to_runner().is_empty());
    let id = engine.start(&["--name=mine"], &["sleep", "99"]);
    assert_eq!(engine.known_to_runner(), [id.as_str()]);
    engine.ok(&["rm", "--force", "mine"]);
    assert!(engine.known_to_runner().is_empty());
}

/// Users look at the status, and read one line.
pub(crate) fn a_command_that_cannot_run_says_why(engine: &impl Engine) {
    let missing = engine.run(&["--rm"], &["no-such-program"]);
    missing.fails(127, "cannot run no-such-program").fails(127, "no such file or directory");
    assert!(!missing.stderr.contains("panic"), "{missing:#?}");
    let folder = engine.run(&["--rm"], &["/etc"]);
    folder.fails(126, "cannot run /etc").fails(126, "permission denied");
    assert!(engine.known_to_runner().is_empty());
}

/// The container's world is its own, and root in it has only what the engine gives.
pub(crate) fn a_plain_container_is_confined(engine: &impl Engine) {
    let p = probe(engine, &["--hostname=inside"]);
    p.expect_ns_differs(&["mount", "pid", "network", "ipc", "uts"]).expect_ns_same(&["user"]);
    p.expect_effective(&CAPS).expect_bounding(&CAPS);
    assert_eq!((p.pid, p.hostname.as_str()), (1, "inside"));
    assert_eq!(p.seccomp, Some(2), "no filter");
    assert_eq!(p.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "{:?}", p.fds);
    assert_eq!(p.env["IMAGE"], "base");
    assert_eq!(
        sh(engine, &[], "ls /proc/kcore 2>/dev/null && cat /proc/kcore | wc -c || echo 0"),
        expected_kcore()
    );
    let out = engine.run(&["--rm"], &["sh", "-c", "echo 1 > /proc/sys/kernel/panic"]);
    out.fails(1, "Read-only file system");
}

fn expected_kcore() -> &'static str {
    if std::path::Path::new("/proc/kcore").exists() { "/proc/kcore\n0\n" } else { "0\n" }
}

/// `--memory`, `--pids-limit`, `--cpu-shares`: the kernel's own numbers, on the outside.
pub(crate) fn limits_are_in_the_cgroup(engine: &impl Engine) {
    let limits = ["--name=limited", "--memory=64m", "--pids-limit=20", "--cpu-shares=300"];
    let id = engine.start(&limits, &["sleep", "99"]);
    let value = |controller: &str, file: &str| {
        let mount = catena_tests::requires::cgroup_mount(controller).unwrap_or("/sys/fs/cgroup".into());
        let at = |name: &str| mount.join(&engine.place().parent).join(name).join(file);
        let path = [at(&id), at(&format!("libpod-{id}"))].into_iter().find(|p| p.exists());
        let path = path.unwrap_or_else(|| panic!("no {file} for {id} of {controller}"));
        std::fs::read_to_string(path).unwrap().trim().to_string()
    };
    let v1 = catena_tests::requires::cgroup_mount("memory").is_some();
    let memory = if v1 { "memory.limit_in_bytes" } else { "memory.max" };
    assert_eq!(value("memory", memory), "67108864");
    assert_eq!(value("pids", "pids.max"), "20");
    if v1 {
        assert_eq!(value("cpu", "cpu.shares"), "300");
    }
    // The limit is felt: of forty at once some cannot be made.
    let out = engine
        .run(&["--rm", "--pids-limit=20"], &["sh", "-c", "for i in $(seq 40); do sleep 1 & done; wait"]);
    assert!(out.stderr.contains("can't fork"), "{out:#?}");
    engine.ok(&["rm", "--force", "limited"]);
}

/// `--read-only` and volumes: what is not to be written is not.
pub(crate) fn read_only_is(engine: &impl Engine) {
    let file = engine.place().dir.file("volume/given", "from the host\n");
    let folder = file.parent().unwrap();
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let volume = folder.display().to_string();
    let (ro, rw) = (format!("--volume={volume}:/v:ro"), format!("--volume={volume}:/v"));
    engine.run(&["--rm", "--read-only"], &["touch", "/x"]).fails(1, "Read-only file system");
    engine.run(&["--rm", &ro], &["touch", "/v/x"]).fails(1, "Read-only file system");
    assert!(!engine.place().dir.join("volume/x").exists());
    assert_eq!(
        sh(
            engine,
            &["--read-only", "--tmpfs=/t", &rw],
            "cat /v/given; echo y > /v/y; echo z > /t/z; cat /t/z"
        ),
        "from the host\nz\n"
    );
    assert_eq!(std::fs::read_to_string(engine.place().dir.join("volume/y")).unwrap(), "y\n");
    engine.ok(&["volume", "create", "kept"]);
    sh(engine, &["--volume=kept:/data"], "echo stays > /data/f");
    assert_eq!(sh(engine, &["--volume=kept:/data:ro"], "cat /data/f"), "stays\n");
    engine.ok(&["volume", "rm", "kept"]);
}

/// `--cap-drop`, `--cap-add`, `--security-opt no-new-privileges`.
pub(crate) fn capabilities_are_those_asked_for(engine: &impl Engine) {
    let p = probe(engine, &["--cap-drop=ALL", "--cap-add=NET_RAW", "--security-opt=no-new-privileges"]);
    p.expect_effective(&["NET_RAW"]).expect_permitted(&["NET_RAW"]).expect_bounding(&["NET_RAW"]);
    p.expect_no_new_privs(true);
    probe(engine, &["--cap-drop=ALL"]).expect_caps_empty();
}

/// `--privileged`: all that root has here, and the host's devices.
pub(crate) fn privileged_is_all_that_root_has(engine: &impl Engine) {
    let p = probe(engine, &["--privileged"]);
    assert_eq!(p.seccomp, Some(0), "a privileged container has no filter");
    assert_eq!(p.caps.bounding, Probe::here().caps.bounding);
    assert!(p.dev.as_ref().unwrap().contains_key("kmsg"), "{:?}", p.dev);
}

/// `--security-opt seccomp=FILE`.
pub(crate) fn the_filter_is_the_one_given(engine: &impl Engine) {
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#;
    let option =
        format!("--security-opt=seccomp={}", engine.place().dir.file("profile.json", profile).display());
    engine.run(&["--rm", &option], &["mkdir", "/x"]).fails(1, "No space left on device");
    assert_eq!(sh(engine, &["--security-opt=seccomp=unconfined"], "mkdir /x; ls -d /x"), "/x\n");
    assert_eq!(probe(engine, &["--security-opt=seccomp=unconfined"]).seccomp, Some(0));
}

/// `--user`, `--group-add`, `--workdir`, `--env`, `--init`, `--ulimit`, `--sysctl`, `--device`, `--shm-size`.
pub(crate) fn the_process_is_as_asked_for(engine: &impl Engine) {
    let p = probe(
        engine,
        &[
            "--user=1000:1000",
            "--group-add=55",
            "--workdir=/tmp",
            "--env=A=b c",
            "--ulimit=nofile=300:400",
            "--oom-score-adj=500",
        ],
    );
    assert!(p.groups.contains(&55), "{:?}", p.groups);
    p.expect_user(1000, 1000, &p.groups);
    assert_eq!((p.cwd.as_deref(), p.env["A"].as_str(), p.oom_score_adj), (Some("/tmp"), "b c", Some(500)));
    assert_eq!(p.caps.effective, 0, "an ordinary user holds none");
    assert_eq!((p.rlimits["nofile"].soft, p.rlimits["nofile"].hard), (Some(300), Some(400)));
    assert_eq!(sh(engine, &["--user=app"], "id -un; echo $HOME"), "app\n/home\n");
    let first = sh(engine, &["--init"], "cat /proc/1/cmdline | tr '\\0' ' '; echo $$");
    assert!(first.contains("init -- sh -c") && !first.ends_with("\n1\n"), "{first}");
    let line = "cat /proc/sys/kernel/msgmax; df /dev/shm | awk 'NR == 2 { print $2 }'; ls /dev/fuse";
    let host = ["--sysctl=kernel.msgmax=4096", "--shm-size=4m", "--device=/dev/fuse"];
    assert_eq!(sh(engine, &host, line), "4096\n4096\n/dev/fuse\n");
}

/// Engines tell the size of the user's terminal when the command runs already.
pub(crate) const SIZED: &str = "until [ \"$(stty size 2>/dev/null)\" = '33 91' ]; do sleep 0.02; done";

/// `run -it`: a terminal of the user's size, his line in, its lines out, and its status.
pub(crate) fn a_terminal_is_one(engine: &impl Engine) {
    let line = format!("tty; {SIZED}; stty size; read -r x; echo \"got $x\"; exit 9");
    let words = engine.words("run", &["--rm", "-it"], &["sh", "-c", &line]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut running = engine.cli_in_terminal(&words).stdin(Stdin::Pipe).spawn();
    assert_eq!(running.line(), "/dev/pts/0");
    assert_eq!(running.line(), "33 91", "the size of the user's own terminal");
    running.write("typed\n");
    let out = running.wait();
    assert!(shown(&out).contains("typed\ngot typed\n"), "{out:#?}");
    assert_eq!(out.status, 9, "{out:#?}");
}

/// `run -d`, `ps`, `logs`, `top`, `stats`, `stop`, `restart`, `kill`, `rm -f`.
pub(crate) fn a_life_in_the_background(engine: &impl Engine) {
    let line = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done";
    engine.start(&["--name=life"], &["sh", "-c", line]);
    engine.logs("life", "up");
    assert!(engine.ok(&["ps"]).contains("life"));
    assert!(engine.ok(&["top", "life"]).contains("while :"), "{}", engine.ok(&["top", "life"]));
    // Without a cgroup of its own there are none.
    if engine.has_cgroups() {
        let stats = engine.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "life"]);
        assert!(!stats.starts_with("0B") && !stats.ends_with(" 0"), "{stats}");
    }
    engine.ok(&["stop", "life"]);
    assert_eq!(engine.inspect("{{.State.Status}} {{.State.ExitCode}}", "life"), "exited 7");
    engine.logs("life", "bye");
    assert!(engine.known_to_runner().is_empty(), "a stopped container is the engine's alone");
    engine.ok(&["restart", "--time=0", "life"]);
    assert_eq!(engine.inspect("{{.State.Status}}", "life"), "running");
    engine.ok(&["restart", "--time=0", "life"]);
    engine.ok(&["kill", "life"]);
    engine.becomes("{{.State.Status}} {{.State.ExitCode}}", "life", "exited 137");
    engine.ok(&["start", "life"]);
    engine.ok(&["rm", "--force", "life"]);
    assert_eq!(engine.ok(&["ps", "--all", "--quiet"]), "");
}

/// `exec`: it joins the container, is as confined as it, and gives back its own status.
pub(crate) fn exec_joins(engine: &impl Engine) {
    engine.start(&["--name=home", "--memory=64m", "--env=HOME=/root"], &["sleep", "99"]);
    let inside = engine.cli(&["exec", "home", "/probe"]).run().probe();
    let first = engine.inspect("{{.State.Pid}}", "home");
    assert_eq!(inside.env["IMAGE"], "base");
    inside.expect_effective(&CAPS).expect_bounding(&CAPS);
    inside.expect_ns_differs(&["mount", "pid", "network", "ipc", "uts"]);
    assert_eq!((inside.seccomp, inside.fds.keys().copied().collect::<Vec<_>>()), (Some(2), vec![0, 1, 2]));
    assert!(!first.is_empty());
    let all = engine.ok(&["exec", "home", "cat", "/proc/1/cgroup", "/proc/self/cgroup"]);
    let lines: Vec<&str> = all.lines().collect();
    let (one, other) = lines.split_at(lines.len() / 2);
    assert_eq!(one, other, "the command of an exec is in the container's cgroups");
    let user =
        ["exec", "--user=1000", "--workdir=/tmp", "--env=B=c", "home", "sh", "-c", "id -u; pwd; echo $B"];
    assert_eq!(engine.ok(&user), "1000\n/tmp\nc");
    let out = engine.cli(&["exec", "home", "sh", "-c", "echo out; echo err >&2; exit 5"]).run();
    assert_eq!((out.status, out.stdout.as_str()), (5, "out\n"), "{out:#?}");
    assert_eq!(engine.cli(&["exec", "-i", "home", "cat"]).input("in\n").run().stdout, "in\n");
    let missing = engine.cli(&["exec", "home", "no-such-program"]).run();
    assert!([126, 127].contains(&missing.status), "{missing:#?}");
    let all = [&missing.stdout, &missing.stderr].map(String::as_str).concat();
    assert!(all.contains("cannot run no-such-program"), "{missing:#?}");

    let sized = format!("tty; {SIZED}; stty size; exit 3");
    let out = engine.cli_in_terminal(&["exec", "-it", "home", "sh", "-c", &sized]).run();
    assert_eq!((out.status, shown(&out).as_str()), (3, "/dev/pts/0\n33 91\n"), "{out:#?}");
    engine.ok(&["exec", "-d", "home", "sh", "-c", "echo later > /later"]);
    let later =
        engine.ok(&["exec", "home", "sh", "-c", "until [ -s /later ]; do sleep 0.05; done; cat /later"]);
    assert_eq!(later, "later");
    engine.ok(&["rm", "--force", "home"]);
}

/// `pause` stops it, `unpause` lets it go on; the counter says so.
pub(crate) fn pause_stops_the_clock(engine: &impl Engine) {
    engine.start(&["--name=clock"], &["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"]);
    engine.logs("clock", "1");
    engine.ok(&["pause", "clock"]);
    assert_eq!(engine.inspect("{{.State.Status}}", "clock"), "paused");
    let lines = || engine.ok(&["logs", "clock"]).lines().count();
    // Lines on their way when it stopped may still arrive.
    let (_, then) = (lines(), lines());
    assert_eq!(lines(), then, "it goes on while it is paused");
    engine.ok(&["unpause", "clock"]);
    engine.logs("clock", &format!("{}", then + 5));
    engine.ok(&["pause", "clock"]);
    engine.ok(&["unpause", "clock"]);
    engine.ok(&["rm", "--force", "clock"]);
}

/// `attach` is its input and output, `wait` its status.
pub(crate) fn attach_and_wait(engine: &impl Engine) {
    let line = "read -r x; echo \"heard $x\"; read -r x; exit 6";
    engine.start(&["--name=on", "--interactive"], &["sh", "-c", line]);
    let mut attached = engine.cli(&["attach", "on"]).stdin(Stdin::Pipe).spawn();
    attached.write("you\n");
    assert_eq!(attached.line(), "heard you");
    attached.write("end\n");
    // podman's own status is 0.
    let out = attached.wait();
    assert!([0, 6].contains(&out.status), "{out:#?}");
    assert_eq!(engine.ok(&["wait", "on"]), "6");
    engine.ok(&["rm", "on"]);
}

/// A first process that is killed from outside: the engine says 137, and all can be removed.
pub(crate) fn a_killed_container_is_gone(engine: &impl Engine) {
    let id = engine.start(&["--name=victim"], &["sh", "-c", "sleep 98 & sleep 99"]);
    let pid = engine.inspect("{{.State.Pid}}", "victim");
    engine.place().tool(["kill", "-KILL", &pid]).run().succeeds();
    engine.becomes("{{.State.Status}} {{.State.ExitCode}}", "victim", "exited 137");
    assert!(!engine.known_to_runner().contains(&id));
    engine.ok(&["rm", "victim"]);
}

/// `update` changes what is in force.
pub(crate) fn update_changes_the_limit(engine: &impl Engine) {
    engine.start(&["--name=grows", "--memory=64m"], &["sleep", "99"]);
    engine.ok(&["update", "--cpu-shares=400", "grows"]);
    let read = "cat /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || cat /sys/fs/cgroup/cpu.weight";
    let found = engine.ok(&["exec", "grows", "sh", "-c", read]);
    assert!(["400", "49"].contains(&found.as_str()), "{found}");
    engine.ok(&["rm", "--force", "grows"]);
    assert_eq!(engine.ok(&["images", "--quiet", IMAGE]).lines().count(), 1);
}
