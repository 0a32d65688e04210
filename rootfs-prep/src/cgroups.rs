//! The cgroup file systems inside a container, of whichever version the host has, laid out as runc has them.

use crate::mount::{one, wish};
use crate::options::{self, Attrs, Options};
use crate::path::join;
use crate::place::Place;
use crate::plan::{MountStep, What};
use crate::{devices, facts};
use chain::bytes::Bytes;
use chain::cgroup::{Hierarchies, Hierarchy, Version};
use chain::proc::mounts;
use chain::{Class, Error, Result};
use nix::errno::Errno;
use rustix::fs::statfs;
use std::path::Path;

/// CGROUP2_SUPER_MAGIC of linux/magic.h.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// Where every host has them.
const HOST: &str = "/sys/fs/cgroup";

/// Mounts what the host has.
pub(crate) fn mount(place: &mut Place, step: &MountStep, source: Option<&Bytes>) -> Result<()> {
    let v2 = statfs(HOST).is_ok_and(|s| s.f_type == CGROUP2_MAGIC);
    if v2 { unified(place, step, source) } else { hierarchies(place, step) }
}

/// One cgroup2. Its options belong to the one hierarchy of the system, and a mount in the first cgroup namespace sets
/// them anew: they are passed on as they are.
fn unified(place: &mut Place, step: &MountStep, source: Option<&Bytes>) -> Result<()> {
    let source = source.cloned().or(Some("cgroup".into()));
    let mut fresh = MountStep { what: What::Fs { kind: "cgroup2".into(), source }, ..step.clone() };
    if !facts::new_cgroup_namespace() {
        let there = mounts()?.into_iter().find(|m| m.kind == "cgroup2");
        let kept = there.into_iter().flat_map(|m| m.super_options).filter(|o| o != "rw" && o != "ro");
        fresh.options.data.extend(kept);
    }
    match one(place, fresh) {
        // Where the cgroup namespace is not this user namespace's: what can be seen already.
        Err(e) if matches!(e.errno(), Some(Errno::EPERM | Errno::EBUSY)) => {
            let what = What::Bind { source: HOST.into(), recursive: true };
            let options = Options { data: Vec::new(), flags: Vec::new(), ..step.options.clone() };
            one(place, MountStep { what, options, ..step.clone() })
        }
        other => other,
    }
}

/// A tmpfs, writable as runc's whatever is asked of the hierarchies, with each v1 hierarchy in it: as it is seen from a cgroup namespace, or bound from the caller's own group.
fn hierarchies(place: &mut Place, step: &MountStep) -> Result<()> {
    let found = Hierarchies::detect()?;
    let v1: Vec<&Hierarchy> = found.all.iter().filter(|h| h.version == Version::V1).collect();
    if v1.is_empty() {
        return Err(Error::new(Class::Unsupported, wish(step), "no cgroup file system is mounted here"));
    }
    let words = |list: &[&str]| options::parse(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
    let base = Options {
        propagation: step.options.propagation.clone(),
        ..words(&["nosuid", "nodev", "noexec", "mode=755"])
    };
    let tmpfs = What::Fs { kind: "tmpfs".into(), source: Some("tmpfs".into()) };
    one(place, MountStep { what: tmpfs, options: base, attempt: false, ..step.clone() })?;
    let own_namespace = facts::new_cgroup_namespace();
    for hierarchy in v1 {
        let name = Path::new(hierarchy.mount.as_os_str())
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let at = join(&step.at, &name);
        let one_step =
            if own_namespace { fresh(hierarchy, at, step) } else { own_group(hierarchy, at, step)? };
        one(place, one_step)?;
        if hierarchy.controllers.len() > 1 {
            // The folder may have the name of one of them, and a named hierarchy has no controller by its name.
            for controller in hierarchy.controllers.iter().filter(|c| **c != name && !c.contains('=')) {
                devices::link(place, &join(&step.at, controller), &Bytes::from(name.as_str()))?;
            }
        }
    }
    Ok(())
}

fn fresh(hierarchy: &Hierarchy, at: Bytes, step: &MountStep) -> MountStep {
    let named = hierarchy.controllers.iter().find_map(|c| c.strip_prefix("name="));
    let source = Bytes::from(named.unwrap_or("cgroup"));
    let set = step.options.attrs.set
        | chain::sys::mount::attr::NOSUID
        | chain::sys::mount::attr::NODEV
        | chain::sys::mount::attr::NOEXEC;
    // The superblock is the host's, so it is not made read-only: only the mount is.
    let options = Options {
        attrs: Attrs { set, ..Attrs::default() },
        data: hierarchy.controllers.clone(),
        ..Options::default()
    };
    let what = What::Fs { kind: "cgroup".into(), source: Some(source) };
    MountStep { at, what, options, attempt: false, ..step.clone() }
}

fn own_group(hierarchy: &Hierarchy, at: Bytes, step: &MountStep) -> Result<MountStep> {
    let Some(own) = hierarchy.own_dir() else {
        let detail = format_args!("{} does not show the caller's own group", hierarchy.mount).to_string();
        return Err(Error::new(Class::Unsupported, wish(step), detail).cure("ns-enter -C"));
    };
    let options = Options { data: Vec::new(), flags: Vec::new(), ..step.options.clone() };
    let what = What::Bind { source: own.path, recursive: true };
    Ok(MountStep { at, what, options, attempt: false, ..step.clone() })
}
