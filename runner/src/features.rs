//! features: what this build carries out, as the specification's features document. Only what the tools really accept
//! stands here; `tests/features.rs` asks them.

use crate::systemd;
use chain::oci::NamespaceKind;
use chain::oci::names::{
    CAPABILITIES, MEMORY_FLAGS, MEMORY_MODES, MOUNT_OPTIONS, SECCOMP_ACTIONS, SECCOMP_ARCHS, SECCOMP_FLAGS,
    SECCOMP_OPERATORS,
};
use chain::{Class, Error, Result, report};
use serde_json::{Value, json};

/// The kinds of hooks that are run.
const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// `runner features`.
pub(crate) fn print() -> Result<u8> {
    let text = serde_json::to_string_pretty(&document())
        .map_err(|e| Error::new(Class::Internal, "print the features", e))?;
    report::stdout(format!("{text}\n").as_bytes()).map(|()| 0)
}

fn document() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": crate::cli::SPEC,
        "hooks": HOOKS,
        "mountOptions": MOUNT_OPTIONS.as_slice(),
        "linux": linux(),
        "annotations": {
            "catena.version": env!("CARGO_PKG_VERSION"),
            "catena.build": chain::plan::BUILD,
        },
        "potentiallyUnsafeConfigAnnotations": [systemd::PROPERTY],
    })
}

fn linux() -> Value {
    json!({
        "namespaces": NamespaceKind::ALL.map(NamespaceKind::as_str),
        "capabilities": CAPABILITIES.as_slice(),
        "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
        "seccomp": {
            "enabled": true,
            "actions": SECCOMP_ACTIONS,
            "operators": SECCOMP_OPERATORS,
            "archs": SECCOMP_ARCHS.as_slice(),
            "knownFlags": SECCOMP_FLAGS,
            "supportedFlags": SECCOMP_FLAGS,
        },
        "apparmor": {"enabled": true},
        "selinux": {"enabled": true},
        "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
        "memoryPolicy": {"modes": MEMORY_MODES, "flags": MEMORY_FLAGS},
        "mountExtensions": {"idmap": {"enabled": true}},
        "netDevices": {"enabled": true},
    })
}
