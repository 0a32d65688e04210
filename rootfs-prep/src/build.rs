//! Makes one mount that is attached nowhere yet, with all its flags on, and attaches it by fd.

use crate::attrs::{set, set_detached};
use crate::options::{Attrs, Options};
use crate::overlay;
use crate::place::Place;
use crate::plan::{MountStep, What};
use crate::root::lasting_id;
use chain::bindings::{Seen, Source, Taking, look};
use chain::bytes::Bytes;
use chain::mapped::{self, IdMap, Spaces};
use chain::sys::mount::MountAttr;
use chain::{Cannot, Class, Error, Result, given};
use rustix::fs::{FileType, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longer values do not pass through fsconfig(2).
const LONGEST: usize = 255;

/// A file system of its own, `ro` if it is to be read-only from the start.
pub(crate) fn file_system(
    kind: &str,
    source: Option<&Bytes>,
    options: &Options,
    doing: &str,
) -> Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .cannot(doing, format_args!("fsopen({kind})"))
        .map_err(|e| if e.class == Class::Missing { e.class(Class::Unsupported) } else { e })?;
    let set = |key: &str, value: Option<&str>| {
        let result = match value {
            Some(value) => fsconfig_set_string(&context, key, value),
            None => fsconfig_set_flag(&context, key),
        };
        let shown = value.map_or_else(|| key.to_string(), |v| format!("{key}={v}"));
        result.cannot(doing, format_args!("fsconfig({kind}, {shown})")).map_err(|e| {
            if e.class == Class::Internal {
                explained(e.class(Class::Usage), &context)
            } else {
                explained(e, &context)
            }
        })
    };
    if let Some(source) = source {
        fsconfig_set_string(&context, "source", source.as_os_str())
            .cannot(doing, format_args!("fsconfig({kind}, source={source})"))?;
    }
    for flag in &options.flags {
        set(flag, None)?;
    }
    // mount(2) makes file system and mount read-only at once, and so does this.
    if options.attrs.set & chain::sys::mount::attr::RDONLY != 0 {
        set("ro", None)?;
    }
    for option in &options.data {
        match option.split_once('=') {
            Some(("lowerdir", value)) if value.len() > LONGEST => {
                for (option, layer) in overlay::layers(value) {
                    set(option, Some(&layer))?;
                }
            }
            Some((key, value)) => set(key, Some(value))?,
            None => set(option, None)?,
        }
    }
    fsconfig_create(&context)
        .cannot(doing, format_args!("fsconfig({kind}, create)"))
        .map_err(|e| explained(e, &context))?;
    let attrs = MountAttrFlags::from_bits_retain(options.attrs.fresh() as u32);
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attrs)
        .cannot(doing, format_args!("fsmount({kind})"))
        .map_err(|e| explained(e, &context))
}

/// The kernel's own words on what is wrong, which it keeps for whoever reads the context.
fn explained(error: Error, context: &OwnedFd) -> Error {
    let mut buffer = [0; 512];
    match rustix::io::read(context, &mut buffer) {
        Ok(n) if n > 2 => {
            let text = String::from_utf8_lossy(&buffer[2..n]);
            error.why(text.trim().replace(char::is_control, " "))
        }
        _ => error,
    }
}

/// A clone of what `fd` refers to, with all below or alone.
pub(crate) fn clone(fd: BorrowedFd<'_>, recursive: bool, doing: &str) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    let mount = open_tree(fd, c"", flags | OpenTreeFlags::AT_EMPTY_PATH);
    mount.cannot(doing, "open_tree").map_err(|e| uncovering(e, recursive))
}

fn uncovering(error: Error, recursive: bool) -> Error {
    match error.errno() {
        Some(nix::errno::Errno::EINVAL) if !recursive => error
            .why("it holds mounts that a new user namespace may not uncover")
            .cure("rbind instead of bind"),
        _ => error,
    }
}

/// Attaches a mount on what `target` refers to.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>, doing: &str, at: &Bytes) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags).cannot(doing, format_args!("move_mount({at})"))
}

/// A mount that is attached nowhere yet.
pub(crate) struct Detached {
    /// Its root.
    pub(crate) fd: OwnedFd,
    /// Its root.
    pub(crate) seen: Seen,
    /// Flags that this kernel sets only when it is attached, with all below or on it alone.
    later: Vec<(Attrs, bool)>,
}

impl Detached {
    /// A mount of a file.
    pub(crate) fn file(fd: OwnedFd, options: &Options, doing: &str) -> Result<Detached> {
        Detached::new(fd, [(options.tree, true), (options.attrs, false)], doing)
    }

    /// A clone of what `fd` refers to, with these flags on it and all below.
    pub(crate) fn clone_of(fd: BorrowedFd<'_>, tree: Attrs, doing: &str) -> Result<Detached> {
        let fd = clone(fd, true, doing)?;
        Detached::new(fd, [(tree, true)], doing)
    }

    fn new<const N: usize>(fd: OwnedFd, flags: [(Attrs, bool); N], doing: &str) -> Result<Detached> {
        let seen = look(fd.as_fd()).cannot(doing, "statx")?;
        Detached::seen(fd, seen, flags, doing)
    }

    fn seen<const N: usize>(
        fd: OwnedFd,
        seen: Seen,
        flags: [(Attrs, bool); N],
        doing: &str,
    ) -> Result<Detached> {
        let mut later = Vec::new();
        for (attrs, recursive) in flags {
            // One that has to wait lets those after it wait too: the last word is theirs.
            if !later.is_empty() || !set_detached(fd.as_fd(), &attrs, recursive, doing)? {
                later.push((attrs, recursive));
            }
        }
        Ok(Detached { fd, seen, later })
    }

    /// Its root is no folder.
    pub(crate) fn is_file(&self) -> bool {
        self.seen.kind != FileType::Directory
    }

    /// Attaches it on what `target` refers to, with all its flags; gives its root.
    pub(crate) fn attach(self, target: BorrowedFd<'_>, doing: &str, at: &Bytes) -> Result<OwnedFd> {
        attach(self.fd.as_fd(), target, doing, at)?;
        self.attached(doing)
    }

    /// It is attached: sets what is left of its flags; gives its root.
    pub(crate) fn attached(self, doing: &str) -> Result<OwnedFd> {
        for (attrs, recursive) in &self.later {
            set(self.fd.as_fd(), attrs, *recursive, doing)?;
        }
        Ok(self.fd)
    }
}

/// Makes what the step says; None when it may be left out and its source is missing.
pub(crate) fn detached(place: &mut Place, step: &MountStep, doing: &str) -> Result<Option<Detached>> {
    let (tree, attrs) = (step.options.tree, step.options.attrs);
    match &step.what {
        What::Fs { kind, source } => {
            let fd = file_system(kind, source.as_ref(), &step.options, doing)?;
            id_mapped(fd.as_fd(), step, &mut place.spaces, doing)?;
            Ok(Some(Detached::new(fd, [], doing)?))
        }
        What::Bind { source, recursive } => match source_of(place, step, source, *recursive, doing) {
            Err(e) if e.errno() == Some(nix::errno::Errno::ENOENT) && step.attempt => Ok(None),
            Err(e) => Err(e),
            Ok((fd, seen, true)) => Detached::seen(fd, seen, [], doing).map(Some),
            // Whatever the source forbids stays forbidden, unless an option says otherwise.
            Ok((fd, seen, false)) => {
                Detached::seen(fd, seen, [(tree, true), (attrs, false)], doing).map(Some)
            }
        },
        What::Cgroups { .. } | What::Data { .. } | What::Remount => {
            Err(Error::new(Class::Internal, doing, "it is not one mount"))
        }
    }
}

/// What is bound: opened before, where a user namespace was entered meanwhile, or from here; or a part of the new root,
/// with what is mounted there by now. Links in that are an image's, and stay inside. True: its flags are on it.
fn source_of(
    place: &mut Place,
    step: &MountStep,
    source: &Bytes,
    recursive: bool,
    doing: &str,
) -> Result<(OwnedFd, Seen, bool)> {
    if let Some(fd) = step.opened {
        let fd = chain::sys::fd::adopt(fd).cannot(doing, format_args!("fcntl({fd})"))?;
        let seen = look(fd.as_fd()).cannot(doing, "statx")?;
        return Ok((fd, seen, false));
    }
    if given::is(source) {
        let (fd, seen) = given::clone(source, doing)?;
        id_mapped(fd.as_fd(), step, &mut place.spaces, doing)?;
        return Ok((fd, seen, false));
    }
    let follow = !step.options.source_nofollow;
    let attr = one_change(&step.options, recursive);
    let found = place.sources.take(source, &Taking { recursive, follow, attr });
    let found =
        found.cannot(doing, format_args!("open_tree({source})")).map_err(|e| uncovering(e, recursive))?;
    let (fd, seen, dressed) = match found {
        Source::Clone(fd, seen, dressed) => (fd, seen, dressed),
        Source::Inside(path) => {
            let inside = if follow { place.root.open(&path) } else { place.root.open_nofollow(&path) };
            let inside = inside.cannot(doing, format_args!("openat2({path})"))?;
            let fd = clone(inside.as_fd(), recursive, doing)?;
            let seen = look(fd.as_fd()).cannot(doing, "statx")?;
            if let (Some(wish), Some(runner)) = (&step.map, &place.runner) {
                mapped::map_by_runner(runner.as_fd(), fd.as_fd(), wish, doing)?;
                return Ok((fd, seen, false));
            }
            (fd, seen, false)
        }
    };
    id_mapped(fd.as_fd(), step, &mut place.spaces, doing)?;
    Ok((fd, seen, dressed))
}

/// The flags of a clone, if they are the same on all of it.
fn one_change(options: &Options, recursive: bool) -> Option<MountAttr> {
    let all = match recursive {
        false => options.tree.then(options.attrs),
        true if options.attrs.is_empty() => options.tree,
        true => return None,
    };
    (!all.is_empty()).then(|| all.change())
}

fn id_mapped(mount: BorrowedFd<'_>, step: &MountStep, spaces: &mut Spaces, doing: &str) -> Result<()> {
    match &step.map {
        None => Ok(()),
        Some(IdMap { maps: Some(maps), below, relative: false }) => {
            mapped::map(mount, spaces.of(maps, doing)?, *below, doing)
        }
        Some(_) => Err(Error::usage(doing, "idmap: there is no user namespace in this plan")
            .why("without uidMappings and gidMappings a mount is mapped as the container is")),
    }
}

/// A folder opened for reading, from an fd that only refers to it.
pub(crate) fn readable(fd: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    openat(fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The id of an attached mount, by which it is listed.
pub(crate) fn id(mount: BorrowedFd<'_>, doing: &str) -> Result<u64> {
    lasting_id(mount).cannot(doing, "statx(STATX_MNT_ID)")
}
