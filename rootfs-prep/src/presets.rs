//! Presets: a root that many sandboxes start from, as the flags that one would type.

use crate::cli::Op;
use chain::{Cannot, Error, Result};
use std::ffi::OsString;
use std::path::Path;

/// Their names.
pub(crate) const NAMES: [&str; 3] = ["minimal", "host-ro", "build"];

/// Links of a host whose programs are all below /usr, folders of another one.
const SYSTEM: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What programs that compile and fetch look up in /etc; none of it is secret.
const ETC: [&str; 17] = [
    "alternatives",
    "ca-certificates",
    "group",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "passwd",
    "pki",
    "protocols",
    "resolv.conf",
    "services",
    "ssl",
];

/// The flags that `name` stands for, here.
pub(crate) fn ops(name: &str) -> Result<Vec<Op>> {
    let mut ops = Vec::new();
    let mut add = |flag: &'static str, values: &[&str]| {
        ops.push(Op { flag, values: values.iter().map(OsString::from).collect() })
    };
    match name {
        "minimal" => {
            add("tmpfs", &["/"]);
            links(&mut add);
        }
        "host-ro" => {
            add("ro-bind", &["/", "/"]);
            add("tmpfs", &["/run:mode=755"]);
            // Where resolv.conf leads on many hosts.
            if Path::new("/run/systemd/resolve").is_dir() {
                add("ro-bind", &["/run/systemd/resolve", "/run/systemd/resolve"]);
            }
        }
        "build" => {
            add("tmpfs", &["/"]);
            add("ro-bind", &["/usr", "/usr"]);
            links(&mut add);
            for folder in SYSTEM.map(|name| format!("/{name}")).iter().filter(|f| is_folder(f)) {
                add("ro-bind", &[folder, folder]);
            }
            for file in ETC.map(|name| format!("/etc/{name}")) {
                add("ro-bind-try", &[&file, &file]);
            }
        }
        _ => {
            let detail = format!("--preset {name}: it is none of {}", NAMES.join(", "));
            return Err(Error::usage("read the command line", detail));
        }
    }
    add("proc", &["/proc"]);
    add("dev", &["/dev"]);
    add("tmpfs", &["/tmp:mode=1777"]);
    if name == "build" {
        let here = std::env::current_dir().cannot("find the working directory", "getcwd")?;
        let here = here.to_str().filter(|here| *here != "/").ok_or_else(|| {
            Error::usage(
                "read the command line",
                "--preset build: it is for a folder that is built in, and this is /",
            )
        })?;
        add("bind", &[here, here]);
    }
    Ok(ops)
}

fn is_folder(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir())
}

fn links(add: &mut impl FnMut(&'static str, &[&str])) {
    for name in SYSTEM {
        let at = format!("/{name}");
        if let Some(target) = std::fs::read_link(&at).ok().as_deref().and_then(Path::to_str) {
            add("symlink", &[target, &at]);
        }
    }
}

/// As one would type it.
pub(crate) fn line(ops: &[Op]) -> String {
    let word = |value: &OsString| match value.to_string_lossy() {
        text if text.contains(|c: char| !c.is_ascii_alphanumeric() && !"/._-:=+,".contains(c)) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        text => text.into_owned(),
    };
    let flags = ops
        .iter()
        .map(|op| format!("--{} {}", op.flag, op.values.iter().map(word).collect::<Vec<_>>().join(" ")));
    flags.collect::<Vec<_>>().join(" ")
}
