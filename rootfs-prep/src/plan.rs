//! What is to be done, as data: a layer and the facts of this place in, steps or a refusal out. Nothing is touched.

use crate::facts::Facts;
use crate::options::{Options, Propagation, RPRIVATE};
use crate::path::clean;
use crate::steps::step;
use chain::bytes::Bytes;
use chain::mapped::{IdMap, Spaces};
use chain::oci::Device;
use chain::spec::RootfsPrep;
use chain::{Class, Error, Result};
use rustix::fs::{Dev, FileType, makedev};
use std::os::fd::RawFd;

/// Everything, in the order in which it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What becomes `/`.
    pub(crate) root: NewRoot,
    /// Propagation of the root, and of all mounts of this namespace before.
    pub(crate) propagation: Propagation,
    /// Mounts, folders and links in order.
    pub(crate) steps: Vec<Step>,
    /// Make the default devices and links in /dev.
    pub(crate) default_devices: bool,
    /// Devices besides.
    pub(crate) devices: Vec<Node>,
    /// Made read-only, with all below.
    pub(crate) readonly: Vec<Bytes>,
    /// Made unreadable.
    pub(crate) masked: Vec<Bytes>,
    /// SELinux label of file systems.
    pub(crate) label: Option<String>,
    /// Working directory of the command.
    pub(crate) cwd: Option<Bytes>,
    /// Make a terminal, perhaps of this size.
    pub(crate) terminal: Option<Option<(u16, u16)>>,
    /// chroot instead of pivot_root.
    pub(crate) no_pivot: bool,
    /// Made in a mount namespace that is left again.
    pub(crate) carried: bool,
    /// Known already to be less than was asked for.
    pub(crate) degraded: Vec<String>,
}

/// What becomes `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NewRoot {
    /// What is there.
    Present,
    /// A folder of the host.
    Folder { path: Bytes, readonly: bool },
    /// A mount of its own: an empty tmpfs to build in, or a bind with options.
    Mount(Box<MountStep>),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A mount.
    Mount(Box<MountStep>),
    /// A folder, and the mode of one that is made.
    Folder(Bytes, Option<u32>),
    /// A symbolic link.
    Link { path: Bytes, target: Bytes },
    /// A file with this content.
    File { path: Bytes, content: Bytes, mode: u32 },
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountStep {
    /// Where, a clean path from the root.
    pub(crate) at: Bytes,
    /// What.
    pub(crate) what: What,
    /// How.
    pub(crate) options: Options,
    /// May be done less of, or left out.
    pub(crate) attempt: bool,
    /// What is asked of its ids.
    pub(crate) map: Option<IdMap>,
    /// Its place in the layer's mounts.
    pub(crate) place: usize,
    /// Of a bind: its source, opened and mapped before the user namespace was entered.
    pub(crate) opened: Option<RawFd>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A file system of its own.
    Fs { kind: String, source: Option<Bytes> },
    /// A part of the host's tree.
    Bind { source: Bytes, recursive: bool },
    /// The cgroups, of whichever version the host has.
    Cgroups { source: Option<Bytes> },
    /// A file in memory.
    Data { content: Bytes, mode: u32 },
    /// Other options for a mount that is there.
    Remount,
}

/// One device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Where.
    pub(crate) path: Bytes,
    /// Character, block or FIFO.
    pub(crate) kind: FileType,
    /// Its number; 0 for a FIFO.
    pub(crate) number: Dev,
    /// Permissions.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
}

impl Node {
    /// /dev/ptmx itself: each devpts has one of its own, and this is that of the host's.
    fn is_multiplexer(&self) -> bool {
        self.path.0 == b"/dev/ptmx" && self.kind == FileType::CharacterDevice && self.number == makedev(5, 2)
    }
}

impl Plan {
    /// Makes the user namespaces that mounts are mapped by: nobody makes one while something covers his root. Of binds,
    /// only where no `runner` maps them for us.
    pub(crate) fn spaces(&self, runner: bool) -> Result<Spaces> {
        let mut spaces = Spaces::default();
        for step in &self.steps {
            let Step::Mount(step) = step else { continue };
            if runner && matches!(step.what, What::Bind { .. }) {
                continue;
            }
            if let (Some(IdMap { maps: Some(maps), relative: false, .. }), None) = (&step.map, step.opened) {
                spaces.of(maps, &crate::mount::wish(step))?;
            }
        }
        Ok(spaces)
    }

    /// Takes over what was opened before.
    pub(crate) fn opened(&mut self, sources: Vec<(usize, RawFd)>) {
        for step in &mut self.steps {
            let Step::Mount(step) = step else { continue };
            step.opened = sources.iter().find(|(place, _)| *place == step.place).map(|(_, fd)| *fd);
        }
    }
}

/// Turns the layer into steps, or refuses it.
pub(crate) fn resolve(spec: &RootfsPrep, facts: &Facts) -> Result<Plan> {
    let propagation = propagation(spec)?;
    let mut steps = Vec::with_capacity(spec.mounts.len());
    let mut degraded = Vec::new();
    for (i, mount) in spec.mounts.iter().enumerate() {
        steps.push(step(mount, i, spec, facts, &mut degraded)?);
    }
    let root = new_root(spec, &mut steps)?;
    if let Some(at) =
        steps.iter().position(|s| matches!(s, Step::Mount(m) if m.at.0 == b"/" && m.what != What::Remount))
    {
        let detail = format_args!("mounts[{at}].destination: '/' would hide all that is there").to_string();
        return Err(Error::new(Class::Unsupported, "prepare the root", detail));
    }
    // As runc has it: whoever binds a /dev of his own has his own devices.
    let own_dev =
        |s: &Step| matches!(s, Step::Mount(m) if m.at.0 == b"/dev" && matches!(m.what, What::Bind { .. }));
    let default_devices = spec.default_devices && !steps.iter().any(own_dev);
    let mut devices = spec.devices.iter().enumerate().map(|(i, d)| node(d, i)).collect::<Result<Vec<_>>>()?;
    // Engines hand a privileged container all of the host's nodes. The host's multiplexer is none for it: the default
    // link leads to its own.
    devices.retain(|node| !(default_devices && node.is_multiplexer()));
    let paths = |list: &[Bytes], name: &str| {
        list.iter()
            .enumerate()
            .map(|(i, p)| clean(p, format_args!("{name}[{i}]")))
            .collect::<Result<Vec<_>>>()
    };
    let mut plan = Plan {
        root,
        propagation,
        steps,
        default_devices,
        devices,
        readonly: paths(&spec.readonly_paths, "readonlyPaths")?,
        masked: paths(&spec.masked_paths, "maskedPaths")?,
        label: spec.mount_label.clone(),
        cwd: spec.cwd.as_ref().map(|cwd| clean(cwd, "cwd")).transpose()?,
        terminal: spec.terminal.then_some(spec.console_size),
        no_pivot: spec.no_pivot,
        carried: false,
        degraded,
    };
    crate::carried::plan(spec, &mut plan)?;
    Ok(plan)
}

fn propagation(spec: &RootfsPrep) -> Result<Propagation> {
    let Some(name) = &spec.rootfs_propagation else { return Ok(RPRIVATE) };
    Propagation::named(name).ok_or_else(|| {
        Error::usage("prepare the root", format_args!("rootfsPropagation: '{name}' is not known"))
    })
}

/// `root`, or a first mount at `/`.
fn new_root(spec: &RootfsPrep, steps: &mut Vec<Step>) -> Result<NewRoot> {
    let doing = "prepare the root";
    if let Some(root) = &spec.root {
        if !root.path.0.starts_with(b"/") {
            return Err(Error::usage(doing, format_args!("root.path: '{}' is not absolute", root.path)));
        }
        // A slash at the end would follow a link that stands there.
        let end = root.path.0.iter().rposition(|b| *b != b'/').unwrap_or(0);
        let path = Bytes(root.path.0[..=end].to_vec());
        return Ok(NewRoot::Folder { path, readonly: root.readonly });
    }
    if matches!(steps.first(), Some(Step::Mount(m)) if m.at.0 == b"/" && m.what != What::Remount)
        && let Step::Mount(mount) = steps.remove(0)
    {
        return Ok(NewRoot::Mount(mount));
    }
    Ok(NewRoot::Present)
}

fn node(device: &Device, i: usize) -> Result<Node> {
    let wrong =
        |what: std::fmt::Arguments<'_>| Error::usage("make a device", format_args!("devices[{i}].{what}"));
    let path = clean(&device.path, format_args!("devices[{i}].path"))?;
    if path.0 == b"/" {
        return Err(wrong(format_args!("path: '/' is a folder")));
    }
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => return Err(wrong(format_args!("type: '{other}' is none of c, b, u, p"))),
    };
    let part = |name: &str, value: Option<i64>| match value {
        _ if kind == FileType::Fifo => Ok(0),
        Some(n) => u32::try_from(n).map_err(|_| wrong(format_args!("{name}: {n} is no device number"))),
        None => Err(wrong(format_args!("{name}: missing"))),
    };
    let mode = device.file_mode.unwrap_or(0o666);
    Ok(Node {
        kind,
        number: makedev(part("major", device.major)?, part("minor", device.minor)?),
        // Engines write the whole st_mode.
        mode: mode & 0o7777,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(json: serde_json::Value) -> RootfsPrep {
        serde_json::from_value(json).unwrap()
    }

    fn refused(json: serde_json::Value) -> Error {
        resolve(&layer(json), &Facts::ALL_NEW).unwrap_err()
    }

    fn mounts(list: serde_json::Value) -> serde_json::Value {
        serde_json::json!({"root": {"path": "/r"}, "mounts": list})
    }

    #[test]
    fn a_default_bundle_becomes_steps_in_order() {
        let plan = resolve(
            &layer(serde_json::json!({"root": {"path": "/r", "readonly": true}, "defaultDevices": true,
                "rootfsPropagation": "rslave",
                "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                    {"destination": "vol/", "source": "/host/vol", "options": ["rbind", "ro"]},
                    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}]})),
            &Facts::ALL_NEW,
        )
        .unwrap();
        let at: Vec<String> = plan
            .steps
            .iter()
            .map(|s| if let Step::Mount(m) = s { m.at.to_string() } else { "".into() })
            .collect();
        assert_eq!(at, ["/proc", "/dev", "/vol", "/sys/fs/cgroup"]);
        let Step::Mount(vol) = &plan.steps[2] else { panic!("{plan:?}") };
        assert_eq!(vol.what, What::Bind { source: "/host/vol".into(), recursive: true });
        assert!(plan.default_devices);
        assert_eq!(plan.propagation, Propagation::named("rslave").unwrap());
    }

    #[test]
    fn a_bound_dev_brings_its_own_devices() {
        let bound = serde_json::json!({"root": {"path": "/r"}, "defaultDevices": true,
            "mounts": [{"destination": "/dev/", "source": "/dev", "options": ["rbind"]}]});
        assert!(!resolve(&layer(bound), &Facts::ALL_NEW).unwrap().default_devices);
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (bad, word) in [
            (mounts(serde_json::json!([{"destination": "/a"}])), "mounts[0].type: missing"),
            (mounts(serde_json::json!([{"destination": "", "type": "tmpfs"}])), "mounts[0].destination"),
            (
                mounts(serde_json::json!([{"destination": "/", "type": "tmpfs"}])),
                "mounts[0].destination: '/'",
            ),
            (mounts(serde_json::json!([{"destination": "/a", "type": "bind"}])), "mounts[0].source: missing"),
            (
                mounts(serde_json::json!([{"destination": "/a", "type": "bind", "source": "r"}])),
                "not absolute",
            ),
            (
                mounts(
                    serde_json::json!([{"destination": "/a", "type": "bind", "source": "/x", "options": ["size=1"]}]),
                ),
                "size=1",
            ),
            (
                mounts(serde_json::json!([{"destination": "/a", "type": "proc", "options": ["tmpcopyup"]}])),
                "tmpcopyup",
            ),
            (
                mounts(serde_json::json!([{"destination": "/a", "type": "tmpfs", "options": ["idmap"]}])),
                "mounts[0].options: idmap",
            ),
            (
                mounts(serde_json::json!([{"destination": "/a", "type": "bind", "source": "/x",
                    "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}])),
                "mounts[0].gidMappings: missing",
            ),
            (
                mounts(
                    serde_json::json!([{"destination": "/a", "type": "tmpfs", "options": ["copy-symlink"]}]),
                ),
                "mounts[0].options: copy-symlink is for binds",
            ),
            (
                mounts(
                    serde_json::json!([{"destination": "/a", "type": "tmpfs", "options": ["src-nofollow"]}]),
                ),
                "mounts[0].options: src-nofollow is for binds",
            ),
            (serde_json::json!({"root": {"path": "r"}}), "root.path"),
            (serde_json::json!({"rootfsPropagation": "rshard"}), "rshard"),
            (serde_json::json!({"devices": [{"type": "x", "path": "/dev/a"}]}), "devices[0].type"),
            (
                serde_json::json!({"devices": [{"type": "c", "path": "/dev/a", "major": 1}]}),
                "devices[0].minor",
            ),
            (
                serde_json::json!({"devices": [{"type": "c", "path": "/dev/a", "major": -1, "minor": 1}]}),
                "devices[0].major",
            ),
            (serde_json::json!({"devices": [{"type": "p", "path": "/"}]}), "devices[0].path"),
        ] {
            let error = refused(bad);
            assert!(error.to_string().contains(word), "{error} has no {word}");
        }
    }

    #[test]
    fn a_first_mount_on_the_root_is_the_root() {
        let plan = resolve(
            &layer(serde_json::json!({"mounts": [{"destination": "/", "type": "tmpfs"}, {"destination": "/usr", "type": "bind", "source": "/usr"}]})),
            &Facts::ALL_NEW,
        )
        .unwrap();
        assert!(matches!(plan.root, NewRoot::Mount(_)));
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(resolve(&RootfsPrep::default(), &Facts::ALL_NEW).unwrap().root, NewRoot::Present);
    }

    #[test]
    fn devices_are_numbers_and_modes() {
        let spec = layer(serde_json::json!({"devices": [
            {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 8630, "uid": 1, "gid": 2},
            {"type": "p", "path": "dev/pipe"}]}));
        let nodes = resolve(&spec, &Facts::ALL_NEW).unwrap().devices;
        assert_eq!(
            (nodes[0].number, nodes[0].mode, nodes[0].uid, nodes[0].gid),
            (makedev(10, 229), 0o666, 1, 2)
        );
        assert_eq!(
            (nodes[1].kind, nodes[1].path.clone(), nodes[1].mode),
            (FileType::Fifo, "/dev/pipe".into(), 0o666)
        );
    }
}
