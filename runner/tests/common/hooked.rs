//! A bundle whose hooks write down that they ran, and what they found.

use super::Bundle;
use serde_json::{Value, json};

/// In the specification's order.
pub const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// One line of the log.
#[derive(Debug)]
pub struct Ran {
    pub kind: String,
    pub mnt: String,
    pub pid_ns: String,
    pub cwd: String,
    pub state: Value,
}

/// A hook that is this shell line.
pub fn sh(line: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", line]})
}

/// The folder of the log is mounted on /log, so that hooks inside write to it too.
pub fn with_log(line: &str) -> Bundle {
    let bundle = Bundle::sh(line);
    std::fs::create_dir(bundle.rootfs.parent().join("log")).unwrap();
    bundle.set(
        "/mounts/-",
        json!({"destination": "/log", "type": "bind", "source": "log", "options": ["bind"]}),
    )
}

/// Adds a hook of this kind.
pub fn hook(mut bundle: Bundle, kind: &str, hook: Value) -> Bundle {
    let list = &mut bundle.config["hooks"][kind];
    match list {
        Value::Array(list) => list.push(hook),
        list => *list = json!([hook]),
    }
    bundle.write();
    bundle
}

/// A hook that writes one line into the log.
pub fn tells(bundle: &Bundle, kind: &str) -> Value {
    let dir = if kind == "startContainer" { "/log".into() } else { format!("{}/log", bundle.dir()) };
    sh(&format!(
        "echo '{kind}' $(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/pid) $(pwd) $(cat) >>{dir}/all"
    ))
}

/// A hook of each kind that writes one line into the log.
pub fn all_tell(line: &str) -> Bundle {
    let bundle = with_log(line);
    KINDS.iter().fold(bundle, |bundle, kind| {
        let told = tells(&bundle, kind);
        hook(bundle, kind, told)
    })
}

/// What ran so far.
pub fn log(bundle: &Bundle) -> Vec<Ran> {
    let text = std::fs::read_to_string(bundle.rootfs.parent().join("log/all")).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.splitn(5, ' ').map(String::from);
        let mut next = || words.next().unwrap_or_else(|| panic!("{line}"));
        let (kind, mnt, pid_ns, cwd) = (next(), next(), next(), next());
        Ran { kind, mnt, pid_ns, cwd, state: serde_json::from_str(&next()).unwrap() }
    };
    text.lines().map(line).collect()
}

/// Their kinds.
pub fn kinds(bundle: &Bundle) -> Vec<String> {
    log(bundle).into_iter().map(|ran| ran.kind).collect()
}
