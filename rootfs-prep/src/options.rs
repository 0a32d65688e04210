//! Mount options by name, as the runtime-spec lists them: what each does to one mount, to a tree of mounts, to their
//! propagation, to the file system. Whatever is in no list here is the file system's own.

use chain::oci::names::MOUNT_OPTIONS;
use chain::sys::mount::{MountAttr, attr};
use chain::{Error, Result};
use nix::libc;
use std::fmt::Display;

/// One kind of propagation, mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Propagation {
    /// MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE.
    pub(crate) flag: u64,
    /// All mounts below as well.
    pub(crate) recursive: bool,
}

/// `MS_PRIVATE` for all.
pub(crate) const RPRIVATE: Propagation = Propagation { flag: libc::MS_PRIVATE, recursive: true };

impl Propagation {
    /// `rslave` and its like.
    pub(crate) fn named(name: &str) -> Option<Propagation> {
        let (recursive, plain) = match name.strip_prefix('r') {
            Some(plain) => (true, plain),
            None => (false, name),
        };
        let flag = match plain {
            "private" => libc::MS_PRIVATE,
            "shared" => libc::MS_SHARED,
            "slave" => libc::MS_SLAVE,
            "unbindable" => libc::MS_UNBINDABLE,
            _ => return None,
        };
        Some(Propagation { flag, recursive })
    }
}

/// Flags of a mount: those that are set, those that are taken away, and the access time, of which a mount has one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attrs {
    /// MOUNT_ATTR_* to set.
    pub(crate) set: u64,
    /// MOUNT_ATTR_* to clear.
    pub(crate) clear: u64,
    /// A value below the mask MOUNT_ATTR__ATIME.
    pub(crate) atime: Option<u64>,
}

impl Attrs {
    fn set(&mut self, flag: u64) {
        (self.set, self.clear) = (self.set | flag, self.clear & !flag);
    }

    fn clear(&mut self, flag: u64) {
        (self.set, self.clear) = (self.set & !flag, self.clear | flag);
    }

    /// These, and then those.
    pub(crate) fn then(self, last: Attrs) -> Attrs {
        Attrs {
            set: self.set & !last.clear | last.set,
            clear: self.clear & !last.set | last.clear,
            atime: last.atime.or(self.atime),
        }
    }

    /// Whether nothing is asked.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Attrs::default()
    }

    /// For mount_setattr(2). The access time is an enumeration in a mask, so the mask is cleared to set it.
    pub(crate) fn change(&self) -> MountAttr {
        let (atime, mask) = self.atime.map_or((0, 0), |value| (value, attr::ATIME));
        MountAttr { attr_set: self.set | atime, attr_clr: self.clear | mask, ..MountAttr::default() }
    }

    /// For fsmount(2), where everything that is not set is off.
    pub(crate) fn fresh(&self) -> u64 {
        self.set | self.atime.unwrap_or(attr::RELATIME)
    }
}

/// The options of one mount, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `bind` (false) or `rbind` (true).
    pub(crate) bind: Option<bool>,
    /// Change a mount that is there.
    pub(crate) remount: bool,
    /// Of this mount.
    pub(crate) attrs: Attrs,
    /// Of this mount and all below.
    pub(crate) tree: Attrs,
    /// In order.
    pub(crate) propagation: Vec<Propagation>,
    /// Flags of the file system by their names for fsconfig(2).
    pub(crate) flags: Vec<&'static str>,
    /// `key` or `key=value` for the file system.
    pub(crate) data: Vec<String>,
    /// Start with a copy of what the mount will hide.
    pub(crate) copy_up: bool,
    /// Of an overlay: its upper layer is made in memory.
    pub(crate) own_upper: bool,
    /// Of a bind whose source is a symbolic link: make the same link instead.
    pub(crate) copy_link: bool,
    /// Do not follow a symbolic link that is the source: bind it itself.
    pub(crate) source_nofollow: bool,
    /// Do not follow a symbolic link that is the destination: mount on it.
    pub(crate) dest_nofollow: bool,
}

enum Effect {
    Nothing,
    Set(u64),
    Clear(u64),
    Atime(u64),
    SetAll(u64),
    ClearAll(u64),
    AtimeAll(u64),
    Flag(&'static str),
    Bind(bool),
    Remount,
    CopyUp,
    CopyLink,
    SourceNofollow,
    DestNofollow,
}

fn effect(option: &str) -> Option<Effect> {
    use Effect::{
        Atime, AtimeAll, Bind, Clear, ClearAll, CopyLink, CopyUp, DestNofollow, Flag, Nothing, Remount, Set,
        SetAll, SourceNofollow,
    };
    Some(match option {
        // What is asked of ids is read from the whole mount, with its maps.
        "defaults" | "silent" | "loud" | "iversion" | "noiversion" | "idmap" | "ridmap" => Nothing,
        "bind" => Bind(false),
        "rbind" => Bind(true),
        "remount" => Remount,
        "tmpcopyup" => CopyUp,
        "copy-symlink" => CopyLink,
        "src-nofollow" => SourceNofollow,
        "dest-nofollow" => DestNofollow,
        "ro" => Set(attr::RDONLY),
        "rw" => Clear(attr::RDONLY),
        "nosuid" => Set(attr::NOSUID),
        "suid" => Clear(attr::NOSUID),
        "nodev" => Set(attr::NODEV),
        "dev" => Clear(attr::NODEV),
        "noexec" => Set(attr::NOEXEC),
        "exec" => Clear(attr::NOEXEC),
        "nodiratime" => Set(attr::NODIRATIME),
        "diratime" => Clear(attr::NODIRATIME),
        "nosymfollow" => Set(attr::NOSYMFOLLOW),
        "symfollow" => Clear(attr::NOSYMFOLLOW),
        "noatime" => Atime(attr::NOATIME),
        "strictatime" => Atime(attr::STRICTATIME),
        // Without any of the three kinds a mount has the kernel's default, which is relatime.
        "relatime" | "atime" | "norelatime" | "nostrictatime" => Atime(attr::RELATIME),
        "rro" => SetAll(attr::RDONLY),
        "rrw" => ClearAll(attr::RDONLY),
        "rnosuid" => SetAll(attr::NOSUID),
        "rsuid" => ClearAll(attr::NOSUID),
        "rnodev" => SetAll(attr::NODEV),
        "rdev" => ClearAll(attr::NODEV),
        "rnoexec" => SetAll(attr::NOEXEC),
        "rexec" => ClearAll(attr::NOEXEC),
        "rnodiratime" => SetAll(attr::NODIRATIME),
        "rdiratime" => ClearAll(attr::NODIRATIME),
        "rnosymfollow" => SetAll(attr::NOSYMFOLLOW),
        "rsymfollow" => ClearAll(attr::NOSYMFOLLOW),
        "rnoatime" => AtimeAll(attr::NOATIME),
        "rstrictatime" => AtimeAll(attr::STRICTATIME),
        "rrelatime" | "ratime" | "rnorelatime" | "rnostrictatime" => AtimeAll(attr::RELATIME),
        "sync" => Flag("sync"),
        "async" => Flag("async"),
        "dirsync" => Flag("dirsync"),
        "lazytime" => Flag("lazytime"),
        "nolazytime" => Flag("nolazytime"),
        "mand" => Flag("mand"),
        "nomand" => Flag("nomand"),
        _ => return None,
    })
}

/// Takes `options` apart.
pub(crate) fn parse(options: &[String]) -> Options {
    let mut out = Options::default();
    for option in options {
        if let Some(propagation) = Propagation::named(option) {
            out.propagation.push(propagation);
            continue;
        }
        match effect(option) {
            // As idmap: read from the whole mount.
            None if option.starts_with("idmap=") || option.starts_with("ridmap=") => {}
            None => out.data.extend(split(option).filter(|o| !o.is_empty())),
            Some(Effect::Nothing) => {}
            Some(Effect::Bind(recursive)) => out.bind = Some(recursive),
            Some(Effect::Remount) => out.remount = true,
            Some(Effect::CopyUp) => out.copy_up = true,
            Some(Effect::CopyLink) => out.copy_link = true,
            Some(Effect::SourceNofollow) => out.source_nofollow = true,
            Some(Effect::DestNofollow) => out.dest_nofollow = true,
            Some(Effect::Flag(name)) => out.flags.push(name),
            Some(Effect::Set(flag)) => out.attrs.set(flag),
            Some(Effect::Clear(flag)) => out.attrs.clear(flag),
            Some(Effect::Atime(value)) => out.attrs.atime = Some(value),
            Some(Effect::SetAll(flag)) => out.tree.set(flag),
            Some(Effect::ClearAll(flag)) => out.tree.clear(flag),
            Some(Effect::AtimeAll(value)) => out.tree.atime = Some(value),
        }
    }
    out
}

/// One option may be several joined by commas, as mount(2) takes them. A comma in double quotes (SELinux labels) or
/// behind a backslash (overlayfs) joins nothing; the quotes are mount(2)'s alone.
fn split(option: &str) -> impl Iterator<Item = String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in option.chars() {
        let last = parts.len() - 1;
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted && !escaped => parts.push(String::new()),
            c => parts[last].push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    parts.into_iter()
}

/// An error for the first option that a bind mount has no use for.
pub(crate) fn only_for_binds(options: &Options, doing: impl Display) -> Result<()> {
    let Some(unknown) = options.data.first() else { return Ok(()) };
    let error = Error::usage(
        doing,
        format_args!("unknown option '{unknown}': a bind mount has no file system of its own"),
    );
    Err(match chain::near::nearest(unknown, MOUNT_OPTIONS.into_iter()) {
        Some(name) => error.cure(format_args!("{name}?")),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Options {
        parse(&line.split(' ').filter(|w| !w.is_empty()).map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_listed_name_is_known_and_none_becomes_data() {
        for name in MOUNT_OPTIONS {
            assert!(of(name).data.is_empty(), "{name}");
        }
    }

    #[test]
    fn pairs_set_and_clear_one_flag_and_the_last_one_counts() {
        let pairs = [
            ("ro", "rw", attr::RDONLY),
            ("nosuid", "suid", attr::NOSUID),
            ("nodev", "dev", attr::NODEV),
            ("noexec", "exec", attr::NOEXEC),
            ("nodiratime", "diratime", attr::NODIRATIME),
            ("nosymfollow", "symfollow", attr::NOSYMFOLLOW),
        ];
        for (on, off, flag) in pairs {
            assert_eq!(of(on).attrs, Attrs { set: flag, ..Attrs::default() }, "{on}");
            assert_eq!(of(off).attrs, Attrs { clear: flag, ..Attrs::default() }, "{off}");
            assert_eq!(of(&format!("{on} {off}")).attrs, of(off).attrs, "{on} {off}");
            assert_eq!(of(&format!("{off} {on}")).attrs, of(on).attrs, "{off} {on}");
            assert_eq!(of(&format!("r{on}")).tree, of(on).attrs, "r{on}");
            assert_eq!(of(&format!("r{off}")).tree, of(off).attrs, "r{off}");
            assert!(of(&format!("r{on}")).attrs.is_empty());
        }
    }

    #[test]
    fn the_access_time_is_one_of_three() {
        for (name, value) in [
            ("noatime", attr::NOATIME),
            ("strictatime", attr::STRICTATIME),
            ("relatime", attr::RELATIME),
            ("atime", attr::RELATIME),
            ("norelatime", attr::RELATIME),
            ("nostrictatime", attr::RELATIME),
        ] {
            assert_eq!(of(name).attrs.atime, Some(value), "{name}");
            assert_eq!(of(&format!("r{name}")).tree.atime, Some(value), "r{name}");
        }
        let change = of("noatime relatime nosuid").attrs.change();
        assert_eq!((change.attr_set, change.attr_clr), (attr::NOSUID, attr::ATIME));
        assert_eq!(of("strictatime nosuid").attrs.fresh(), attr::STRICTATIME | attr::NOSUID);
        assert_eq!(of("").attrs.change(), MountAttr::default());
    }

    #[test]
    fn propagations_keep_their_order() {
        let both = of("rslave shared").propagation;
        assert_eq!(both, [Propagation::named("rslave").unwrap(), Propagation::named("shared").unwrap()]);
        for (name, flag, recursive) in [
            ("private", libc::MS_PRIVATE, false),
            ("rprivate", libc::MS_PRIVATE, true),
            ("rshared", libc::MS_SHARED, true),
            ("slave", libc::MS_SLAVE, false),
            ("unbindable", libc::MS_UNBINDABLE, false),
            ("runbindable", libc::MS_UNBINDABLE, true),
        ] {
            assert_eq!(Propagation::named(name), Some(Propagation { flag, recursive }), "{name}");
        }
        assert_eq!(Propagation::named("rro"), None);
    }

    #[test]
    fn what_is_unknown_is_the_file_systems() {
        let tmpfs = of("nosuid size=65536k mode=755,nr_inodes=4k tmpcopyup sync");
        assert_eq!(tmpfs.data, ["size=65536k", "mode=755", "nr_inodes=4k"]);
        assert!(tmpfs.copy_up && tmpfs.flags == ["sync"]);
        assert_eq!(of("context=\"system_u:s0:c1,c2\"").data, ["context=system_u:s0:c1,c2"]);
        assert_eq!(of("lowerdir=/a\\,b:/c").data, ["lowerdir=/a\\,b:/c"]);
        assert_eq!((of("rbind").bind, of("bind").bind, of("ro").bind), (Some(true), Some(false), None));
        assert!(of("remount").remount);
        assert!(of("copy-symlink").copy_link);
        assert!(of("src-nofollow").source_nofollow && of("dest-nofollow").dest_nofollow);
    }

    #[test]
    fn a_bind_with_an_option_of_its_own_is_refused_with_the_nearest_name() {
        let error = only_for_binds(&of("rbind nosiud"), "mount /a on /b").unwrap_err();
        assert!(error.to_string().contains("unknown option 'nosiud'"), "{error}");
        assert_eq!(error.cure.as_deref(), Some("nosuid?"));
        only_for_binds(&of("rbind ro nosuid rprivate sync"), "x").unwrap();
    }
}
