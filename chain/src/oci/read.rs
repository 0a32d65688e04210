//! Reading a config.json: bounded, a regular file, errors with the JSON path.

use super::{Config, Resources};
use crate::error::{Cannot, Class, Error, Result};
use crate::files::Files;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use serde::{Deserialize, Deserializer};
use std::fmt::Display;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

/// More than any engine writes; what is larger is a mistake or an attack on our memory.
pub const CONFIG_MAX: u64 = 16 << 20;

/// Reads and parses `path`.
pub fn read_config(path: &Path) -> Result<Config> {
    let doing = format_args!("read {}", path.display());
    let fd = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        .cannot(doing, format_args!("open({})", path.display()))?;
    let text = read_bounded(fd, &doing)?;
    parse_config(&text, &doing)
}

/// Everything in `fd`, which must be a regular file (or a sealed memfd) of at most [`CONFIG_MAX`] bytes.
pub fn read_bounded(fd: OwnedFd, doing: &dyn Display) -> Result<Vec<u8>> {
    let stat = fstat(&fd).cannot(doing, "fstat")?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::usage(doing, "it is not a regular file"));
    }
    let size = stat.st_size as u64;
    if size > CONFIG_MAX {
        return Err(Error::usage(
            doing,
            format_args!("{size} bytes, more than the {CONFIG_MAX} that are read"),
        ));
    }
    let mut text = Vec::with_capacity(size as usize + 1);
    std::fs::File::from(fd).take(CONFIG_MAX + 1).read_to_end(&mut text).cannot(doing, "read")?;
    Ok(text)
}

/// Limits alone, `linux.resources`, from a file or (`-`) from standard input.
pub fn read_resources(path: &Path, doing: &dyn Display) -> Result<Resources> {
    let text = match path == Path::new("-") {
        true => read_stdin(doing)?,
        false => read_bounded(Files::default().open(path)?, doing)?,
    };
    if text.trim_ascii_start().first().is_none_or(|first| *first != b'{') {
        return Err(Error::usage(doing, "not a JSON object"));
    }
    crate::json::parse(&text, doing)
}

fn read_stdin(doing: &dyn Display) -> Result<Vec<u8>> {
    let stdin = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).cannot(doing, "fcntl(0)")?;
    let mut text = Vec::new();
    std::fs::File::from(stdin).take(CONFIG_MAX + 1).read_to_end(&mut text).cannot(doing, "read(0)")?;
    if text.len() as u64 > CONFIG_MAX {
        return Err(Error::usage(doing, format_args!("more than the {CONFIG_MAX} bytes that are read")));
    }
    Ok(text)
}

/// Go writes a list or a map that is empty as null, and takes null for an empty one.
pub(super) fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// Parses a config and checks what holds for every tool: the major version, the platform.
pub fn parse_config(text: &[u8], doing: &dyn Display) -> Result<Config> {
    // An array would do for a struct, member by member.
    if text.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Error::usage(doing, "not a JSON object"));
    }
    let config: Config = crate::json::parse(text, doing)?;
    let major = config.oci_version.split('.').next().unwrap_or("");
    if major != "1" {
        let said = if config.oci_version.is_empty() { "missing" } else { &config.oci_version };
        return Err(Error::new(
            Class::Unsupported,
            doing,
            format_args!("ociVersion: {said}, and only 1.x is known"),
        ));
    }
    let foreign = [
        ("vm", &config.vm),
        ("windows", &config.windows),
        ("solaris", &config.solaris),
        ("zos", &config.zos),
        ("freebsd", &config.freebsd),
    ];
    for (name, section) in foreign {
        if section.is_some() {
            return Err(Error::new(Class::Unsupported, doing, format_args!("{name}: not for Linux")));
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_nothing_wherever_a_list_or_a_map_may_be() {
        let text = br#"{"ociVersion":"1.3.0","mounts":null,"annotations":null,"hooks":{"prestart":null},
            "process":{"args":null,"env":null,"rlimits":null,"user":{"additionalGids":null},
                "capabilities":{"ambient":null,"bounding":["CAP_KILL"]}},
            "linux":{"namespaces":null,"uidMappings":null,"timeOffsets":null,"devices":null,"sysctl":null,
                "maskedPaths":null,"resources":{"devices":null,"unified":null},
                "seccomp":{"defaultAction":"SCMP_ACT_ALLOW","architectures":null,"syscalls":[{"names":null,"args":null}]}}}"#;
        let config = parse_config(text, &"read it").unwrap();
        let linux = config.linux.unwrap();
        assert!(config.mounts.is_empty() && linux.time_offsets.is_empty() && linux.namespaces.is_empty());
        // What stands beside it is not lost with it.
        assert_eq!(config.process.unwrap().capabilities.unwrap().bounding, ["CAP_KILL"]);
        // Null is no name, number or flag.
        for bad in [r#"{"ociVersion":null}"#, r#"{"ociVersion":"1.0.0","process":{"terminal":null}}"#] {
            parse_config(bad.as_bytes(), &"read it").unwrap_err();
        }
    }
}
