//! Intel RDT: groups of the file system resctrl, which share out caches and memory bandwidth (Linux
//! Documentation/filesystems/resctrl.rst). A group (CLOS) has a `schemata` and a `tasks` file, and in `mon_groups` more
//! groups that only count.

mod stats;

use crate::bytes::Bytes;
use crate::error::{Cannot, Class, Error, IntoErrno, Result};
use crate::oci::IntelRdt;
use crate::proc::parse_mountinfo;
use nix::errno::Errno;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Names a made-up tree, in builds for tests: few machines have the processor.
const TEST_ROOT: &str = "CATENA_RESCTRL";

/// How long a chain that was killed is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A group as it is written down: where it is, and what of it is ours to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rdt {
    /// Its folder.
    pub path: Bytes,
    /// The one that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<Bytes>,
    /// What was made, in that order.
    #[serde(default)]
    pub made: Vec<Bytes>,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    folder: PathBuf,
    must_exist: bool,
    named_after_us: bool,
    lines: Vec<String>,
    monitor: Option<PathBuf>,
}

fn test_root() -> Option<PathBuf> {
    if cfg!(debug_assertions) { std::env::var_os(TEST_ROOT).map(PathBuf::from) } else { None }
}

/// Where resctrl is mounted.
fn root() -> Result<PathBuf> {
    if let Some(root) = test_root() {
        return Ok(root);
    }
    let mounts = crate::proc::read("/proc/self/mountinfo")?;
    let found = parse_mountinfo(&mounts).into_iter().find(|mount| mount.kind == "resctrl");
    found.map(|mount| mount.target.as_path().to_path_buf()).ok_or_else(|| {
        let detail = "linux.intelRdt: no resctrl here";
        Error::new(Class::Unsupported, "limit caches and memory bandwidth", detail)
            .why("this CPU or this kernel has none, or it is not mounted")
            .cure("mount -t resctrl resctrl /sys/fs/resctrl, or --try intelRdt")
    })
}

impl Wanted {
    /// Works out what `asked` means; a group that it does not name is called `name`.
    pub fn of(asked: &IntelRdt, name: &str) -> Result<Wanted> {
        let wrong = |what: &str| Err(Error::usage("limit caches and memory bandwidth", what));
        let given = asked.clos_id.as_deref().filter(|id| !id.is_empty());
        let id = given.unwrap_or(name);
        let plain = |id: &str| {
            !id.contains(['/', '\0', '\n'])
                && !["", ".", "..", "info", "mon_groups", "mon_data"].contains(&id)
        };
        if id != "/" && !plain(id) {
            return wrong("linux.intelRdt.closID: it is the name of one folder, or /");
        }
        if !plain(name) {
            return wrong("linux.intelRdt: the name of a monitoring group is that of one folder");
        }
        let root = root()?;
        let folder = if id == "/" { root } else { root.join(id) };
        let lines = lines(asked)?;
        let monitor = asked.enable_monitoring.then(|| folder.join("mon_groups").join(name));
        // Who names a group and says nothing of it means one that is there.
        let must_exist = given.is_some() && lines.is_empty();
        Ok(Wanted { folder, must_exist, named_after_us: given.is_none(), lines, monitor })
    }

    /// What `make` would make by now, for whoever has to clean up if nobody lives to tell what was made.
    pub fn to_make(&self) -> Rdt {
        let mut rdt = Rdt { path: Bytes::from(self.folder.as_path()), ..Rdt::default() };
        let folder = Some((&self.folder, self.named_after_us)).filter(|_| !self.must_exist);
        for (path, ours) in folder.into_iter().chain(self.monitor.iter().map(|path| (path, true))) {
            if !path.exists() || ours && living(path).is_empty() {
                rdt.made.push(Bytes::from(path.as_path()));
            }
        }
        rdt
    }

    /// For `--print`.
    pub fn told(&self) -> Vec<String> {
        let folder = self.folder.display();
        let lines = self.lines.iter().map(|line| format!("{folder}/schemata = {line}"));
        let monitor = self.monitor.iter().map(|path| format!("{}/tasks", path.display()));
        lines.chain([format!("{folder}/tasks")]).chain(monitor).collect()
    }

    /// Makes the groups, and sets the schemata. On failure nothing that was made stays.
    pub fn make(&self) -> Result<Rdt> {
        let monitor = self.monitor.as_deref().map(Bytes::from);
        let mut rdt = Rdt { path: Bytes::from(self.folder.as_path()), monitor, made: Vec::new() };
        match self.try_out(&mut rdt) {
            Ok(()) => Ok(rdt),
            Err(error) => {
                rdt.remove()?;
                Err(error)
            }
        }
    }

    fn try_out(&self, rdt: &mut Rdt) -> Result<()> {
        if self.must_exist {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(CWD, &self.folder, flags, Mode::empty())
                .cannot(
                    "use the group of linux.intelRdt.closID",
                    format_args!("open({})", self.folder.display()),
                )
                .map_err(|error| error.why("without a schema it names a group that is there"))?;
        } else {
            make(&self.folder, self.named_after_us, rdt)?;
        }
        set(&self.folder, &self.lines)?;
        self.monitor.as_ref().map_or(Ok(()), |monitor| make(monitor, true, rdt))
    }
}

impl Rdt {
    /// Other schemata for a group that is there.
    pub fn change(&self, asked: &IntelRdt) -> Result<()> {
        set(self.path.as_path(), &lines(asked)?)
    }

    /// Puts this process into it.
    pub fn join(&self) -> Result<()> {
        join(self.path.as_path())?;
        self.monitor.as_ref().map_or(Ok(()), |monitor| join(monitor.as_path()))
    }

    /// Removes what a chain may have made that did not live to say so. Who is about to end is waited for; a group with
    /// others in it was made by them meanwhile, and stays.
    pub fn remove_unused(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let used = || self.made.iter().any(|path| !living(path.as_path()).is_empty());
        while used() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        let unused = self.made.iter().filter(|path| living(path.as_path()).is_empty()).cloned().collect();
        let unused = Rdt { made: unused, ..self.clone() };
        loop {
            match unused.remove() {
                // Only a folder of a test can be: who is about to end has just written a file into it.
                Err(error) if error.errno() == Some(Errno::ENOTEMPTY) && Instant::now() < end => {}
                other => break other,
            }
        }
    }

    /// Removes what was made; whatever is still in it goes back to the default group.
    pub fn remove(&self) -> Result<()> {
        for path in self.made.iter().rev() {
            if test_root().is_some_and(|root| path.as_path().starts_with(root)) {
                // The kernel's files go with their folder.
                for file in ["tasks", "schemata"] {
                    unlinkat(CWD, path.as_path().join(file), AtFlags::empty())
                        .or_else(not_there)
                        .cannot("tidy up", "unlink")?;
                }
                unlinkat(CWD, path.as_path().join("mon_groups"), AtFlags::REMOVEDIR)
                    .or_else(not_there)
                    .cannot("tidy up", "rmdir")?;
            }
            unlinkat(CWD, path.as_path(), AtFlags::REMOVEDIR)
                .or_else(not_there)
                .cannot("remove the group of linux.intelRdt", format_args!("rmdir({path})"))?;
        }
        Ok(())
    }
}

/// Who is in it; not who has ended and was not waited for yet.
fn living(folder: &Path) -> Vec<String> {
    let tasks = crate::proc::read(&folder.join("tasks").to_string_lossy()).unwrap_or_default();
    let lives = |pid: &&str| {
        let stat = crate::proc::read(&format!("/proc/{pid}/stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat);
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    };
    String::from_utf8_lossy(&tasks).split_whitespace().filter(lives).map(String::from).collect()
}

fn not_there(errno: rustix::io::Errno) -> rustix::io::Result<()> {
    if errno == rustix::io::Errno::NOENT { Ok(()) } else { Err(errno) }
}

/// In the order that the specification gives: the old fields as one, without what both say of bandwidth, then the new one.
fn lines(asked: &IntelRdt) -> Result<Vec<String>> {
    let split = |text: &Option<String>| -> Vec<String> {
        text.iter()
            .flat_map(|text| text.lines())
            .map(|line| line.trim().to_string())
            .filter(|line| !line.is_empty())
            .collect()
    };
    let (mut caches, bandwidth) = (split(&asked.l3_cache_schema), split(&asked.mem_bw_schema));
    if !bandwidth.is_empty() {
        caches.retain(|line| !line.starts_with("MB:"));
    }
    let new = asked.schemata.iter().map(|line| line.trim().to_string());
    let all: Vec<String> = caches.into_iter().chain(bandwidth).chain(new).collect();
    match all.iter().find(|line| !line.contains(':') || line.contains('\n')) {
        Some(line) => Err(Error::usage(
            "limit caches and memory bandwidth",
            format_args!("linux.intelRdt: '{}' is not as L3:0=ff;1=ff", line.escape_debug()),
        )),
        None => Ok(all),
    }
}

/// One that is there stays when we go, unless it is named after us and nobody is in it: somebody of our name was killed.
fn make(path: &Path, ours: bool, rdt: &mut Rdt) -> Result<()> {
    let doing = "make the group of linux.intelRdt";
    match mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Ok(()) => rdt.made.push(Bytes::from(path)),
        Err(rustix::io::Errno::EXIST) if ours && living(path).is_empty() => rdt.made.push(Bytes::from(path)),
        Err(rustix::io::Errno::EXIST) => {}
        Err(e) => {
            let error = Error::call(doing, format_args!("mkdir({})", path.display()), e);
            return Err(match e.into_errno() {
                Errno::ENOSPC => error.why("the processor has no class of service left"),
                _ => error,
            });
        }
    }
    // A made-up tree has the kernel's folders only if somebody makes them.
    if test_root().is_some() && path.parent().is_none_or(|above| !above.ends_with("mon_groups")) {
        match mkdirat(CWD, path.join("mon_groups"), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(Error::call(doing, "mkdir(mon_groups)", e)),
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str, doing: &str) -> Result<()> {
    let mut flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    flags.set(OFlags::CREATE, test_root().is_some());
    let fd = openat(CWD, path, flags, Mode::from_raw_mode(0o644))
        .cannot(doing, format_args!("open({})", path.display()))?;
    rustix::io::write(&fd, text.as_bytes()).cannot(doing, format_args!("write({})", path.display())).map(drop)
}

/// All lines in one write: the kernel takes them all or, up to the first that is wrong, none but those before it.
fn set(folder: &Path, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let (path, doing) = (folder.join("schemata"), "set the schemata of linux.intelRdt");
    write(&path, &format!("{}\n", lines.join("\n")), doing).map_err(explain)?;
    let found = crate::proc::read(&path.to_string_lossy())?;
    let found = String::from_utf8_lossy(&found);
    for line in lines {
        if !found.lines().any(|other| says(other, line)) {
            return Err(Error::readback(format_args!("{}", path.display()), line, found.trim()));
        }
    }
    Ok(())
}

/// Whether a line of the file holds what was written: each cache of it, whatever zeros are in front. Bandwidth is
/// rounded by the processor.
fn says(found: &str, asked: &str) -> bool {
    let (Some(found), Some(asked)) = (parts(found), parts(asked)) else { return false };
    found.0 == asked.0 && (asked.0 == "MB" || asked.1.iter().all(|one| found.1.contains(one)))
}

/// What a line is of, and its value for each cache, by id.
type Line<'a> = (&'a str, Vec<(&'a str, Option<u64>)>);

fn parts(line: &str) -> Option<Line<'_>> {
    let (name, rest) = line.trim().split_once(':')?;
    let pair = |word| {
        let (id, value) = str::split_once(word, '=')?;
        Some((id.trim(), u64::from_str_radix(value.trim(), 16).ok()))
    };
    Some((name.trim(), rest.split(';').filter_map(pair).collect()))
}

/// The kernel says in words what it did not like.
fn explain(error: Error) -> Error {
    let told =
        root().and_then(|root| crate::proc::read(&root.join("info/last_cmd_status").to_string_lossy()));
    match told.map(|text| String::from_utf8_lossy(&text).trim().to_string()) {
        Ok(text) if !text.is_empty() && text != "ok" => error.why(text),
        _ => error,
    }
}

fn join(folder: &Path) -> Result<()> {
    let pid = std::process::id().to_string();
    write(&folder.join("tasks"), &pid, "join the group of linux.intelRdt").map_err(explain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_schemata_in_the_order_of_the_specification() {
        let asked = IntelRdt {
            l3_cache_schema: Some("L3:0=f;1=f\nMB:0=20".into()),
            mem_bw_schema: Some("MB:0=50".into()),
            schemata: vec!["L2:0=3".into()],
            ..IntelRdt::default()
        };
        assert_eq!(lines(&asked).expect("they are lines"), ["L3:0=f;1=f", "MB:0=50", "L2:0=3"]);
        let alone = IntelRdt { mem_bw_schema: None, schemata: Vec::new(), ..asked };
        assert_eq!(lines(&alone).expect("they are lines"), ["L3:0=f;1=f", "MB:0=20"]);
        assert!(lines(&IntelRdt { schemata: vec!["ff".into()], ..IntelRdt::default() }).is_err());
    }

    #[test]
    fn a_line_says_what_was_asked() {
        assert!(says("    L3:0=000f;1=00ff", "L3:1=ff"));
        assert!(says("    MB:0= 20;1=100", "MB:0=15"));
        assert!(!says("    L3:0=000f", "L3:0=ff") && !says("L3:0=f", "L2:0=f") && !says("L3:0=f", "L3:1=f"));
    }

    #[test]
    fn what_is_there_is_another_s_unless_it_is_named_after_us_and_empty() {
        let tree = std::env::temp_dir().join(format!("catena-rdt-{}", std::process::id()));
        let folder = tree.join("x");
        std::fs::create_dir(&tree).expect("it is new");
        let wanted = |ours| Wanted { folder: folder.clone(), named_after_us: ours, ..Wanted::default() };
        let made = |ours| wanted(ours).to_make().made.len();
        assert_eq!([made(false), made(true)], [1, 1]);
        std::fs::create_dir(&folder).expect("it is new");
        assert_eq!([made(false), made(true)], [0, 1]);
        let rdt = wanted(true).to_make();
        std::fs::write(folder.join("tasks"), std::process::id().to_string()).expect("it takes it");
        assert_eq!([made(false), made(true)], [0, 0]);
        rdt.remove_unused().expect("it leaves it");
        assert!(folder.join("tasks").exists(), "who is in it came meanwhile");
        std::fs::remove_file(folder.join("tasks")).expect("it is there");
        rdt.remove_unused().expect("it removes it");
        assert!(!folder.exists());
        std::fs::remove_dir(&tree).expect("it is empty");
    }
}
