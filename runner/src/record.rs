//! What is written down about a container, and what of it is believed when it is read again.

use chain::bytes::Bytes;
use chain::oci::Hooks;
use chain::rdt::Rdt;
use chain::{Class, Error, Result, proc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Component;

/// `state.json`. The first part is the OCI state.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Version of the specification.
    pub(crate) oci_version: String,
    /// Id.
    pub(crate) id: String,
    /// Pid of the first process, in the runner's pid namespace.
    pub(crate) pid: i32,
    /// The bundle's folder.
    pub(crate) bundle: Bytes,
    /// The root file system.
    pub(crate) rootfs: Bytes,
    /// When, RFC 3339.
    pub(crate) created: String,
    /// The config's annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Uid that created it.
    pub(crate) owner: u32,
    /// Start time of the first process in clock ticks since boot, proc_pid_stat(5) field 22: a pid that was given
    /// away again has another.
    pub(crate) start_time: u64,
    /// Which boot that was, where the state outlives one: after it, pids, start times and cgroups are others'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) boot: Option<String>,
    /// The cgroup's folders, one a hierarchy.
    pub(crate) cgroups: Vec<Bytes>,
    /// The scope that it is of, if systemd made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
    /// Its group of Intel RDT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rdt: Option<Rdt>,
    /// Whether it has a pid namespace of its own: then its first process takes all others with it.
    pub(crate) own_pid_namespace: bool,
    /// Its processes keep their callers' session keyrings.
    #[serde(default)]
    pub(crate) no_new_keyring: bool,
    /// It was restored, and criu has given it a time namespace of its own, whatever its config says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) restored_in_time: bool,
    /// Hooks that are still to run: poststart and poststop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hooks: Option<Hooks>,
}

impl Record {
    /// Reads the record of `id`. A text that was cut short is no JSON object, and what can be no container's is
    /// refused: the pid is to be killed one day, the cgroups emptied and removed.
    pub(crate) fn parse(text: &[u8], id: &str, doing: &str) -> Result<Record> {
        let wrong =
            |what: String| Err(Error::new(Class::Conflict, doing, format_args!("state.json: {what}")));
        // An array would do for a struct, member by member.
        if text.first().is_some_and(|first| *first != b'{') {
            return wrong("not a JSON object".into());
        }
        let mut record: Record = chain::json::parse(text, doing)?;
        if record.id != id {
            return wrong(format!("it is of {}", record.id.escape_debug()));
        }
        if record.pid < 2 {
            return wrong(format!("pid: {} is no container's", record.pid));
        }
        if let Some(path) = record.cgroups.iter().find(|path| !is_group(path)) {
            return wrong(format!("cgroups: {path} is no container's"));
        }
        // Not to know is no other boot: its cgroups would be forgotten, and stay.
        if let Some(boot) = &record.boot
            && *boot != this_boot()?
        {
            (record.pid, record.start_time) = (0, 0);
            record.cgroups.clear();
            record.rdt = None;
        }
        Ok(record)
    }
}

/// A path straight down to a group. Whether it is one, and not the root of its hierarchy, the kernel is asked when it
/// is used.
fn is_group(path: &Bytes) -> bool {
    let mut components = path.as_path().components();
    components.next() == Some(Component::RootDir)
        && components.clone().count() > 1
        && components.all(|c| matches!(c, Component::Normal(_)))
        && !path.0.contains(&0)
}

/// The kernel's name for this boot.
pub(crate) fn this_boot() -> Result<String> {
    let text = proc::read("/proc/sys/kernel/random/boot_id")?;
    Ok(String::from_utf8_lossy(&text).trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> String {
        let cgroups = vec!["/sys/fs/cgroup/memory/a".into(), "/sys/fs/cgroup/unified/a".into()];
        let record = Record { id: "a".into(), pid: 7, start_time: 9, cgroups, ..Record::default() };
        serde_json::to_string(&record).unwrap()
    }

    #[test]
    fn a_record_that_was_cut_anywhere_is_refused() {
        let text = whole();
        Record::parse(text.as_bytes(), "a", "x").unwrap();
        for end in 0..text.len() {
            assert!(Record::parse(&text.as_bytes()[..end], "a", "x").is_err(), "{}", &text[..end]);
            // What a file system may show of a block that was never written.
            let mut holes = text.clone().into_bytes();
            holes[end..].fill(0);
            assert!(Record::parse(&holes, "a", "x").is_err(), "zeroes from {end}");
        }
        assert!(Record::parse(format!("{text}{text}").as_bytes(), "a", "x").is_err());
    }

    #[test]
    fn what_can_be_no_containers_is_refused() {
        for (from, to) in [
            ("\"pid\":7", "\"pid\":1"),
            ("\"pid\":7", "\"pid\":0"),
            ("\"pid\":7", "\"pid\":-1"),
            ("\"pid\":7", "\"pid\":99999999999"),
            ("\"pid\":7", "\"pid\":\"7\""),
            ("\"id\":\"a\"", "\"id\":\"b\""),
            ("/sys/fs/cgroup/memory/a", "/"),
            ("/sys/fs/cgroup/memory/a", "sys/fs/cgroup/memory/a"),
            ("/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory/../../a"),
            ("/sys/fs/cgroup/memory/a", "/tmp"),
            ("/sys/fs/cgroup/memory/a", ""),
            ("/sys/fs/cgroup/memory/a", "/sys/a\\u0000"),
        ] {
            let text = whole().replace(from, to);
            assert_ne!(text, whole());
            assert!(Record::parse(text.as_bytes(), "a", "x").is_err(), "{text}");
        }
        assert!(Record::parse(b"[]", "a", "x").is_err());
    }

    #[test]
    fn nothing_of_another_boot_is_believed_to_be_there() {
        let text = |boot: &str| whole().replace("\"cgroups\"", &format!("\"boot\":\"{boot}\",\"cgroups\""));
        let here = Record::parse(text(&this_boot().unwrap()).as_bytes(), "a", "x").unwrap();
        assert_eq!((here.pid, here.cgroups.len()), (7, 2));
        let other = Record::parse(text("0-0").as_bytes(), "a", "x").unwrap();
        assert_eq!((other.pid, other.cgroups.len(), proc::start_time(other.pid)), (0, 0, None));
    }
}
