//! The values of flags that say more than one thing: `--tmpfs`, `--mount`, `--mknod`.

use crate::defaults;
use crate::path::clean;
use chain::bytes::Bytes;
use chain::oci::{Device, IdMapping, Mount};
use chain::{Cannot, Error, Result};
use std::ffi::OsStr;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path of the caller's.
pub(crate) fn absolute(path: &Path) -> Result<Bytes> {
    let whole = std::path::absolute(path).cannot(format_args!("find {}", path.display()), "getcwd")?;
    Ok(Bytes::from(whole.as_path()))
}

/// Changes a mount that is there.
pub(crate) fn is_remount(mount: &Mount) -> bool {
    mount.options.iter().any(|o| o == "remount")
}

/// Without options.
pub(crate) fn plain(kind: &str, source: Option<Bytes>, destination: Bytes) -> Mount {
    Mount { kind: Some(kind.into()), source, destination, ..Mount::default() }
}

/// The mount of a flag that binds.
pub(crate) fn bound(flag: &str, source: Bytes, at: Bytes) -> Mount {
    let mut mount = plain("bind", Some(source), at);
    mount.options = defaults::words(match flag {
        "ro-bind" | "ro-bind-try" | "ro-bind-fd" => &["rbind", "rro", "rnosuid", "rnodev"],
        "dev-bind" | "dev-bind-try" => &["rbind", "rnosuid"],
        _ => &["rbind", "rnosuid", "rnodev"],
    });
    mount
}

/// The number of an fd.
pub(crate) fn fd_number(fd: &OsStr, words: &str) -> Result<RawFd> {
    let number = fd.to_str().and_then(|n| n.parse().ok());
    number.ok_or_else(|| Error::usage("read the command line", format_args!("{words}: not an fd")))
}

/// `PATH[:OPTION,OPTION]`. A colon may be part of the path, so only what reads as options is taken for them.
pub(crate) fn tmpfs(value: &OsStr, words: &str) -> Result<Mount> {
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
pub(crate) fn any(value: &OsStr, words: &str) -> Result<Mount> {
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
            Some((key @ ("idmap" | "uidmap" | "gidmap"), line)) if !line.contains('-') => {
                let line = id_range(line).ok_or_else(|| wrong("a map is ID:HOSTID:SIZE"))?;
                if key != "gidmap" {
                    mount.uid_mappings.push(line);
                }
                if key != "uidmap" {
                    mount.gid_mappings.push(line);
                }
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

/// `ID:HOSTID:SIZE`.
fn id_range(text: &str) -> Option<IdMapping> {
    let numbers: Vec<u32> = text.split(':').map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
    let [container_id, host_id, size] = numbers[..] else { return None };
    Some(IdMapping { container_id, host_id, size })
}

/// `PATH:c|b:MAJOR:MINOR[:MODE]` or `PATH:p[:MODE]`, from the right, for a path may have colons.
pub(crate) fn device(value: &OsStr, words: &str) -> Result<Device> {
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
    use crate::cli::parse;
    use crate::flags::from_flags;
    use chain::Result;
    use chain::files::Files;
    use chain::spec::RootfsPrep;

    fn layer(line: &str) -> Result<RootfsPrep> {
        from_flags(&parse(line)?, RootfsPrep::default(), &Files::default())
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
        let mapped = of("type=bind,src=/a,dst=/b,idmap=0:1000:1,uidmap=1:100000:9,gidmap=1:5:9")
            .unwrap()
            .mounts
            .remove(0);
        assert_eq!((mapped.uid_mappings.len(), mapped.gid_mappings[1].host_id), (2, 5));
        assert!(of("type=bind,src=/a,dst=/b,idmap=0:1").is_err());
        for again in ["target=/t,remount,ro", "target=/t,remount,bind,ro"] {
            layer(&format!("--tmpfs /t --mount {again}")).unwrap();
        }
        for bad in ["type=bind,target=/b", "type=tmpfs", "target=/x", ""] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
