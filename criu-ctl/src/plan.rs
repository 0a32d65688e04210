//! From the command line, and what is known of the container, to a request to criu. Pure: no call is made here.

use crate::cli::{Args, Verb};
use crate::known::Known;
use crate::migrate::{self, Migrate};
use crate::opts::{self, usage};
use crate::outside;
use crate::predict::Given;
use crate::rpc::{Kind, Opts, PageServer};
use crate::stray;
use chain::bytes::Bytes;
use chain::error::{Class, Error, Result};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What to do, and with which criu.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    /// `--criu`.
    pub criu: Option<PathBuf>,
    pub job: Job,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Job {
    Check { feature: Option<String>, json: bool },
    Predict { pid: i32, given: Given, known: Known, json: bool },
    Dump(Dump),
    Restore(Restore),
    Show { folder: PathBuf, json: bool },
    Serve(Serve),
    Migrate(Box<Migrate>),
}

/// A server of pages.
#[derive(Debug, PartialEq)]
pub(crate) struct Serve {
    /// Hands them out, instead of taking them.
    pub lazy: bool,
    pub folder: PathBuf,
    pub server: Option<PageServer>,
}

/// A dump.
#[derive(Debug, PartialEq)]
pub(crate) struct Dump {
    /// All of it, or the memory alone.
    pub kind: Kind,
    pub pid: i32,
    pub folders: Folders,
    pub opts: Opts,
    pub known: Known,
    pub json: bool,
    /// Note where its standard streams lead to.
    pub stdio: bool,
    /// Write down what its memory was.
    pub hash_pages: bool,
    pub listeners: Fds,
}

/// Fds of those who wait for word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fds {
    pub meet: Option<i32>,
    pub ready: Option<i32>,
}

/// A restore.
#[derive(Debug, PartialEq)]
pub(crate) struct Restore {
    pub folders: Folders,
    pub opts: Opts,
    pub known: Known,
    pub json: bool,
    /// Give it our own standard streams.
    pub stdio: bool,
    pub listeners: Fds,
    /// The tree's `/`, which criu wants to be a mount point.
    pub root: Option<PathBuf>,
    pub detach: bool,
    pub pid_file: Option<PathBuf>,
}

/// Where the images are, and the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Folders {
    pub images: PathBuf,
    pub work: Option<PathBuf>,
    /// What fails here is removed, and the log with it.
    pub passing: bool,
}

impl Folders {
    /// The log, for people.
    pub(crate) fn log(&self, opts: &Opts) -> String {
        if self.passing && self.work.is_none() {
            return "the log that --work-dir keeps".into();
        }
        let folder = self.work.as_ref().unwrap_or(&self.images);
        folder.join(String::from_utf8_lossy(&opts.log_file).as_ref()).display().to_string()
    }
}

/// Makes the request, or says why there is none.
pub(crate) fn resolve(args: &Args, known: &Known) -> Result<Plan> {
    refuse_what_has_no_meaning(args)?;
    let verb = match (args.common.check, args.verb) {
        (true, None) => Verb::Check,
        (_, Some(verb)) => verb,
        (false, None) => {
            return Err(usage(
                "no command: check, dump, pre-dump, restore, migrate, show, page-server or lazy-pages",
            )
            .cure("criu-ctl --help"));
        }
    };
    stray::refuse(args, verb)?;
    let job = match if args.common.check { Verb::Check } else { verb } {
        Verb::Check if args.for_tree.is_some() => predict(args, known)?,
        Verb::Check => Job::Check { feature: feature(args)?, json: args.common.json },
        Verb::Dump => Job::Dump(dump(args, known, Kind::Dump)?),
        Verb::PreDump => Job::Dump(dump(args, known, Kind::SinglePreDump)?),
        Verb::Restore => Job::Restore(restore(args, known)?),
        Verb::Migrate => Job::Migrate(Box::new(migrate::resolve(args, known)?)),
        Verb::Show => Job::Show { folder: shown(args)?, json: args.common.json },
        Verb::PageServer | Verb::LazyPages => Job::Serve(serve(args, verb == Verb::LazyPages)?),
    };
    Ok(Plan { criu: args.criu.clone(), job })
}

/// Common flags that mean something to a link only.
fn refuse_what_has_no_meaning(args: &Args) -> Result<()> {
    if args.common.stdin.is_some() || !args.common.keep_fd.is_empty() {
        return Err(usage("--stdin and --keep-fd are for a next program, and criu-ctl has none"));
    }
    if args.common.show.is_some() {
        return Err(usage("--show: criu-ctl is no layer of a process"));
    }
    Ok(())
}

/// criu takes the name as an argument, so it must not look like an option.
fn feature(args: &Args) -> Result<Option<String>> {
    let Some(name) = &args.feature else { return Ok(None) };
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let text = name.to_str().filter(|n| !n.starts_with('-') && !n.is_empty() && n.chars().all(good));
    text.map(|n| Some(n.to_string()))
        .ok_or_else(|| usage(format_args!("--feature: '{}' is no feature's name", name.display())))
}

fn folders(args: &Args) -> Result<Folders> {
    let images = args.images_dir.clone().ok_or_else(|| usage("-D is missing: the folder of the images"))?;
    Ok(Folders { images, work: args.work_dir.clone(), passing: args.verb == Some(Verb::Migrate) })
}

fn shown(args: &Args) -> Result<PathBuf> {
    let folder = args.folder.clone().or_else(|| args.images_dir.clone());
    folder.ok_or_else(|| usage("no folder: criu-ctl show DIR"))
}

fn predict(args: &Args, known: &Known) -> Result<Job> {
    let pid = args.for_tree.filter(|pid| *pid > 0).ok_or_else(|| usage("--for: that is no pid"))?;
    let given = Given {
        shell_job: args.shell_job,
        tcp_established: args.tcp_established,
        tcp_skip_in_flight: args.more.tcp_skip_in_flight,
        ext_unix_sk: args.ext_unix_sk,
        file_locks: args.file_locks,
        link_remap: args.more.link_remap,
    };
    Ok(Job::Predict { pid, given, known: known.clone(), json: args.common.json })
}

fn serve(args: &Args, lazy: bool) -> Result<Serve> {
    let server = args.more.page_server.as_deref().map(opts::server).transpose()?;
    if server.is_none() && !lazy {
        return Err(usage("--page-server is missing: the ADDRESS:PORT to listen at"));
    }
    Ok(Serve { lazy, folder: folders(args)?.images, server })
}

fn listeners(args: &Args) -> Fds {
    Fds { meet: args.more.meet_fd, ready: args.more.ready_fd }
}

pub(crate) fn dump(args: &Args, known: &Known, kind: Kind) -> Result<Dump> {
    let pid = args.tree.ok_or_else(|| usage("-t is missing: the pid of the tree's root"))?;
    if pid < 1 {
        return Err(usage(format_args!("-t {pid} is no pid")));
    }
    let mut opts = opts::dump(args, known, pid)?;
    if kind == Kind::SinglePreDump {
        opts.track_mem = true;
    }
    if kind == Kind::Dump && opts.lazy_pages && opts.ps.is_none() {
        // criu would choose a port that nobody knows, and hold the tree still until somebody comes.
        return Err(usage(
            "--lazy-pages: --page-server is missing: the ADDRESS:PORT where the pages can be fetched",
        ));
    }
    // `mnt[WHERE]:KEY`: what is mounted there is not taken along, only remembered under this key.
    opts.external.extend(known.binds.iter().map(|bind| outside::mount(&bind.inside, &bind.inside)));
    let (stdio, listeners, known) = (args.more.stdio, listeners(args), known.clone());
    let (folders, json, hash_pages) = (folders(args)?, args.common.json, args.more.hash_pages);
    Ok(Dump { kind, pid, folders, opts, known, json, stdio, hash_pages, listeners })
}

pub(crate) fn restore(args: &Args, known: &Known) -> Result<Restore> {
    let mut opts = opts::restore(args, known)?;
    // `mnt[KEY]:SOURCE`: what comes back where the key was.
    opts.external.extend(known.binds.iter().map(|bind| outside::mount(&bind.inside, &bind.source)));
    if args.pid_file.as_ref().is_some_and(|path| path.file_name().is_none()) {
        return Err(usage("--pid-file names no file"));
    }
    let root = opts.root.clone().map(|root| Bytes(root).as_path().to_path_buf());
    let (detach, pid_file, known) = (args.detach, args.pid_file.clone(), known.clone());
    let (stdio, listeners) = (args.more.stdio, listeners(args));
    let json = args.common.json;
    Ok(Restore { folders: folders(args)?, opts, known, json, stdio, listeners, root, detach, pid_file })
}

impl Plan {
    /// `--print`: the request in the words of CRIU's rpc.proto, with folders where it has fds.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        let criu = self.criu.as_ref().map_or("criu".into(), |path| path.display().to_string());
        let mut document = match &self.job {
            Job::Check { feature, .. } => json!({"type": "CHECK", "feature": feature}),
            Job::Predict { pid, .. } => json!({"type": "CHECK", "for": pid}),
            Job::Dump(dump) => {
                let kind = if dump.kind == Kind::Dump { "DUMP" } else { "PRE_DUMP" };
                request(kind, &dump.folders, &dump.opts)
            }
            Job::Show { folder, .. } => json!({"type": "SHOW", "images_dir": folder.display().to_string()}),
            Job::Serve(serve) => {
                let kind = if serve.lazy { "LAZY_PAGES" } else { "PAGE_SERVER" };
                json!({"type": kind, "images_dir": serve.folder.display().to_string(), "ps": serve.server})
            }
            Job::Migrate(job) => migrate::to_json(job),
            Job::Restore(restore) => {
                let mut document = request("RESTORE", &restore.folders, &restore.opts);
                document["detach"] = json!(restore.detach);
                document["pid_file"] =
                    json!(restore.pid_file.as_ref().map(|path| path.display().to_string()));
                document
            }
        };
        document["criu"] = json!(criu);
        let mut text = serde_json::to_vec_pretty(&document)
            .map_err(|e| Error::new(Class::Internal, "print the request", e))?;
        text.push(b'\n');
        Ok(text)
    }
}

pub(crate) fn request(kind: &str, folders: &Folders, opts: &Opts) -> Value {
    let work = folders.work.as_ref().unwrap_or(&folders.images);
    json!({
        "type": kind,
        "images_dir": folders.images.display().to_string(),
        "work_dir": work.display().to_string(),
        "opts": opts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known::Bind;
    use clap::Parser;

    fn plan(words: &[&str]) -> Result<Plan> {
        let args = Args::try_parse_from(["criu-ctl"].iter().chain(words)).unwrap();
        let bind = Bind { inside: "/in".into(), source: "/out".into(), tree: false };
        let known = Known { root: Some("/r".into()), binds: vec![bind], ..Known::default() };
        resolve(&args, &known)
    }

    #[test]
    fn a_dump_says_what_criu_must_not_assume() {
        let Job::Dump(dump) = plan(&["dump", "-t", "42", "-D", "img", "-R", "-j", "-l"]).unwrap().job else {
            panic!()
        };
        let o = &dump.opts;
        assert_eq!((o.pid, o.leave_running, o.shell_job, o.file_locks), (Some(42), true, true, true));
        assert_eq!((o.tcp_established, o.ext_unix_sk, o.rst_sibling), (false, false, false));
        assert_eq!((o.manage_cgroups_mode, o.log_level), (Some(0), Some(4)));
        assert_eq!(o.external, [b"mnt[/in]:/in".to_vec()]);
        assert_eq!(dump.folders, Folders { images: "img".into(), work: None, passing: false });
    }

    #[test]
    fn a_restored_root_is_our_child_and_mounts_come_from_their_source() {
        let Job::Restore(restore) = plan(&["restore", "-D", "img", "--tcp-established"]).unwrap().job else {
            panic!()
        };
        assert!(restore.opts.rst_sibling && restore.opts.tcp_established && !restore.detach);
        assert_eq!(restore.opts.external, [b"mnt[/in]:/out".to_vec()]);
        assert_eq!(restore.root, Some("/r".into()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (words, reason) in [
            (&["dump", "-D", "img"][..], "-t is missing"),
            (&["dump", "-t", "1"], "-D is missing"),
            (&["dump", "-t", "0", "-D", "img"], "-t 0 is no pid"),
            (&["restore"], "-D is missing"),
            (&["restore", "-D", "img", "-R"], "--leave-running is not for restore"),
            (&["restore", "-D", "img", "-t", "1"], "--tree is not for restore"),
            (&["dump", "-t", "1", "-D", "img", "-d"], "--detach is not for dump"),
            (&["check", "-D", "img"], "--images-dir is not for check"),
            (&["check", "--feature=--all"], "is no feature's name"),
            (&["check", "--tcp-established"], "--tcp-established is not for check"),
            (&["check", "--for", "0"], "--for: that is no pid"),
            (&["dump", "--for", "1", "-D", "img"], "--for is not for dump"),
            (&["dump", "-t", "1", "-D", "img", "--lazy-pages"], "--page-server is missing"),
            (&["dump", "-t", "1", "-D", "img", "--keep-fd", "5"], "criu-ctl has none"),
            (&["--show", "1"], "--show"),
            (&[], "no command"),
        ] {
            let error = plan(words).unwrap_err();
            assert!(error.to_string().contains(reason), "{words:?}: {error}");
        }
    }

    #[test]
    fn print_has_the_request_and_no_fd() {
        let text = plan(&["restore", "-D", "img", "-d", "--pid-file", "p"]).unwrap().to_json().unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["type"], "RESTORE");
        assert_eq!(document["images_dir"], "img");
        assert_eq!(document["opts"]["external"][0], "mnt[/in]:/out");
        assert_eq!(document["pid_file"], "p");
        assert!(document["opts"].get("images_dir_fd").is_none());
    }
}
