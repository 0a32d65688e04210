//! From the layer to what will be done, or a refusal. Nothing is touched here.

use crate::plan::Kind;
use chain::name::ToolName;
use chain::oci::IdMapping;
use chain::order::quote;
use chain::spec::{Idmap, Owner};
use chain::state::State;
use chain::sys::{caps, process::prctl};
use chain::{Cannot, Class, Error, Result};
use nix::libc;
use std::ffi::OsString;
use std::path::PathBuf;

/// Most lines of a map: UID_GID_MAP_MAX_EXTENTS of linux/user_namespace.h.
const LINES_MAX: usize = 340;
/// The kernel takes a map in one write of less than a page.
const BYTES_MAX: usize = 4095;

/// What the host says about the caller.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Effective user.
    pub(crate) euid: u32,
    /// Effective group.
    pub(crate) egid: u32,
    /// Effective capabilities.
    pub(crate) effective: u64,
    /// Programs that run from here gain nothing.
    pub(crate) no_new_privs: bool,
    /// Where the helper programs are sought.
    pub(crate) path: Option<OsString>,
}

/// Numbers of linux/capability.h.
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;

/// Reads them.
pub(crate) fn facts() -> Result<Facts> {
    let doing = "see what the caller may";
    Ok(Facts {
        euid: rustix::process::geteuid().as_raw(),
        egid: rustix::process::getegid().as_raw(),
        effective: caps::get().cannot(doing, "capget")?.effective,
        no_new_privs: prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0).cannot(doing, "prctl")? == 1,
        path: std::env::var_os("PATH"),
    })
}

/// Who writes a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// The process in the new namespace: the kernel lets anybody map itself, alone.
    Itself,
    /// A process that stayed outside and has the capability there.
    Privileged,
    /// newuidmap or newgidmap, started outside.
    Program(PathBuf),
}

/// One map to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    /// Which.
    pub(crate) kind: Kind,
    /// Its lines.
    pub(crate) lines: Vec<IdMapping>,
    /// By whom.
    pub(crate) writer: Writer,
}

impl Map {
    /// As the kernel takes it.
    pub(crate) fn text(&self) -> String {
        text(&self.lines)
    }
}

fn text(lines: &[IdMapping]) -> String {
    lines.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
}

/// What will be done; no maps at all: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// User map, then group map; an empty one is left out.
    pub(crate) maps: Vec<Map>,
    /// Deny setgroups(2) before the group map is written.
    pub(crate) deny_setgroups: bool,
    /// No further user namespaces inside.
    pub(crate) disable_userns: bool,
    /// Whose the namespace is, if not the caller's.
    pub(crate) owner: Option<Owner>,
    /// The caller's own user and group inside, where they are mapped.
    pub(crate) caller: (Option<u32>, Option<u32>),
}

impl Plan {
    /// The map of that kind.
    pub(crate) fn map(&self, kind: Kind) -> Option<&Map> {
        self.maps.iter().find(|m| m.kind == kind)
    }
}

/// Refuses where a later link did its work already.
pub(crate) fn order(state: &State) -> Result<()> {
    match state.receipts.iter().find(|r| r.tool >= ToolName::Idmap) {
        Some(receipt) => {
            let detail =
                format!("{} ran already, and what it made belongs to the outer user namespace", receipt.tool);
            Err(Error::new(Class::Order, "make a user namespace", detail)
                .cure(format_args!("idmap … -- {} … -- PROGRAM", receipt.tool)))
        }
        None => Ok(()),
    }
}

/// See the module.
pub(crate) fn resolve(spec: &Idmap, facts: &Facts) -> Result<Plan> {
    let mut plan = Plan::default();
    for (kind, lines) in [(Kind::User, &spec.uid_mappings), (Kind::Group, &spec.gid_mappings)] {
        if lines.is_empty() {
            continue;
        }
        check(kind, lines)?;
        let writer = match spec.owner {
            // The kernel lets nobody map itself in a namespace of somebody else's.
            Some(_) => Writer::Privileged,
            None => writer(kind, lines, spec.setgroups, facts)?,
        };
        plan.maps.push(Map { kind, lines: lines.clone(), writer });
    }
    let demanded = plan.map(Kind::Group).is_some_and(|m| m.writer == Writer::Itself);
    plan.caller = (inside(&spec.uid_mappings, facts.euid), inside(&spec.gid_mappings, facts.egid));
    plan.disable_userns = spec.disable_user_namespaces;
    if plan.disable_userns && plan.maps.is_empty() {
        let detail = "no user namespace is made here that could have a limit";
        return Err(Error::usage("disable user namespaces", detail));
    }
    plan.owner = owner(spec, facts)?;
    plan.deny_setgroups = !plan.maps.is_empty() && (spec.setgroups == Some(false) || demanded);
    Ok(plan)
}

/// Whose it is to be: only who may be anybody can give it away, and the maker has to be somebody inside.
fn owner(spec: &Idmap, facts: &Facts) -> Result<Option<Owner>> {
    let Some(owner) = spec.owner else { return Ok(None) };
    let doing = format_args!("make a user namespace of user {}", owner.uid);
    let wanted = 1 << CAP_SETUID | 1 << CAP_SETGID;
    if facts.effective & wanted != wanted {
        return Err(Error::new(Class::Denied, doing, "it wants CAP_SETUID and CAP_SETGID"));
    }
    let zero = |lines: &[IdMapping]| lines.iter().any(|m| m.container_id == 0);
    if !zero(&spec.uid_mappings) || !zero(&spec.gid_mappings) {
        let detail =
            "no user or no group 0 is mapped, and neither the caller nor the owner may be anybody else";
        return Err(Error::usage(doing, detail).cure("--map-users 0:O:N --map-groups 0:O:N"));
    }
    Ok(Some(owner))
}

/// What an outer id is inside.
fn inside(lines: &[IdMapping], id: u32) -> Option<u32> {
    let line = lines.iter().find(|m| id >= m.host_id && id - m.host_id < m.size)?;
    Some(line.container_id + (id - line.host_id))
}

/// What the kernel would refuse with a bare EINVAL.
fn check(kind: Kind, lines: &[IdMapping]) -> Result<()> {
    let refuse = |i: usize, what: String| {
        let m = lines[i];
        let range = format!("{}[{i}]: {}:{}:{}", kind.field(), m.container_id, m.host_id, m.size);
        Err(Error::usage(format_args!("map {}s", kind.noun()), format_args!("{range} {what}")))
    };
    for (i, m) in lines.iter().enumerate() {
        if m.size == 0 {
            return refuse(i, "maps nothing: its size is 0".into());
        }
        // The last id, 4294967295, means "none" everywhere in the kernel.
        for (side, first) in [("inside", m.container_id), ("outside", m.host_id)] {
            if u64::from(first) + u64::from(m.size) > u64::from(u32::MAX) {
                return refuse(i, format!("goes beyond 4294967294 {side}"));
            }
        }
        for (j, other) in lines[..i].iter().enumerate() {
            let overlap = |a: u32, b: u32| {
                u64::from(a) < u64::from(b) + u64::from(other.size)
                    && u64::from(b) < u64::from(a) + u64::from(m.size)
            };
            let other_shown =
                format!("{}[{j}]: {}:{}:{}", kind.field(), other.container_id, other.host_id, other.size);
            if overlap(m.container_id, other.container_id) {
                return refuse(i, format!("overlaps {other_shown} inside"));
            }
            if overlap(m.host_id, other.host_id) {
                return refuse(i, format!("overlaps {other_shown} outside"));
            }
        }
    }
    let doing = format_args!("map {}s", kind.noun());
    if lines.len() > LINES_MAX {
        let (field, n) = (kind.field(), lines.len());
        return Err(Error::usage(
            doing,
            format_args!("{field}: {n} ranges, and the kernel takes {LINES_MAX}"),
        ));
    }
    let bytes = text(lines).len();
    if bytes > BYTES_MAX {
        let field = kind.field();
        return Err(Error::usage(
            doing,
            format_args!("{field}: {bytes} bytes, and the kernel takes {BYTES_MAX}"),
        ));
    }
    Ok(())
}

fn writer(kind: Kind, lines: &[IdMapping], setgroups: Option<bool>, facts: &Facts) -> Result<Writer> {
    let (own, cap) = match kind {
        Kind::User => (facts.euid, CAP_SETUID),
        Kind::Group => (facts.egid, CAP_SETGID),
    };
    let privileged = facts.effective & 1 << cap != 0;
    let alone = matches!(lines, [m] if m.size == 1 && m.host_id == own);
    match kind {
        Kind::User if alone => return Ok(Writer::Itself),
        _ if privileged => return Ok(Writer::Privileged),
        Kind::Group if alone && setgroups != Some(true) => return Ok(Writer::Itself),
        Kind::Group if alone => {
            let detail = "an ordinary user can map its own group only where setgroups(2) is denied";
            return Err(
                Error::new(Class::Denied, "allow setgroups", detail).cure("--setgroups deny, or --auto")
            );
        }
        _ => {}
    }
    let program = kind.program();
    let doing = format_args!("map {}s", kind.noun());
    if facts.no_new_privs {
        let detail = format!("no_new_privs is on already, so {program} would run without its privilege");
        return Err(Error::new(Class::Order, doing, detail).cure(chain_before_no_new_privs()));
    }
    match find(program, facts) {
        Some(path) => Ok(Writer::Program(path)),
        None => {
            let detail = format!("{program} is not in PATH, and mapping other ids than one's own wants it");
            Err(Error::new(Class::Missing, doing, detail).cure("apt-get install uidmap"))
        }
    }
}

fn find(program: &str, facts: &Facts) -> Option<PathBuf> {
    let path = facts.path.clone().unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut dirs = std::env::split_paths(&path).filter(|d| d.is_absolute());
    dirs.find_map(|dir| {
        Some(dir.join(program)).filter(|p| rustix::fs::access(p, rustix::fs::Access::EXEC_OK).is_ok())
    })
}

/// Our own command line, with the link that sets no_new_privs where it belongs.
fn chain_before_no_new_privs() -> String {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (own, next) = chain::next::split(&words);
    let words = |words: &[OsString]| words.iter().map(|w| format!(" {}", quote(w))).collect::<String>();
    let next = next.filter(|n| !n.is_empty()).map_or_else(|| " PROGRAM".into(), words);
    format!("idmap{} -- cap-drop --{next}", words(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn m(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping { container_id, host_id, size }
    }

    fn user() -> Facts {
        Facts { euid: 1000, egid: 1000, ..Facts::default() }
    }

    fn both(lines: &[IdMapping]) -> Idmap {
        Idmap { uid_mappings: lines.to_vec(), gid_mappings: lines.to_vec(), ..Idmap::default() }
    }

    #[test]
    fn what_the_kernel_would_not_take_is_refused_with_its_range() {
        let many: Vec<_> = (0..341).map(|i| m(i * 2, i * 2, 1)).collect();
        let long: Vec<_> = (0..250).map(|i| m(1_000_000 + i * 2, 2_000_000 + i * 2, 1)).collect();
        for (lines, text) in [
            (vec![m(0, 100, 0)], "uidMappings[0]: 0:100:0 maps nothing"),
            (
                vec![m(0, 100, 10), m(9, 500, 1)],
                "uidMappings[1]: 9:500:1 overlaps uidMappings[0]: 0:100:10 inside",
            ),
            (vec![m(0, 100, 10), m(10, 109, 1)], "overlaps uidMappings[0]: 0:100:10 outside"),
            (vec![m(0, 1000, 1), m(0, 100, 10)], "overlaps"),
            (vec![m(u32::MAX, 0, 1)], "goes beyond 4294967294 inside"),
            (vec![m(0, 2, u32::MAX - 1)], "goes beyond 4294967294 outside"),
            (many, "341 ranges"),
            (long, "4095"),
        ] {
            let error = resolve(&both(&lines), &Facts { effective: u64::MAX, ..user() }).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.class, Class::Usage);
        }
        check(Kind::User, &[m(0, 0, u32::MAX)]).unwrap();
        check(Kind::User, &[m(0, 100, 10), m(10, 110, 10), m(20, 90, 10)]).unwrap();
    }

    #[test]
    fn an_ordinary_user_maps_itself_and_must_not_change_groups() {
        let plan = resolve(&both(&[m(0, 1000, 1)]), &user()).unwrap();
        assert!(plan.deny_setgroups && plan.maps.iter().all(|m| m.writer == Writer::Itself));
        let spec = Idmap { setgroups: Some(true), ..both(&[m(0, 1000, 1)]) };
        assert_eq!(resolve(&spec, &user()).unwrap_err().class, Class::Denied);
    }

    #[test]
    fn privilege_writes_group_maps_from_outside_and_leaves_setgroups_allowed() {
        let facts = Facts { effective: 1 << CAP_SETUID | 1 << CAP_SETGID, ..user() };
        let plan = resolve(&both(&[m(0, 1000, 1)]), &facts).unwrap();
        assert_eq!(plan.map(Kind::User).unwrap().writer, Writer::Itself);
        assert_eq!(plan.map(Kind::Group).unwrap().writer, Writer::Privileged);
        assert!(!plan.deny_setgroups);
        let plan = resolve(&both(&[m(0, 100_000, 65_536)]), &facts).unwrap();
        assert!(plan.maps.iter().all(|m| m.writer == Writer::Privileged));
        let spec = Idmap { setgroups: Some(false), ..both(&[m(0, 100_000, 65_536)]) };
        assert!(resolve(&spec, &facts).unwrap().deny_setgroups);
    }

    #[test]
    fn other_ids_want_the_programs_and_those_want_privilege() {
        let spec = both(&[m(0, 1000, 1), m(1, 100_000, 65_536)]);
        let nowhere = Facts { path: Some("/nonexistent".into()), ..user() };
        let error = resolve(&spec, &nowhere).unwrap_err();
        assert!(error.to_string().contains("newuidmap is not in PATH"), "{error}");
        let error = resolve(&spec, &Facts { no_new_privs: true, ..user() }).unwrap_err();
        assert_eq!(error.class, Class::Order);
        assert!(error.cure.unwrap().contains("-- cap-drop -- "));
        // Its own ids alone need no program, so no_new_privs is no hindrance.
        resolve(&both(&[m(0, 1000, 1)]), &Facts { no_new_privs: true, ..user() }).unwrap();
    }

    #[test]
    fn the_caller_is_found_inside() {
        let lines = [m(1000, 1000, 1), m(0, 100_000, 1000), m(5000, 200, 300)];
        let found = |id| inside(&lines, id);
        assert_eq!((found(1000), found(100_999), found(499)), (Some(1000), Some(999), Some(5299)));
        assert_eq!((found(0), found(101_000), found(500), found(199)), (None, None, None, None));
    }

    #[test]
    fn no_maps_are_no_namespace() {
        assert_eq!(resolve(&Idmap::default(), &user()).unwrap(), Plan::default());
        let spec = Idmap { setgroups: Some(false), ..Idmap::default() };
        assert!(!resolve(&spec, &user()).unwrap().deny_setgroups);
    }
}
