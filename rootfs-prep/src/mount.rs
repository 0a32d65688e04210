//! The mounts of the plan, one by one: made detached, then attached where the destination leads inside the root.

use crate::build::{self, Detached};
use crate::place::{Late, Place};
use crate::plan::{MountStep, What};
use crate::root::Make;
use crate::{attrs, cgroups, copyup, data, devices, explain, overlay};
use chain::bytes::Bytes;
use chain::sys::mount::attr;
use chain::{Cannot, Class, Error, Result};
use nix::errno::Errno;
use rustix::fs::{AtFlags, CWD, FileType, StatxAttributes, StatxFlags, fstat, fstatfs, readlinkat, statx};
use rustix::mount::{
    FsPickFlags, MoveMountFlags, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fspick,
    move_mount,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// PROC_SUPER_MAGIC of linux/magic.h.
pub(crate) const PROC_MAGIC: i64 = 0x9fa0;

/// Carries one step out.
pub(crate) fn carry_out(place: &mut Place, step: MountStep) -> Result<()> {
    match &step.what {
        What::Remount => remount(place, &step),
        What::Cgroups { source } => cgroups::mount(place, &step, source.as_ref()),
        What::Fs { .. } | What::Bind { .. } | What::Data { .. } => one(place, step),
    }
}

/// What the user wanted, for errors.
pub(crate) fn wish(step: &MountStep) -> String {
    match &step.what {
        What::Fs { kind, .. } => format!("mount {kind} on {}", step.at),
        What::Bind { source, .. } => format!("bind {source} on {}", step.at),
        What::Cgroups { .. } => format!("mount cgroups on {}", step.at),
        What::Data { .. } => format!("mount data on {}", step.at),
        What::Remount => format!("remount {}", step.at),
    }
}

/// One mount.
pub(crate) fn one(place: &mut Place, mut step: MountStep) -> Result<()> {
    let doing = wish(&step);
    if let Some(link) = link_to_copy(place, &step, &doing)? {
        return devices::link(place, &step.at, &link);
    }
    let late = prepare(place, &mut step);
    let below = folder_below(place, &mut step, &doing)?;
    let Some(mount) = detached(place, &mut step, &doing)? else { return Ok(()) };
    if let (What::Fs { kind, .. }, Some(label)) = (&step.what, &place.label)
        && kind == "mqueue"
    {
        label_root(&mount.fd, label, &doing)?;
    }
    if below.is_none() && attach_plainly(place, &step, &mount) {
        return attached(place, step, mount.seen.mount, mount.attached(&doing)?, late, &doing);
    }
    let target = match &below {
        Some(below) => rustix::io::fcntl_dupfd_cloexec(below, 3).cannot(&doing, "fcntl(F_DUPFD_CLOEXEC)")?,
        None => target(place, &step, &mount, &doing)?,
    };
    if let (true, Some(below)) = (step.options.copy_up, &below) {
        copyup::copy(below.as_fd(), mount.fd.as_fd(), &step.at)?;
    }
    let (is_file, id) = (mount.is_file(), mount.seen.mount);
    let fd = mount.attach(target.as_fd(), &doing, &step.at).or_else(|error| match error.errno() {
        // Said better by what they are.
        Some(Errno::EINVAL) => fits(is_file, &target, &step.at, &doing).and(Err(error)),
        _ => Err(error),
    })?;
    attached(place, step, id, fd, late, &doing)
}

/// Attaches a folder on a name in a folder of the root's own mount, if no link and no other mount is on the way: then it
/// is what it is called, and needs no look of its own. False: look closer.
fn attach_plainly(place: &mut Place, step: &MountStep, mount: &Detached) -> bool {
    let with_care = matches!(&step.what, What::Fs { kind, .. } if kind == "proc" || kind == "sysfs")
        || step.at.0 == b"/proc"
        || mount.is_file()
        || place.is_on_ours(&step.at);
    if with_care {
        return false;
    }
    place.root.plain_parent(&step.at).is_some_and(|(dir, name)| {
        // Without MOVE_MOUNT_T_SYMLINKS a link that stands there is not followed, and a folder does not go on it.
        move_mount(mount.fd.as_fd(), c"", dir, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).is_ok()
    })
}

/// The rest, once it is in its place.
fn attached(
    place: &mut Place,
    step: MountStep,
    id: Option<u64>,
    fd: OwnedFd,
    late: Option<Late>,
    doing: &str,
) -> Result<()> {
    for propagation in &step.options.propagation {
        attrs::set_propagation(fd.as_fd(), *propagation, doing)?;
    }
    let kind = match &step.what {
        What::Fs { kind, .. } => kind.as_str(),
        _ => "bind",
    };
    let mut asked = step.options.attrs;
    asked.set |= step.options.tree.set & !asked.clear;
    match id {
        Some(id) => place.keep_known(id, &step.at, fd, kind, asked, late),
        None => place.keep(&step.at, fd, kind, asked, late)?,
    }
    Ok(())
}

/// What the source is a link to, where the same link is to be made.
fn link_to_copy(place: &mut Place, step: &MountStep, doing: &str) -> Result<Option<Bytes>> {
    let (true, What::Bind { source, .. }) = (step.options.copy_link, &step.what) else { return Ok(None) };
    let inside = place.sources.inside(source).cannot(doing, format_args!("open({source})"))?;
    let target = match inside {
        Some(path) => place.root.open_nofollow(&path).and_then(|link| readlinkat(link, c"", Vec::new())),
        None => readlinkat(CWD, source.as_os_str(), Vec::new()),
    };
    Ok(target.ok().map(|target| Bytes(target.into_bytes())))
}

/// Adds the label, and takes `ro` off what is still to be worked in.
fn prepare(place: &Place, step: &mut MountStep) -> Option<Late> {
    let What::Fs { kind, .. } = &step.what else {
        let late = step.at.0 == b"/dev" && step.options.attrs.set & attr::RDONLY != 0;
        return late.then(|| without_readonly(step, Late::Mount));
    };
    if let Some(label) = &place.label
        && !matches!(kind.as_str(), "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2")
    {
        step.options.data.push(format!("context={label}"));
    }
    if kind == "overlay" {
        overlay::for_user_namespace(step);
        return None;
    }
    let worked_in = kind == "tmpfs" || step.at.0 == b"/dev";
    let late = worked_in && step.options.attrs.set & attr::RDONLY != 0;
    late.then(|| without_readonly(step, Late::FileSystem))
}

fn without_readonly(step: &mut MountStep, late: Late) -> Late {
    step.options.attrs.set &= !attr::RDONLY;
    late
}

/// Makes the mount; where it may be done less of, in the next best way.
fn detached(place: &mut Place, step: &mut MountStep, doing: &str) -> Result<Option<Detached>> {
    if let What::Data { content, mode } = &step.what {
        let fd = data::mount(place, &content.0, *mode, doing)?;
        return Detached::file(fd, &step.options, doing).map(Some);
    }
    if overlay::is_in_memory(step) {
        return overlay::in_memory(place, step, doing);
    }
    let error = match build::detached(place, step, doing) {
        Ok(None) => {
            place.degraded.push(format!("{}: left out, its source is missing", step.at));
            return Ok(None);
        }
        Ok(mount) => return Ok(mount),
        Err(error) => error,
    };
    let What::Fs { kind, .. } = &step.what else { return Err(error) };
    let kind = kind.clone();
    let denied = error.class == Class::Denied;
    if step.attempt && denied && matches!(kind.as_str(), "proc" | "sysfs") {
        step.instead_bind();
        place.degraded.push(format!("{}: the caller's own instead of a fresh {kind}: {error}", step.at));
        return build::detached(place, step, doing);
    }
    if step.attempt && denied && kind == "mqueue" {
        place.degraded.push(format!("{}: left out: {error}", step.at));
        return Ok(None);
    }
    // A group that the user namespace does not map.
    let gid = step.options.data.iter().position(|o| o.starts_with("gid="));
    if let (true, Some(at), "devpts", Some(Errno::EINVAL)) = (step.attempt, gid, kind.as_str(), error.errno())
    {
        let option = step.options.data.remove(at);
        place.degraded.push(format!("{}: without {option}: {error}", step.at));
        return build::detached(place, step, doing);
    }
    Err(if denied { explain::denied(error, &kind) } else { error })
}

/// Where it goes.
fn target(place: &Place, step: &MountStep, mount: &Detached, doing: &str) -> Result<OwnedFd> {
    let at = &step.at;
    if matches!(&step.what, What::Fs { kind, .. } if kind == "proc" || kind == "sysfs") {
        return ordinary_folder(place, at, doing);
    }
    let is_proc = at.0 == b"/proc";
    // Without a link on the way, and on the root's own mount, it is what it is called.
    if !is_proc
        && !place.is_on_ours(at)
        && let Some(target) = place.root.open_plain(at)
    {
        return Ok(target);
    }
    let make = if mount.is_file() { Make::File } else { Make::Folder };
    let found = if step.options.dest_nofollow {
        place.root.make_nofollow(at, make)
    } else {
        place.root.make(at, make)
    };
    let (target, _) = found.cannot(doing, format_args!("openat2({at})")).map_err(|e| {
        if e.errno() == Some(Errno::ENOENT) { e.why("without a root of its own nothing is made") } else { e }
    })?;
    if is_proc {
        if !on_proc(&mount.fd, at, doing)? {
            return Err(Error::new(Class::Denied, doing, "the source is not a procfs"));
        }
    } else if !at.0.starts_with(b"/proc/") && on_proc(&target, at, doing)? {
        return Err(Error::new(Class::Denied, doing, "it leads inside /proc"));
    }
    Ok(target)
}

fn on_proc(fd: &OwnedFd, at: &Bytes, doing: &str) -> Result<bool> {
    Ok(fstatfs(fd).cannot(doing, format_args!("fstatfs({at})"))?.f_type as i64 == PROC_MAGIC)
}

/// A file goes on a file, a folder on a folder.
fn fits(is_file: bool, target: &OwnedFd, at: &Bytes, doing: &str) -> Result<()> {
    let folder =
        FileType::from_raw_mode(fstat(target).cannot(doing, "fstat")?.st_mode) == FileType::Directory;
    match (is_file, folder) {
        (true, true) => {
            Err(Error::new(Class::Conflict, doing, format_args!("the source is a file, and {at} a folder")))
        }
        (false, false) => {
            Err(Error::new(Class::Conflict, doing, format_args!("{at} is there and is no folder")))
        }
        _ => Ok(()),
    }
}

/// A link at /proc or /sys would put it where masks and labels do not look (CVE-2019-19921, CVE-2023-27561).
fn ordinary_folder(place: &Place, at: &Bytes, doing: &str) -> Result<OwnedFd> {
    use rustix::io::Errno;
    let mut was_there = true;
    loop {
        match place.root.folder_without_links(at) {
            Ok(fd) => return Ok(fd),
            Err(Errno::NOENT) if was_there => {
                was_there = false;
                place.root.make(at, Make::Folder).cannot(doing, format_args!("mkdirat({at})"))?;
            }
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(Error::new(
                    Class::Denied,
                    doing,
                    format_args!("{at} must be mounted on ordinary directory"),
                ));
            }
            Err(e) => return Err(Error::call(doing, format_args!("openat2({at})"), e)),
        }
    }
}

/// Of a tmpfs, the folder that it will hide, if there is one: it has that one's mode unless another was asked for.
fn folder_below(place: &Place, step: &mut MountStep, doing: &str) -> Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    if !matches!(&step.what, What::Fs { kind, .. } if kind == "tmpfs") {
        return Ok(None);
    }
    let at = &step.at;
    let found = if step.options.dest_nofollow { place.root.open_nofollow(at) } else { place.root.open(at) };
    let below = match found {
        Ok(below) => below,
        // It will be made.
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(Error::call(doing, format_args!("openat2({at})"), e)),
    };
    if on_proc(&below, at, doing)? {
        return Err(Error::new(Class::Denied, doing, "it leads inside /proc"));
    }
    fits(false, &below, at, doing)?;
    if !step.options.data.iter().any(|o| o.starts_with("mode=")) {
        let mode = fstat(&below).cannot(doing, "fstat")?.st_mode & 0o7777;
        step.options.data.push(format!("mode={mode:o}"));
    }
    Ok(Some(below))
}

/// mqueue takes no context= option.
fn label_root(mount: &OwnedFd, label: &str, doing: &str) -> Result<()> {
    let root = build::readable(mount.as_fd()).cannot(doing, "openat(mqueue)")?;
    rustix::fs::fsetxattr(&root, c"security.selinux", label.as_bytes(), rustix::fs::XattrFlags::empty())
        .cannot(doing, "fsetxattr(security.selinux)")
}

/// Other options for what is mounted there already.
fn remount(place: &mut Place, step: &MountStep) -> Result<()> {
    let doing = wish(step);
    let target = place.root.open(&step.at).cannot(&doing, format_args!("openat2({})", step.at))?;
    let stat = statx(&target, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).cannot(&doing, "statx")?;
    if !stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(Error::new(Class::Usage, doing, "nothing is mounted there"));
    }
    attrs::set(target.as_fd(), &step.options.tree, true, &doing)?;
    attrs::set(target.as_fd(), &step.options.attrs, false, &doing)?;
    if step.options.bind.is_none() {
        reconfigure(target.as_fd(), step, &doing)?;
    }
    for propagation in &step.options.propagation {
        attrs::set_propagation(target.as_fd(), *propagation, &doing)?;
    }
    place.keep(&step.at, target, "remount", step.options.attrs, None)
}

fn reconfigure(mount: BorrowedFd<'_>, step: &MountStep, doing: &str) -> Result<()> {
    let readonly = match step.options.attrs {
        attrs if attrs.set & attr::RDONLY != 0 => Some("ro"),
        attrs if attrs.clear & attr::RDONLY != 0 => Some("rw"),
        _ => None,
    };
    if step.options.flags.is_empty() && step.options.data.is_empty() && readonly.is_none() {
        return Ok(());
    }
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = fspick(mount, c"", flags).cannot(doing, "fspick")?;
    for flag in step.options.flags.iter().copied().chain(readonly) {
        fsconfig_set_flag(&context, flag).cannot(doing, format_args!("fsconfig({flag})"))?;
    }
    for option in &step.options.data {
        let result = match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&context, key, value),
            None => fsconfig_set_flag(&context, option.as_str()),
        };
        result.cannot(doing, format_args!("fsconfig({option})"))?;
    }
    fsconfig_reconfigure(&context).cannot(doing, "fsconfig(reconfigure)")
}

/// Now that all is in it, whatever was to be read-only becomes so.
pub(crate) fn finish_readonly(place: &mut Place) -> Result<()> {
    for mounted in &mut place.mounted {
        let Some(late) = mounted.late.take() else { continue };
        let doing = format!("make {} read-only", mounted.at);
        if late == Late::FileSystem {
            let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
            let context = fspick(&mounted.fd, c"", flags).cannot(&doing, "fspick")?;
            fsconfig_set_flag(&context, "ro").cannot(&doing, "fsconfig(ro)")?;
            fsconfig_reconfigure(&context).cannot(&doing, "fsconfig(reconfigure)")?;
        }
        let readonly = crate::options::Attrs { set: attr::RDONLY, ..Default::default() };
        attrs::set(mounted.fd.as_fd(), &readonly, false, &doing)?;
        mounted.asked.set |= attr::RDONLY;
    }
    Ok(())
}
