//! One mount of a layer as a step: what it is, what may be asked of it, and what may not be mounted there.

use crate::facts::Facts;
use crate::options::{self, Attrs, Options};
use crate::path::clean;
use crate::plan::{MountStep, Step, What};
use chain::bytes::Bytes;
use chain::mapped::IdMap;
use chain::oci::Mount;
use chain::spec::RootfsPrep;
use chain::{Class, Error, Result, given};
use std::fmt::Arguments;

/// Names of lxcfs and CRIU that may be mounted over in /proc, as all runtimes have it.
const OVER_PROC: [&[u8]; 11] = [
    b"/proc/cpuinfo",
    b"/proc/diskstats",
    b"/proc/meminfo",
    b"/proc/stat",
    b"/proc/swaps",
    b"/proc/uptime",
    b"/proc/loadavg",
    b"/proc/slabinfo",
    b"/proc/net/dev",
    b"/proc/sys/kernel/ns_last_pid",
    b"/proc/sys/crypto/fips_enabled",
];

/// Turns one mount into a step, or refuses it; `place` is its place in the layer.
pub(crate) fn step(
    mount: &Mount,
    place: usize,
    spec: &RootfsPrep,
    facts: &Facts,
    degraded: &mut Vec<String>,
) -> Result<Step> {
    let name = format_args!("mounts[{place}]");
    let at = clean(&mount.destination, format_args!("{name}.destination"))?;
    let target = || mount.source.clone().filter(|s| !s.0.is_empty());
    match mount.kind.as_deref() {
        Some("dir") => return Ok(Step::Folder(at, mode(mount, name)?)),
        Some("file") => {
            let (content, mode) = (mount.source.clone().unwrap_or_default(), mode(mount, name)?);
            return Ok(Step::File { path: at, content, mode: mode.unwrap_or(0o644) });
        }
        Some("symlink") => {
            let missing = || Error::usage("prepare the root", format_args!("{name}.source: missing"));
            return Ok(Step::Link { path: at, target: target().ok_or_else(missing)? });
        }
        _ => {}
    }
    let mut options = options::parse(&mount.options);
    let attempt = spec.attempt.iter().any(|p| clean(p, "try").is_ok_and(|p| p == at));
    let (what, map) = (what(mount, name, &mut options)?, mount.id_map(name)?);
    if matches!(what, What::Fs { .. }) {
        // It is all that is mounted there.
        options.attrs = options.tree.then(options.attrs);
        options.tree = Attrs::default();
    }
    let step = MountStep { what, at, options, attempt, map, place, opened: None };
    over_proc(&step)?;
    fits(&step, name)?;
    namespaces(step, spec, facts, degraded).map(|step| Step::Mount(Box::new(step)))
}

/// `mode=` among the options, of what is no file system.
fn mode(mount: &Mount, name: Arguments<'_>) -> Result<Option<u32>> {
    let Some(text) = mount.options.iter().rev().find_map(|o| o.strip_prefix("mode=")) else {
        return Ok(None);
    };
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    let wrong = || Error::usage("prepare the root", format_args!("{name}.options: '{text}' is no mode"));
    mode.ok_or_else(wrong).map(Some)
}

fn what(mount: &Mount, name: Arguments<'_>, options: &mut Options) -> Result<What> {
    let doing = "prepare the root";
    let source = mount.source.clone().filter(|s| !s.0.is_empty());
    let kind = mount.kind.as_deref().unwrap_or("");
    if options.remount {
        return Ok(What::Remount);
    }
    if options.bind.is_some() || kind == "bind" {
        let Some(source) = source else {
            return Err(Error::usage(doing, format_args!("{name}.source: missing")));
        };
        if !source.0.starts_with(b"/") && !given::is(&source) {
            return Err(Error::usage(doing, format_args!("{name}.source: '{source}' is not absolute")));
        }
        return Ok(What::Bind { source, recursive: options.bind.unwrap_or(false) });
    }
    match kind {
        "" | "none" => Err(Error::usage(doing, format_args!("{name}.type: missing"))),
        "cgroup" => Ok(What::Cgroups { source }),
        "data" => {
            options.data.retain(|o| !o.starts_with("mode="));
            let mode = mode(mount, name)?.unwrap_or(0o600);
            Ok(What::Data { content: mount.source.clone().unwrap_or_default(), mode })
        }
        "tmp-overlay" => {
            options.own_upper = true;
            Ok(What::Fs { kind: "overlay".into(), source })
        }
        kind => Ok(What::Fs { kind: kind.to_string(), source }),
    }
}

/// /proc is what labels and sysctls are written through, so nothing but a procfs may be there, and nothing but the
/// known names may be mounted in it (CVE-2015-3630, CVE-2019-16884, CVE-2025-52881).
fn over_proc(step: &MountStep) -> Result<()> {
    let at = &step.at;
    let doing = format_args!("mount on {at}");
    if at.0 == b"/proc" {
        let other = match &step.what {
            What::Fs { kind, .. } => (kind != "proc").then_some(kind.as_str()),
            What::Cgroups { .. } => Some("cgroup"),
            What::Data { .. } => Some("data"),
            // What a bind brings is looked at when it is opened.
            What::Bind { .. } | What::Remount => None,
        };
        return match other {
            Some(kind) => Err(Error::new(Class::Denied, doing, format_args!("'{kind}' is not of type proc"))),
            None => Ok(()),
        };
    }
    if at.0.starts_with(b"/proc/") && !OVER_PROC.contains(&at.0.as_slice()) && step.what != What::Remount {
        return Err(Error::new(Class::Denied, doing, "it is inside /proc"));
    }
    Ok(())
}

/// Options that this kind of mount has no use for.
fn fits(step: &MountStep, name: Arguments<'_>) -> Result<()> {
    let doing = format_args!("mount on {}", step.at);
    let bind = matches!(step.what, What::Bind { .. });
    let data = matches!(step.what, What::Data { .. });
    let tmpfs = matches!(&step.what, What::Fs { kind, .. } if kind == "tmpfs");
    if bind || data || step.what == What::Remount && step.options.bind.is_some() {
        options::only_for_binds(&step.options, doing)?;
    }
    if step.options.copy_up && !tmpfs {
        return Err(Error::usage(doing, format_args!("{name}.options: tmpcopyup is for tmpfs")));
    }
    let links = [(step.options.copy_link, "copy-symlink"), (step.options.source_nofollow, "src-nofollow")];
    if let (Some((_, option)), false) = (links.iter().find(|(asked, _)| *asked), bind) {
        return Err(Error::usage(doing, format_args!("{name}.options: {option} is for binds")));
    }
    match &step.map {
        // What a user namespace mounts itself has its ids already.
        Some(IdMap { maps: None, .. }) if !bind => {
            let detail = format_args!("{name}.options: idmap without uidMappings is for binds").to_string();
            Err(Error::usage(doing, detail))
        }
        Some(_) if matches!(step.what, What::Remount | What::Cgroups { .. } | What::Data { .. }) => {
            Err(Error::usage(doing, format_args!("{name}.options: idmap is for a mount that is made")))
        }
        _ => Ok(()),
    }
}

/// A procfs shows a pid namespace, a sysfs a network namespace: without new ones, a fresh mount shows the host's.
fn namespaces(
    mut step: MountStep,
    spec: &RootfsPrep,
    facts: &Facts,
    degraded: &mut Vec<String>,
) -> Result<MountStep> {
    let What::Fs { kind, .. } = &step.what else { return Ok(step) };
    let old = match kind.as_str() {
        "proc" if !facts.new_pid => "pid",
        "sysfs" if !facts.new_net => "network",
        _ => return Ok(step),
    };
    if step.attempt {
        degraded.push(format!(
            "{}: the caller's own instead of a fresh {kind}: the {old} namespace is not new",
            step.at
        ));
        step.instead_bind();
    } else if old == "pid" && spec.fresh_proc {
        let doing = format_args!("mount proc on {}", step.at);
        let detail = "the pid namespace is not a new one: it would show the host's processes";
        return Err(Error::new(Class::Order, doing, detail)
            .cure("ns-enter -mp -- rootfs-prep … -- COMMAND, or --ro-bind /proc /proc"));
    }
    Ok(step)
}

impl MountStep {
    /// For a proc or sysfs that may be done less of: what the caller has there already. All of it, for the kernel does
    /// not let a part of it be seen that is covered; a sysfs read-only, with what is mounted in it.
    pub(crate) fn instead_bind(&mut self) {
        let What::Fs { kind, .. } = &self.what else { return };
        let (source, options): (Bytes, &[&str]) = match kind.as_str() {
            "sysfs" => ("/sys".into(), &["rro", "rnosuid", "rnodev", "rnoexec"]),
            _ => ("/proc".into(), &["rnosuid", "rnodev", "rnoexec"]),
        };
        self.what = What::Bind { source, recursive: true };
        self.options = options::parse(&options.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::resolve;

    fn layer(json: serde_json::Value) -> RootfsPrep {
        serde_json::from_value(json).unwrap()
    }

    fn mounts(list: serde_json::Value) -> serde_json::Value {
        serde_json::json!({"root": {"path": "/r"}, "mounts": list})
    }

    #[test]
    fn nothing_but_proc_on_proc_and_nothing_in_it_but_the_known_names() {
        let refused = |list| resolve(&layer(mounts(list)), &Facts::ALL_NEW).unwrap_err();
        let error = refused(serde_json::json!([{"destination": "/proc", "type": "tmpfs"}]));
        assert!(error.to_string().contains("not of type proc"), "{error}");
        for inside in ["/proc/self/attr", "/proc/sys", "/proc/../proc/1", "proc//sys/kernel/x"] {
            let error = refused(serde_json::json!([{"destination": inside, "type": "bind", "source": "/x"}]));
            assert!(error.to_string().contains("inside /proc"), "{error}");
        }
        for good in ["/proc/cpuinfo", "/proc/sys/kernel/ns_last_pid", "/process"] {
            let one = mounts(serde_json::json!([{"destination": good, "source": "/x", "options": ["bind"]}]));
            resolve(&layer(one), &Facts::ALL_NEW).unwrap();
        }
    }

    #[test]
    fn proc_without_a_new_pid_namespace() {
        let old = Facts { new_pid: false, new_net: false };
        let proc = serde_json::json!([{"destination": "/proc", "type": "proc"}, {"destination": "/sys", "type": "sysfs"}]);
        let mut spec = layer(mounts(proc));
        // A config that shares the host's pid namespace means it.
        resolve(&spec, &old).unwrap();
        spec.fresh_proc = true;
        let error = resolve(&spec, &old).unwrap_err();
        assert_eq!(error.class, Class::Order);
        assert!(error.cure.unwrap().contains("ns-enter -mp"));
        spec.attempt = vec!["/proc".into(), "/sys".into()];
        let plan = resolve(&spec, &old).unwrap();
        for (step, host) in plan.steps.iter().zip(["/proc", "/sys"]) {
            let Step::Mount(step) = step else { panic!("{plan:?}") };
            assert_eq!(step.what, What::Bind { source: host.into(), recursive: true });
        }
    }
}
