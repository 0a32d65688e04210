//! Into the new root: its tree is attached over the old one, filled there, and in the end becomes `/`.

use crate::attrs::set_propagation;
use crate::build::{attach, clone, detached};
use crate::mount::wish;
use crate::options::{Attrs, Propagation, RPRIVATE};
use crate::place::{Late, Place};
use crate::plan::{NewRoot, Plan, What};
use crate::root::{Root, mount_id};
use chain::bindings::Sources;
use chain::bytes::Bytes;
use chain::proc::mounts;
use chain::sys::mount::attr;
use chain::{Cannot, Class, Error, Result};
use nix::libc;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The old root, until it is left.
pub(crate) struct Old {
    fd: OwnedFd,
}

/// Cuts the mounts here off from the host's, and attaches the new root's tree: over the old root, or `in_place` on the
/// folder itself, for hooks that know no other path to it. Whoever enters this namespace from outside would find the
/// new root in the old one's place.
pub(crate) fn prepare(plan: &Plan, in_place: bool) -> Result<(Old, Place)> {
    let doing = "prepare the root";
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = openat(CWD, "/", folder, Mode::empty()).cannot(doing, "open(/)")?;
    // Seen from outside first: what is refused is refused before anything is changed.
    let new = match &plan.root {
        NewRoot::Folder { path, .. } => Some(open_folder(path)?),
        NewRoot::Present | NewRoot::Mount(_) => None,
    };
    isolate(&old, plan.propagation)?;
    let label = plan.label.clone();
    match (&plan.root, new) {
        (NewRoot::Folder { path, readonly }, Some(new)) => {
            let tree = clone(new.as_fd(), true, &format!("make {path} the root"))?;
            if in_place {
                unshare_below(&new, path)?;
                attach(tree.as_fd(), new.as_fd(), doing, path)?;
            } else {
                attach(tree.as_fd(), old.as_fd(), doing, &"/".into())?;
            }
            alone(tree.as_fd(), plan.propagation)?;
            let mut sources = Sources::around(new.as_fd()).cannot(doing, format_args!("statx({path})"))?;
            if in_place {
                sources.attached(tree.as_fd()).cannot(doing, format_args!("statx({path})"))?;
            }
            let late = readonly.then_some(Late::Mount);
            let (old, mut place) = root_of(old, tree, label, "bind", Attrs::default(), late)?;
            place.sources = sources;
            Ok((old, place))
        }
        (NewRoot::Mount(step), _) => {
            let mut step = (**step).clone();
            let late = step.options.attrs.set & attr::RDONLY != 0;
            step.options.attrs.set &= !attr::RDONLY;
            let fs = matches!(step.what, What::Fs { .. });
            let root = rustix::io::fcntl_dupfd_cloexec(&old, 3).cannot(doing, "fcntl(F_DUPFD_CLOEXEC)")?;
            let mut outside = Place::new(Root::present(root), None);
            let Some(mount) = detached(&mut outside, &step, &wish(&step))? else {
                return Err(Error::new(Class::Missing, wish(&step), "there is nothing to make the root of"));
            };
            if mount.is_file() {
                return Err(Error::usage(wish(&step), "it is not a folder"));
            }
            let fd = mount.attach(old.as_fd(), doing, &"/".into())?;
            alone(fd.as_fd(), plan.propagation)?;
            let late = late.then_some(if fs { Late::FileSystem } else { Late::Mount });
            root_of(old, fd, label, if fs { "root" } else { "bind" }, step.options.attrs, late)
        }
        _ => {
            let root = rustix::io::fcntl_dupfd_cloexec(&old, 3).cannot(doing, "fcntl(F_DUPFD_CLOEXEC)")?;
            Ok((Old { fd: old }, Place::new(Root::present(root), label)))
        }
    }
}

fn root_of(
    old: OwnedFd,
    tree: OwnedFd,
    label: Option<String>,
    kind: &str,
    asked: Attrs,
    late: Option<Late>,
) -> Result<(Old, Place)> {
    let root =
        rustix::io::fcntl_dupfd_cloexec(&tree, 3).cannot("prepare the root", "fcntl(F_DUPFD_CLOEXEC)")?;
    let mut place = Place::new(Root::new(root), label);
    place.keep(&"/".into(), tree, kind, asked, late)?;
    Ok((Old { fd: old }, place))
}

/// The folder that becomes the root. It must be one itself: a link in its place is somebody's trick.
fn open_folder(path: &Bytes) -> Result<OwnedFd> {
    let doing = format_args!("make {path} the root");
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(CWD, path.as_path(), flags, Mode::empty()).cannot(doing, format_args!("open({path})"))?;
    let what = match FileType::from_raw_mode(fstat(&fd).cannot(doing, "fstat")?.st_mode) {
        FileType::Directory => return Ok(fd),
        FileType::Symlink => "it is a symbolic link",
        _ => "it is not a folder",
    };
    Err(Error::usage(doing, what))
}

/// What is mounted from here on must not reach the host, and unmounting the old root least of all.
fn isolate(old: &OwnedFd, propagation: Propagation) -> Result<()> {
    let doing = "cut the mounts off from the host's";
    match propagation.flag {
        libc::MS_SLAVE | libc::MS_PRIVATE => {
            set_propagation(old.as_fd(), Propagation { recursive: true, ..propagation }, doing)
        }
        // A tree that cannot be bound could not become the root; it is made so at the end.
        libc::MS_UNBINDABLE => set_propagation(old.as_fd(), RPRIVATE, doing),
        // The one on which the new root is attached spreads nothing; the others do, as was asked.
        _ => {
            set_propagation(old.as_fd(), propagation, doing)?;
            set_propagation(old.as_fd(), Propagation { recursive: false, ..RPRIVATE }, doing)
        }
    }
}

/// The new root is a clone, and one of a shared mount is its peer: what is mounted in it would show up where it was
/// cloned from, and pivot_root(2) would not take it. Not so with what stands below: volumes spread, if that was asked.
fn alone(root: BorrowedFd<'_>, propagation: Propagation) -> Result<()> {
    match propagation.flag {
        libc::MS_SHARED => {
            let private = Propagation { recursive: false, ..RPRIVATE };
            set_propagation(root, private, "cut the new root off from the host's mounts")
        }
        _ => Ok(()),
    }
}

/// The mount that the new root is to be on spreads nothing: neither the new root, nor what hooks mount beside it, is the
/// host's; and a mount on a shared one could not be moved.
fn unshare_below(folder: &OwnedFd, path: &Bytes) -> Result<()> {
    let doing = "cut the new root off from the host's mounts";
    let id = mount_id(folder.as_fd()).cannot(doing, format_args!("statx({path})"))?;
    let mounts = mounts()?;
    let Some(mount) = mounts.iter().find(|m| m.id == id) else {
        return Err(Error::new(Class::Internal, doing, format_args!("{path} is on no mount that is listed")));
    };
    if !mount.propagation.iter().any(|word| word.starts_with("shared:")) {
        return Ok(());
    }
    let target = &mount.target;
    let top = openat(CWD, target.as_path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .cannot(doing, format_args!("open({target})"))?;
    match mount_id(top.as_fd()) {
        Ok(found) if found == id => {
            set_propagation(top.as_fd(), Propagation { recursive: false, ..RPRIVATE }, doing)
        }
        _ => Err(Error::new(Class::Conflict, doing, format_args!("another mount covers {target}"))),
    }
}

/// Moves a root that was made in its place over the old one, where [`enter`] expects it.
pub(crate) fn cover(old: &Old, place: &Place) -> Result<()> {
    attach(place.root.fd(), old.fd.as_fd(), "move the root into its place", &"/".into())
}

/// Makes the new root `/`, and leaves the old one.
pub(crate) fn enter(plan: &Plan, old: Old, place: &Place) -> Result<()> {
    let doing = "enter the new root";
    if plan.root == NewRoot::Present {
        return Ok(());
    }
    if plan.no_pivot {
        uncover_nothing(place)?;
        fchdir(place.root.fd()).cannot(doing, "fchdir(root)")?;
        chroot(".").cannot(doing, "chroot(.)")?;
    } else {
        // The new root on itself as the place for the old: nothing has to be made for it. The old one is then on top.
        fchdir(place.root.fd()).cannot(doing, "fchdir(root)")?;
        pivot_root(".", ".").cannot(doing, "pivot_root(., .)").map_err(|e| match e.errno() {
            Some(nix::errno::Errno::EINVAL) => {
                e.why("the present root may be an initramfs, which cannot be pivoted").cure("--no-pivot")
            }
            _ => e,
        })?;
        fchdir(&old.fd).cannot(doing, "fchdir(old root)")?;
        let slave = Propagation { flag: libc::MS_SLAVE, recursive: true };
        if !matches!(plan.propagation.flag, libc::MS_SLAVE | libc::MS_PRIVATE | libc::MS_UNBINDABLE) {
            set_propagation(old.fd.as_fd(), slave, doing)?;
        }
        unmount(".", UnmountFlags::DETACH).cannot(doing, "umount2(old root)")?;
    }
    chdir("/").cannot(doing, "chdir(/)")?;
    match plan.propagation.flag {
        libc::MS_SHARED | libc::MS_UNBINDABLE => set_propagation(place.root.fd(), plan.propagation, doing),
        _ => Ok(()),
    }
}

/// Without a pivot the old root's mounts stay behind the new one. A procfs or sysfs among them would let a user
/// namespace inside mount a fresh one without our masks, so they go.
fn uncover_nothing(place: &Place) -> Result<()> {
    let doing = "put the old root's /proc and /sys away";
    for mount in mounts()?.iter().rev().filter(|m| matches!(m.kind.as_str(), "proc" | "sysfs")) {
        if place.mounted.iter().any(|ours| mount_id(ours.fd.as_fd()) == Ok(mount.id)) {
            continue;
        }
        match unmount(mount.target.as_path(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Below one that went already.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(e) => return Err(Error::call(doing, format_args!("umount2({})", mount.target), e)),
        }
    }
    Ok(())
}
