//! The capabilities by name, in the order of their bits.

/// Without the `CAP_` in front; the index is the bit.
pub const CAPS: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The bit of `CAP_CHOWN`, `chown` or `CHOWN`.
pub fn cap_bit(name: &str) -> u64 {
    let plain = name.to_ascii_uppercase();
    let plain = plain.strip_prefix("CAP_").unwrap_or(&plain);
    let at = CAPS.iter().position(|c| *c == plain);
    1 << at.unwrap_or_else(|| panic!("{name} is no capability"))
}

/// The names in a set, for messages.
pub fn cap_names(set: u64) -> String {
    let names: Vec<&str> =
        CAPS.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, n)| *n).collect();
    if names.is_empty() { "none".into() } else { names.join(" ") }
}
