//! `--print`, `--check`, `--show`, receipts and help: told is what is, and nothing happens.

mod common;

use catena_tests::{StatusLog, TempDir, Tool, requires, rootfs, shell, tool};
use common::{Outside, bare, behind, is_root, rooted, tree};
use serde_json::Value;

fn overlay() -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|l| l.ends_with("overlay")) || requires::skip("needs overlayfs")
}

/// The question is asked outside of every namespace, and touches nothing.
fn ask(root: &catena_tests::TempRootfs, question: &str, args: &[&str]) -> Tool {
    let path = root.path();
    tool("rootfs-prep").args([question, "--root", path.to_str().expect("text")]).args(args)
}

#[test]
fn print_says_every_step_and_does_none() {
    let (root, outside) = (rootfs(), Outside::new());
    let before = tree(&root.path());
    let source = outside.at("folder");
    let args = [
        "--no-defaults",
        "--tmpfs",
        "/x:size=1M",
        "--bind-try",
        "/no/such",
        "/y",
        "--ro-bind",
        &source,
        "/z",
        "--dir",
        "/d",
        "--symlink",
        "to",
        "/l",
        "--mknod",
        "/dev/a:b:7:9:0640",
        "--mask",
        "/m",
        "--read-only",
        "/r",
        "--chdir",
        "/w",
        "--read-only",
        "/",
        "--cgroup",
        "/c",
    ];
    let out = ask(&root, "--print", &args).run();
    for line in [
        format!("root      {} ro", root.path().display()),
        "mount     /x tmpfs nosuid,nodev,size=1M".into(),
        "mount     /y rbind of /no/such rbind,rnosuid,rnodev (or less, where the kernel does not let it)"
            .into(),
        format!("mount     /z rbind of {source} rbind,rro,rnosuid,rnodev"),
        "mount     /c cgroups nosuid,noexec,nodev,relatime,ro".into(),
        "folder    /d".into(),
        "link      /l -> to".into(),
        "device    /dev/a b 7:9 mode 0640 0:0".into(),
        "masked    /m".into(),
        "read-only /r".into(),
        "directory /w".into(),
        "enter     by pivot_root".into(),
    ] {
        assert!(out.succeeds().stdout.lines().any(|l| l == line), "no line '{line}' in\n{}", out.stdout);
    }
    let out = ask(&root, "--print", &["--no-pivot", "--dev", "/dev"]).run();
    assert!(
        out.succeeds().stdout.contains("enter     by chroot") && out.stdout.contains("devices   null zero")
    );
    assert_eq!(tree(&root.path()), before);
    outside.is_untouched();
}

/// The layer that is printed is the layer that is carried out, and a plan like any other.
#[test]
fn print_as_json_is_the_layer_of_the_plan() {
    let root = rootfs();
    let layer = ask(&root, "--print", &["--json", "--tmpfs", "/x"]).run().json();
    let path = root.path();
    let plan =
        tool("rootfs-prep").args(["-N", "--root", path.to_str().unwrap(), "--tmpfs", "/x"]).run().json();
    assert_eq!(plan["layers"][0], layer);
    assert_eq!(layer["spec"]["mounts"].as_array().unwrap().last().unwrap()["destination"], "/x");
}

#[test]
fn a_wrong_question_is_refused_as_the_act_would_be() {
    let root = rootfs();
    for question in ["--print", "--check"] {
        ask(&root, question, &["--propagation", "rshard"]).run().refuses(125, "rshard");
        ask(&root, question, &["--tmpfs", "/proc"]).run().refuses(125, "not of type proc");
        ask(&root, question, &["--mknod", "/x:z:1:1"]).run().refuses(125, "--mknod");
    }
    tool("rootfs-prep").args(["--show", "0"]).run().refuses(125, "");
    tool("rootfs-prep").args(["--show", "999999999"]).run().refuses(125, "there is no process 999999999");
    tool("rootfs-prep").args(["--show", "x"]).run().refuses(125, "--show");
}

/// All of it for real, in a child that goes away: neither the root nor the host has a trace of it.
#[test]
fn check_proves_it_and_leaves_no_trace() {
    if !overlay() {
        return;
    }
    let (root, outside) = (rootfs(), Outside::new());
    let before = tree(&root.path());
    let source = outside.at("folder");
    let args = [
        "--tmpfs",
        "/new/place",
        "--bind",
        &source,
        "/vol",
        "--dir",
        "/vol2",
        "--mask",
        "/etc/passwd",
        "--read-only",
        "/",
    ];
    let out = ask(&root, "--check", &args).run();
    assert_eq!(out.succeeds().stdout.lines().next(), Some("this host can do it"));
    let json = ask(&root, "--check", &["--json"]).run().json();
    assert_eq!((&json["tool"], &json["check"]), (&"rootfs-prep".into(), &true.into()));
    assert_eq!(tree(&root.path()), before);
    outside.is_untouched();
    ask(&root, "--check", &["--mount", "type=nosuchfs,target=/x"]).run().refuses(125, "fsopen(nosuchfs)");
    ask(&root, "--check", &["--bind", "/no/such", "/x"]).run().refuses(125, "open_tree(/no/such)");
    tool("rootfs-prep").args(["--check", "--root", "/no/such"]).run().refuses(125, "/no/such");
    assert_eq!(tree(&root.path()), before);
}

#[test]
fn show_tells_what_is_mounted_for_a_process() {
    let root = rootfs();
    let args = [
        "--proc",
        "/proc",
        "--tmpfs",
        "/t:size=1M,noexec",
        "--ro-bind",
        "/etc",
        "/e",
        "--dev",
        "/dev",
        "--mask",
        "/etc/passwd",
        "--read-only",
        "/",
    ];
    let mut running = bare(&root, &args).command(["/probe", "sleep"]).spawn();
    assert_eq!(running.line(), "ready");
    // The command, not who waits for it.
    let pid = deepest(running.pid());
    let layer = tool("rootfs-prep").args(["--show", &pid.to_string()]).run().json();
    running.kill();
    assert_eq!(layer["tool"], "rootfs-prep");
    let spec = &layer["spec"];
    assert_eq!(spec["root"]["readonly"], true);
    let of = |at: &str| {
        let mounts = spec["mounts"].as_array().unwrap();
        mounts
            .iter()
            .find(|m| m["destination"] == at)
            .unwrap_or_else(|| panic!("no {at} in {spec:#}"))
            .clone()
    };
    assert_eq!(of("/t")["type"], "tmpfs");
    let options = of("/t")["options"].to_string();
    assert!(options.contains("size=1024k") && options.contains("noexec"), "{options}");
    assert_eq!(of("/e")["source"], "/etc");
    assert_eq!(of("/e")["options"][0], "bind");
    assert!(of("/e")["options"].to_string().contains("\"ro\""));
    if is_root() {
        assert_eq!(spec["maskedPaths"], serde_json::json!(["/etc/passwd"]));
    }
}

/// The first child's first child, to the end.
fn deepest(pid: i32) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    match children.split_whitespace().next().and_then(|c| c.parse().ok()) {
        Some(child) => deepest(child),
        None => pid,
    }
}

#[test]
fn the_receipt_says_what_the_kernel_holds() {
    let root = rootfs();
    let log = StatusLog::new();
    let args = [
        "--proc",
        "/proc",
        "--tmpfs",
        "/t:noexec,ro",
        "--ro-bind",
        "/etc",
        "/e",
        "--mask",
        "/etc/passwd",
        "--status-fd",
        "9",
    ];
    bare(&root, &args).fd(log.fd(), 9).command(["/bin/true"]).run().succeeds();
    let events = log.events();
    let receipt = events.iter().map(|e| &e["receipt"]).find(|r| r["tool"] == "rootfs-prep").unwrap();
    assert_eq!(receipt["verified"], true);
    assert_eq!(receipt["asked"]["root"]["path"], root.path().to_str().unwrap());
    assert_eq!(receipt.get("degraded").and_then(Value::as_array).map_or(0, Vec::len), 0);
    let lines: Vec<&str> =
        receipt["applied"]["mounts"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for line in
        ["/proc proc nosuid nodev noexec", "/t tmpfs ro nosuid nodev noexec", "/e bind ro nosuid nodev"]
    {
        assert!(lines.contains(&line), "{lines:#?}");
    }
    assert!(
        lines[0].starts_with("/ bind") && lines.iter().any(|l| l.starts_with("/etc/passwd bind")),
        "{lines:#?}"
    );
    let last = events.last().unwrap();
    assert_eq!(last["event"], "exec");
    // Later links and the command are told no path of the host.
    let p = bare(&root, &["--proc", "/proc"]).probe_at("/probe");
    assert!(!p.env.contains_key("CATENA_STATE"));
}

#[test]
fn both_forms_make_the_same_root() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    // The first one would make it, and the second find it there.
    root.file("t/f", "");
    let line = "rootfs-prep --root ./rootfs --tmpfs /t:size=1M --ro-bind /etc /e --mask /etc/passwd --mknod /dev/x:p";
    let run = |line: String| shell(&line).cwd(root.parent()).run().probe();
    let exec = run(format!("ns-enter -mpniuC -- {line} -- /probe"));
    let pipe = run(format!("ns-enter -mpniuC | {line} -- /probe"));
    exec.expect_like(&pipe);
}

#[test]
fn help_names_every_flag_and_version_every_feature() {
    let out = tool("rootfs-prep").arg("--help").run();
    for flag in [
        "--root",
        "--no-defaults",
        "--bind",
        "--ro-bind",
        "--dev-bind",
        "--bind-try",
        "--ro-bind-try",
        "--dev-bind-try",
        "--tmpfs",
        "--proc",
        "--sys",
        "--dev",
        "--devpts",
        "--mqueue",
        "--cgroup",
        "--mount",
        "--dir",
        "--symlink",
        "--mknod",
        "--mask",
        "--read-only",
        "--mask-default",
        "--chdir",
        "--propagation",
        "--no-pivot",
        "Examples:",
    ] {
        assert!(out.succeeds().stdout.contains(flag), "{flag}");
    }
    let version = tool("rootfs-prep").args(["--version", "--json"]).run().json();
    assert_eq!(version["tool"], "rootfs-prep");
    assert!(version["features"].as_array().unwrap().len() > 5);
}

/// Standard input, plans and fds of the command, as in every tool.
#[test]
fn stdin_and_kept_fds() {
    let (root, dir) = (rootfs(), TempDir::new());
    let input = dir.file("in", "from a file");
    let kept = std::fs::File::open(&input).unwrap();
    let out = rooted(&root, &["--keep-fd", "7"]).fd(kept, 7).command(["/bin/cat", "/dev/fd/7"]).run();
    assert_eq!(out.succeeds().stdout, "from a file");
    let list =
        behind("-m", ["--tmpfs", dir.path().to_str().unwrap()]).arg("--").args(["ls", "-A"]).arg(dir.path());
    assert_eq!(list.run().succeeds().stdout, "");
    if !requires::root() {
        return;
    }
    // As the first link, in a mount namespace that another tool made.
    let first = |line: &str| {
        let line = format!("exec unshare -mpf {line}");
        shell(&line).cwd(root.parent())
    };
    let out = first(&format!("rootfs-prep --root rootfs --stdin {} -- /bin/cat", input.display())).run();
    assert_eq!(out.succeeds().stdout, "from a file");
    let out = first("rootfs-prep -N --root rootfs -- /bin/cat").input("a pipe").run();
    assert_eq!(out.succeeds().stdout, "a pipe");
    let plan = tool("rootfs-prep").args(["--tmpfs", "/t:size=1M"]).run().succeeds().stdout.clone();
    dir.file("plan", plan);
    let line = format!("rootfs-prep --plan {} --root rootfs -- /probe", dir.join("plan").display());
    first(&line).run().refuses(125, "rootfs-prep");
}
