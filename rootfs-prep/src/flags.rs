//! From flags to a layer, which holds everything they stand for, so that both forms of a chain mean the same.

use crate::cli::{Args, Op};
use crate::defaults;
use crate::path::{clean, is_below, join};
use chain::bytes::Bytes;
use chain::link::Files;
use chain::oci::{Device, Mount, Root};
use chain::spec::RootfsPrep;
use chain::{Cannot, Error, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Puts flags on top of a config's share, or of nothing.
pub(crate) fn from_flags(args: &Args, mut spec: RootfsPrep, _files: &Files<'_>) -> Result<RootfsPrep> {
    sources_absolute(&mut spec)?;
    callers_terminal(&mut spec);
    let defaults = args.root.is_some() && spec.root.is_none() && !args.no_defaults;
    if let Some(root) = &args.root {
        let readonly = spec.root.take().is_some_and(|root| root.readonly);
        spec.root = Some(Root { path: absolute(root)?, readonly });
    }
    let mut added = Added::default();
    for op in &args.ops.0 {
        added.take(op, &mut spec)?;
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
    if defaults || args.mask_default {
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

/// A terminal of the container's own wants somebody at its other end, and a shell has one to give already.
fn callers_terminal(spec: &mut RootfsPrep) {
    if std::mem::take(&mut spec.terminal) {
        spec.console_size = None;
        let text =
            "process.terminal: the command has this shell's standard fds; only runner makes a terminal";
        chain::report::warn("rootfs-prep", text);
    }
}

/// The share of a config names paths of the bundle, which may itself have been named from here.
fn sources_absolute(spec: &mut RootfsPrep) -> Result<()> {
    if let Some(root) = &mut spec.root {
        root.path = absolute(root.path.as_path())?;
    }
    for mount in &mut spec.mounts {
        let bind = mount.kind.as_deref() == Some("bind")
            || mount.options.iter().any(|o| o == "bind" || o == "rbind");
        if let Some(source) = mount.source.as_mut().filter(|_| bind) {
            *source = absolute(source.as_path())?;
        }
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<Bytes> {
    let whole = std::path::absolute(path).cannot(format_args!("find {}", path.display()), "getcwd")?;
    Ok(Bytes::from(whole.as_path()))
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
#[derive(Default)]
struct Added {
    mounts: Vec<Mount>,
    /// The flag of each mount, as written.
    words: Vec<String>,
}

impl Added {
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
            "dir" => self.push(plain("dir", None, path(first)?), &words)?,
            "symlink" => self.push(plain("symlink", Some(first.into()), path(&op.values[1])?), &words)?,
            "mount" => self.push(any(first, &words)?, &words)?,
            bind => {
                let at = path(&op.values[1])?;
                if bind.ends_with("-try") {
                    spec.attempt.push(at.clone());
                }
                let options: &[&str] = match bind.trim_end_matches("-try") {
                    "ro-bind" => &["rbind", "rro", "rnosuid", "rnodev"],
                    "dev-bind" => &["rbind", "rnosuid"],
                    _ => &["rbind", "rnosuid", "rnodev"],
                };
                let mut mount = plain("bind", Some(absolute(Path::new(first))?), at);
                mount.options = defaults::words(options);
                self.push(mount, &words)?;
            }
        }
        Ok(())
    }

    /// A mount that hides what an earlier flag asked for was not meant.
    fn push(&mut self, mount: Mount, words: &str) -> Result<()> {
        if !matches!(mount.kind.as_deref(), Some("dir" | "symlink")) && !is_remount(&mount) {
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

fn is_remount(mount: &Mount) -> bool {
    mount.options.iter().any(|o| o == "remount")
}

fn plain(kind: &str, source: Option<Bytes>, destination: Bytes) -> Mount {
    Mount { kind: Some(kind.into()), source, destination, ..Mount::default() }
}

/// `PATH[:OPTION,OPTION]`. A colon may be part of the path, so only what reads as options is taken for them.
fn tmpfs(value: &OsStr, words: &str) -> Result<Mount> {
    let bytes = value.as_bytes();
    let colon = bytes.iter().rposition(|b| *b == b':');
    let options =
        colon.and_then(|at| std::str::from_utf8(&bytes[at + 1..]).ok()).filter(|text| !text.contains('/'));
    let path = if options.is_some() { &bytes[..colon.unwrap_or(0)] } else { bytes };
    let mut mount = plain("tmpfs", Some("tmpfs".into()), clean(&OsStr::from_bytes(path).into(), words)?);
    mount.options = defaults::words(&["nosuid", "nodev"]);
    for option in options.unwrap_or("").split(',').filter(|o| !o.is_empty()) {
        mount.options.push(if option == "copyup" { "tmpcopyup".into() } else { option.to_string() });
    }
    Ok(mount)
}

/// `type=T,source=S,target=D,option…`, in docker's words or mount(8)'s.
fn any(value: &OsStr, words: &str) -> Result<Mount> {
    let wrong = |what: &str| Error::usage("read the command line", format_args!("{words}: {what}"));
    let text = value.to_str().ok_or_else(|| wrong("not text"))?;
    let mut mount = Mount::default();
    for word in text.split(',').filter(|w| !w.is_empty()) {
        match word.split_once('=') {
            Some(("type", kind)) => mount.kind = Some(kind.into()),
            Some(("source" | "src", source)) => mount.source = Some(source.into()),
            Some(("target" | "destination" | "dst", at)) => mount.destination = clean(&at.into(), words)?,
            Some(("bind-propagation", kind)) => mount.options.push(kind.into()),
            Some(("readonly", value)) => {
                mount.options.push(if value == "false" { "rw" } else { "ro" }.into())
            }
            Some(("tmpfs-size", size)) => mount.options.push(format!("size={size}")),
            Some(("tmpfs-mode", mode)) => mount.options.push(format!("mode={mode}")),
            None if word == "readonly" => mount.options.push("ro".into()),
            _ => mount.options.push(word.into()),
        }
    }
    if mount.destination.0.is_empty() {
        return Err(wrong("target= is missing"));
    }
    if is_remount(&mount) {
        return Ok(mount);
    }
    let bind =
        mount.kind.as_deref() == Some("bind") || mount.options.iter().any(|o| o == "bind" || o == "rbind");
    if !bind && mount.kind.is_none() {
        return Err(wrong("type= is missing"));
    }
    if bind {
        let source = mount.source.as_ref().ok_or_else(|| wrong("source= is missing"))?;
        mount.source = Some(absolute(source.as_path())?);
        if !mount.options.iter().any(|o| o == "bind" || o == "rbind") {
            mount.options.insert(0, "rbind".into());
        }
    }
    Ok(mount)
}

/// `PATH:c|b:MAJOR:MINOR[:MODE]` or `PATH:p[:MODE]`, from the right, for a path may have colons.
fn device(value: &OsStr, words: &str) -> Result<Device> {
    let wrong =
        || Error::usage("read the command line", format_args!("{words}: not PATH:c:MAJOR:MINOR[:MODE]"));
    let text = value.to_str().ok_or_else(wrong)?;
    let parts: Vec<&str> = text.split(':').collect();
    let kind = parts
        .iter()
        .rposition(|p| matches!(*p, "c" | "b" | "u" | "p"))
        .filter(|at| *at > 0)
        .ok_or_else(wrong)?;
    let number = |text: &&str| text.parse::<u32>().map(i64::from).map_err(|_| wrong());
    let mode = |text: &&str| u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777).ok_or_else(wrong);
    let (major, minor, file_mode) = match (&parts[kind + 1..], parts[kind]) {
        ([], "p") => (None, None, None),
        ([m], "p") => (None, None, Some(mode(m)?)),
        ([major, minor], "c" | "b" | "u") => (Some(number(major)?), Some(number(minor)?), None),
        ([major, minor, m], "c" | "b" | "u") => (Some(number(major)?), Some(number(minor)?), Some(mode(m)?)),
        _ => return Err(wrong()),
    };
    let path = clean(&parts[..kind].join(":").into(), words)?;
    Ok(Device { kind: parts[kind].into(), path, major, minor, file_mode, uid: None, gid: None })
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
    fn tmpfs_options_are_told_from_the_path() {
        let of = |text: &str| layer(&format!("--tmpfs {text}")).unwrap().mounts.remove(0);
        assert_eq!(of("/t:size=64M,mode=1777").options, ["nosuid", "nodev", "size=64M", "mode=1777"]);
        assert_eq!(of("/t:copyup").options, ["nosuid", "nodev", "tmpcopyup"]);
        assert_eq!(of("/a:b/c").destination, "/a:b/c".into());
        assert_eq!(of("/t").options, ["nosuid", "nodev"]);
    }

    #[test]
    fn devices_are_read_from_the_right() {
        let of = |text: &str| layer(&format!("--mknod {text}"));
        let fuse = of("/dev/fuse:c:10:229:0660").unwrap().devices.remove(0);
        assert_eq!(
            (fuse.path, fuse.major, fuse.minor, fuse.file_mode),
            ("/dev/fuse".into(), Some(10), Some(229), Some(0o660))
        );
        assert_eq!(of("/a:b:p").unwrap().devices[0].path, "/a:b".into());
        for bad in [
            "/dev/x",
            "/dev/x:c",
            "/dev/x:c:1",
            "/dev/x:c:1:x",
            "/dev/x:c:1:2:9",
            "/dev/x:z:1:2",
            "/dev/x:c:1:-2",
            ":c:1:3",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn any_mount_in_dockers_words() {
        let of = |text: &str| layer(&format!("--mount {text}"));
        let bind = of("type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave").unwrap().mounts.remove(0);
        assert_eq!(bind.options, ["rbind", "ro", "rslave"]);
        let tmpfs = of("type=tmpfs,target=/t,tmpfs-size=1m,nosuid").unwrap().mounts.remove(0);
        assert_eq!(
            (tmpfs.kind.as_deref(), tmpfs.options),
            (Some("tmpfs"), vec!["size=1m".to_string(), "nosuid".into()])
        );
        for again in ["target=/t,remount,ro", "target=/t,remount,bind,ro"] {
            layer(&format!("--tmpfs /t --mount {again}")).unwrap();
        }
        for bad in ["type=bind,target=/b", "type=tmpfs", "target=/x", ""] {
            assert!(of(bad).is_err(), "{bad}");
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
