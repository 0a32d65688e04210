//! From flags to a layer, which holds everything they stand for, so that both forms of a chain mean the same.

use crate::cli::{Args, Op};
use crate::defaults;
use crate::glob;
use crate::overlay;
use crate::path::{clean, is_below, join};
use crate::presets;
use crate::terminal;
use crate::values::{absolute, any, bound, device, fd_number, is_remount, plain, tmpfs};
use chain::bytes::Bytes;
use chain::files::Files;
use chain::oci::{Mount, Root};
use chain::spec::RootfsPrep;
use chain::{Class, Error, Result, given};
use std::ffi::OsStr;
use std::path::Path;

/// Puts flags on top of a config's share, or of nothing.
pub(crate) fn from_flags(args: &Args, mut spec: RootfsPrep, files: &Files<'_>) -> Result<RootfsPrep> {
    sources_absolute(&mut spec)?;
    terminal::of_the_caller(&mut spec);
    if std::mem::replace(&mut spec.no_mount_namespace, args.no_mount_namespace) {
        // In a chain the namespace is what ns-enter was told, whatever a config says to it.
        spec.rootfs_propagation.get_or_insert("rslave".into());
    }
    let defaults = args.root.is_some() && spec.root.is_none() && !args.no_defaults;
    if let Some(root) = &args.root {
        let readonly = spec.root.take().is_some_and(|root| root.readonly);
        spec.root = Some(Root { path: absolute(root)?, readonly });
    }
    let mut added = Added::new(files);
    for op in &args.ops.0 {
        added.take(op, &mut spec)?;
    }
    added.nothing_is_left_open()?;
    if let Some(name) = &args.preset {
        preset(name, &added, &mut spec, files)?;
    }
    if defaults {
        let replaced = |at: &Bytes| {
            added
                .mounts
                .iter()
                .any(|m| clean(&m.destination, "destination").is_ok_and(|above| is_below(at, &above)))
        };
        let (mounts, attempt) = defaults::mounts();
        spec.default_devices |= !replaced(&"/dev".into());
        spec.mounts.extend(mounts.into_iter().filter(|m| !replaced(&m.destination)));
        spec.attempt.extend(attempt.into_iter().filter(|at| !replaced(at)));
        spec.fresh_proc = true;
    }
    if defaults || args.mask_default || args.preset.is_some() {
        spec.masked_paths.extend(defaults::MASKED.map(Bytes::from));
        spec.readonly_paths.extend(defaults::READONLY.map(Bytes::from));
    }
    spec.fresh_proc |= added.mounts.iter().any(|m| m.kind.as_deref() == Some("proc"));
    spec.mounts.append(&mut added.mounts);
    readonly_root(&mut spec)?;
    if let Some(cwd) = &args.chdir {
        spec.cwd = Some(cwd.as_os_str().into());
    }
    if let Some(propagation) = &args.propagation {
        spec.rootfs_propagation = Some(propagation.clone());
    }
    spec.no_pivot |= args.no_pivot;
    Ok(spec)
}

/// What a preset stands for, but for what the flags have in its place.
fn preset(name: &str, added: &Added<'_>, spec: &mut RootfsPrep, files: &Files<'_>) -> Result<()> {
    let (mut theirs, mut of_preset) = (Added::new(files), RootfsPrep::default());
    let ops = presets::ops(name)?;
    for op in &ops {
        theirs.take(op, &mut of_preset)?;
    }
    let replaced = |at: &Bytes| added.mounts.iter().any(|m| is_below(at, &m.destination));
    spec.default_devices |= of_preset.default_devices && !replaced(&"/dev".into());
    of_preset.attempt.push("/proc".into());
    spec.attempt.extend(of_preset.attempt.into_iter().filter(|at| !replaced(at)));
    spec.mounts.extend(theirs.mounts.into_iter().filter(|m| !replaced(&m.destination)));
    spec.fresh_proc = true;
    if let (None, Some(here)) = (&spec.cwd, ops.iter().find(|op| op.flag == "bind")) {
        spec.cwd = Some(here.values[1].as_os_str().into());
    }
    Ok(())
}

/// The share of a config names paths of the bundle, which may itself have been named from here.
fn sources_absolute(spec: &mut RootfsPrep) -> Result<()> {
    if let Some(root) = &mut spec.root {
        root.path = absolute(root.path.as_path())?;
    }
    for mount in &mut spec.mounts {
        let bind = mount.kind.as_deref() == Some("bind")
            || mount.options.iter().any(|o| o == "bind" || o == "rbind");
        if let Some(source) = mount.source.as_mut().filter(|source| bind && !source.0.starts_with(b"/")) {
            *source = absolute(source.as_path())?;
        }
    }
    Ok(())
}

/// `--read-only /` is said of the root mount, not of a path in it.
fn readonly_root(spec: &mut RootfsPrep) -> Result<()> {
    let before = spec.readonly_paths.len();
    spec.readonly_paths.retain(|p| p.0 != b"/");
    if spec.readonly_paths.len() == before {
        return Ok(());
    }
    match (&mut spec.root, spec.mounts.first_mut()) {
        (Some(root), _) => root.readonly = true,
        (None, Some(first)) if first.destination.0 == b"/" => first.options.push("ro".into()),
        _ => {
            let detail = "the present root stays: --read-only / is for a new one";
            return Err(Error::usage("read the command line", detail).cure("--root DIR"));
        }
    }
    Ok(())
}

/// What flags ask for.
struct Added<'a> {
    files: &'a Files<'a>,
    mounts: Vec<Mount>,
    /// The flag of each mount, as written.
    words: Vec<String>,
    /// Layers for the overlay that comes.
    layers: Vec<Bytes>,
    /// Mode of what comes.
    perms: Option<String>,
    /// What was read from pipes, which can be read once.
    read: Vec<(i32, Bytes)>,
}

impl<'a> Added<'a> {
    fn new(files: &'a Files<'a>) -> Added<'a> {
        let (mounts, words, layers, read) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Added { files, mounts, words, layers, perms: None, read }
    }

    /// What only makes sense with a flag behind it has one.
    fn nothing_is_left_open(&self) -> Result<()> {
        let detail = match (self.layers.is_empty(), &self.perms) {
            (false, _) => "--overlay-src: no --overlay, --tmp-overlay or --ro-overlay stands behind it",
            (true, Some(_)) => "--perms: no --dir, --file, --bind-data or --ro-bind-data stands behind it",
            (true, None) => return Ok(()),
        };
        Err(Error::usage("read the command line", detail))
    }

    fn content(&mut self, fd: &OsStr, words: &str) -> Result<Bytes> {
        let number = fd_number(fd, words)?;
        if let Some((_, content)) = self.read.iter().find(|(n, _)| *n == number) {
            return Ok(content.clone());
        }
        let content = Bytes(self.files.content(number)?);
        self.read.push((number, content.clone()));
        Ok(content)
    }

    /// `--file` and its like: content, and the mode that was said before.
    fn data(&mut self, op: &Op, words: &str) -> Result<()> {
        let content = self.content(&op.values[0], words)?;
        let at = clean(&op.values[1].as_os_str().into(), words)?;
        let mut mount = plain(if op.flag == "file" { "file" } else { "data" }, Some(content), at);
        mount.options = match op.flag {
            "file" => Vec::new(),
            "bind-data" => defaults::words(&["nosuid", "nodev"]),
            _ => defaults::words(&["ro", "nosuid", "nodev"]),
        };
        mount.options.extend(self.perms.take());
        self.push(mount, words)
    }

    fn overlay(&mut self, op: &Op, words: &str) -> Result<()> {
        let wrong = |what: &str| Error::usage("read the command line", format_args!("{words}: {what}"));
        if self.layers.is_empty() {
            return Err(wrong("no --overlay-src stands before it"));
        }
        let not_text = "the path of a layer is not text";
        let lower = overlay::lowerdir(&std::mem::take(&mut self.layers)).ok_or_else(|| wrong(not_text))?;
        let at = clean(&op.values[op.values.len() - 1].as_os_str().into(), words)?;
        let kind = if op.flag == "tmp-overlay" { "tmp-overlay" } else { "overlay" };
        let mut mount = plain(kind, Some("overlay".into()), at);
        mount.options = defaults::words(&["nosuid", "nodev"]);
        mount.options.push(lower);
        match op.flag {
            "overlay" => {
                for (option, path) in ["upperdir", "workdir"].into_iter().zip(&op.values) {
                    let path = absolute(Path::new(path))?;
                    let path = str::from_utf8(&path.0).map_err(|_| wrong(not_text))?;
                    mount.options.push(format!("{option}={}", overlay::escaped(path)));
                }
            }
            "ro-overlay" => mount.options.push("ro".into()),
            _ => {}
        }
        self.push(mount, words)
    }

    fn take(&mut self, op: &Op, spec: &mut RootfsPrep) -> Result<()> {
        let words: Vec<String> = op.values.iter().map(|v| v.display().to_string()).collect();
        let words = format!("--{} {}", op.flag, words.join(" "));
        let first = op.values[0].as_os_str();
        let path = |raw: &OsStr| clean(&raw.into(), &words);
        match op.flag {
            "mask" => spec.masked_paths.push(path(first)?),
            "read-only" => spec.readonly_paths.push(path(first)?),
            "mknod" => spec.devices.push(device(first, &words)?),
            "dev" => self.dev(&path(first)?, &words, spec)?,
            "proc" | "sys" | "devpts" | "mqueue" | "cgroup" => {
                let at = path(first)?;
                if op.flag == "devpts" {
                    spec.attempt.push(at.clone());
                }
                self.push(defaults::mount(op.flag, at), &words)?;
            }
            "tmpfs" => self.push(tmpfs(first, &words)?, &words)?,
            "dir" => {
                let mut folder = plain("dir", None, path(first)?);
                folder.options.extend(self.perms.take());
                self.push(folder, &words)?
            }
            "perms" => {
                let mode = first.to_str().filter(|m| u32::from_str_radix(m, 8).is_ok_and(|m| m <= 0o7777));
                let wrong = || Error::usage("read the command line", format_args!("{words}: not a mode"));
                self.perms = Some(format!("mode={}", mode.ok_or_else(wrong)?));
            }
            "file" | "bind-data" | "ro-bind-data" => self.data(op, &words)?,
            "overlay-src" => self.layers.push(absolute(Path::new(first))?),
            "overlay" | "tmp-overlay" | "ro-overlay" => self.overlay(op, &words)?,
            "symlink" => self.push(plain("symlink", Some(first.into()), path(&op.values[1])?), &words)?,
            "mount" => self.push(any(first, &words)?, &words)?,
            "dev-bind-glob" | "dev-bind-glob-try" => self.devices(op, &words)?,
            "bind-fd" | "ro-bind-fd" => {
                let fd = self.files.given(fd_number(first, &words)?, &words)?;
                let mount = bound(op.flag, given::word(fd, &words)?, path(&op.values[1])?);
                self.push(mount, &words)?;
            }
            bind => {
                let at = path(&op.values[1])?;
                if bind.ends_with("-try") {
                    spec.attempt.push(at.clone());
                }
                self.push(bound(bind, absolute(Path::new(first))?, at), &words)?;
            }
        }
        Ok(())
    }

    /// `--dev-bind-glob`: what it matches here and now is what the layer says.
    fn devices(&mut self, op: &Op, words: &str) -> Result<()> {
        let found = glob::devices(&absolute(Path::new(&op.values[0]))?, words)?;
        if found.is_empty() && op.flag == "dev-bind-glob" {
            let detail = format_args!("{words}: nothing matches").to_string();
            return Err(Error::new(Class::Missing, "read the command line", detail)
                .cure("--dev-bind-glob-try, where none will do"));
        }
        for path in found {
            self.push(bound("dev-bind", path.clone(), path), words)?;
        }
        Ok(())
    }

    /// A mount that hides what an earlier flag asked for was not meant.
    fn push(&mut self, mount: Mount, words: &str) -> Result<()> {
        if !matches!(mount.kind.as_deref(), Some("dir" | "symlink" | "file")) && !is_remount(&mount) {
            let hidden = self.mounts.iter().zip(&self.words).find(|(earlier, _)| {
                let folder =
                    earlier.kind.as_deref() == Some("dir") && earlier.destination == mount.destination;
                is_below(&earlier.destination, &mount.destination) && !folder
            });
            if let Some((_, earlier)) = hidden {
                let detail = format_args!("{words} would hide {earlier}, which stands before it").to_string();
                return Err(
                    Error::usage("read the command line", detail).cure(format_args!("{words} {earlier}"))
                );
            }
        }
        self.mounts.push(mount);
        self.words.push(words.to_string());
        Ok(())
    }

    fn dev(&mut self, at: &Bytes, words: &str, spec: &mut RootfsPrep) -> Result<()> {
        for mount in defaults::dev(at) {
            self.push(mount, words)?;
        }
        spec.attempt.push(join(at, "pts"));
        if at.0 == b"/dev" {
            spec.default_devices = true;
            return Ok(());
        }
        for (name, target) in crate::devices::default_links().filter(|(name, _)| *name != "core") {
            self.push(plain("symlink", Some(target.into()), join(at, name)), words)?;
        }
        spec.devices.extend(defaults::devices(at));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse;

    fn layer(line: &str) -> Result<RootfsPrep> {
        from_flags(&parse(line)?, RootfsPrep::default(), &Files::default())
    }

    fn at(spec: &RootfsPrep) -> Vec<String> {
        spec.mounts.iter().map(|m| m.destination.to_string()).collect()
    }

    #[test]
    fn root_alone_brings_what_a_container_is_expected_to_have() {
        let spec = layer("--root /r").unwrap();
        assert_eq!(at(&spec), ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"]);
        assert!(spec.default_devices && spec.fresh_proc);
        assert!(spec.masked_paths.contains(&"/proc/kcore".into()));
        assert!(spec.readonly_paths.contains(&"/proc/sys".into()));
        assert!(layer("--root /r --no-defaults").unwrap().mounts.is_empty());
        assert!(layer("--tmpfs /x").unwrap().masked_paths.is_empty());
        assert!(!layer("--root /r --no-defaults --mask-default").unwrap().masked_paths.is_empty());
    }

    #[test]
    fn a_flag_replaces_its_default_and_what_is_below() {
        assert_eq!(
            at(&layer("--root /r --proc /proc").unwrap()),
            ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/proc"]
        );
        let spec = layer("--root /r --tmpfs /dev --sys /sys").unwrap();
        assert_eq!(at(&spec), ["/proc", "/dev", "/sys"]);
        assert!(!spec.default_devices);
        assert!(layer("--root /r --dev /dev").unwrap().default_devices);
        assert_eq!(
            at(&layer("--root /r --tmpfs /dev/shm:size=1M").unwrap())
                .iter()
                .filter(|d| *d == "/dev/shm")
                .count(),
            1
        );
    }

    #[test]
    fn sources_are_made_absolute_here() {
        let cwd = std::env::current_dir().unwrap();
        let spec = layer("--root ./r --bind src /src").unwrap();
        assert_eq!(spec.root.unwrap().path.as_path(), cwd.join("r"));
        assert_eq!(spec.mounts.last().unwrap().source.as_ref().unwrap().as_path(), cwd.join("src"));
    }

    #[test]
    fn a_flag_that_hides_an_earlier_one_is_refused_with_both_names() {
        for bad in [
            "--bind a /x/y --tmpfs /x",
            "--bind a /x --ro-bind b /x",
            "--tmpfs /a --tmpfs /",
            "--dir /x/y --tmpfs /x",
        ] {
            let error = layer(bad).unwrap_err();
            assert!(error.to_string().contains("would hide"), "{bad}: {error}");
        }
        for good in [
            "--tmpfs /x --bind a /x/y",
            "--bind a /x --bind b /xy",
            "--dir /x --tmpfs /x",
            "--tmpfs / --tmpfs /a",
        ] {
            layer(good).unwrap();
        }
    }

    #[test]
    fn read_only_slash_is_the_root() {
        assert!(layer("--root /r --read-only /").unwrap().root.unwrap().readonly);
        assert!(layer("--tmpfs / --read-only /").unwrap().mounts[0].options.contains(&"ro".to_string()));
        assert!(layer("--read-only /").is_err());
    }

    #[test]
    fn the_examples_of_the_help_parse() {
        layer("--root ./rootfs").unwrap();
        layer("--tmpfs / --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --bind . /src --chdir /src").unwrap();
        layer("--tmpfs /tmp:size=64M --read-only /etc").unwrap();
    }
}
