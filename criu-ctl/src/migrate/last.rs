//! The last round: the tree stands still, what is left of it is sent, and it goes on at the destination.

use super::progress::{Bar, say};
use super::rounds::Round;
use super::server::Server;
use super::{Failed, Migrate, Outcome, name, place, resident};
use crate::apply::{self, Audience, Origin};
use crate::meeting::Listeners;
use crate::plan::{Dump, Folders, Restore};
use crate::rpc::{InheritFd, Notify, Opts};
use crate::{folder, namespaces, restored, show, stdio};
use chain::error::{Cannot, Class, Error, Result};
use chain::oci::NamespaceKind::{Network, Pid};
use chain::supervise::has_ended;
use chain::{proc, report};
use nix::sys::wait::{WaitPidFlag, waitpid};
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde_json::{Value, json};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long somebody may take to wait for a child of his that has ended.
const FREE: Duration = Duration::from_secs(10);

/// Where the tree goes, and where it can go back to.
pub(crate) struct Arrival<'a> {
    program: &'a Path,
    job: &'a Migrate,
    own_pids: bool,
    /// Our children, the source may be one of them.
    before: Vec<i32>,
    /// It can be there twice, once standing still.
    held: bool,
    there: Home,
    back: Home,
}

/// How a tree comes to its network namespace.
enum Home {
    /// As the images have it.
    Images,
    /// criu is started in this one: it was criu's own.
    Around(OwnedFd),
    /// It is left out of the dump, and this one stands for it.
    Keyed(OwnedFd),
}

/// A tree that goes on.
pub(crate) struct Arrived {
    pub pid: i32,
    was: i32,
    rounds: Vec<Round>,
    last: Round,
    downtime: Duration,
    images: String,
    dump: Option<Value>,
    restore: Option<Value>,
}

/// A tree that was restored, and when it ran again.
struct Back {
    pid: i32,
    numbers: Option<Value>,
    at: Instant,
}

impl<'a> Arrival<'a> {
    /// Opens, and asks, all that can be beforehand.
    pub(crate) fn prepare(program: &'a Path, job: &'a Migrate) -> Result<Arrival<'a>> {
        let pid = job.dump.pid;
        let shares = |kind| job.dump.known.shared.iter().any(|(shared, _)| *shared == kind);
        let differs = |kind| Ok(proc::namespace(&pid.to_string(), kind)? != proc::namespace("self", kind)?);
        let own_pids = differs(Pid)? && !shares(Pid);
        // Ports and locks have one owner: where it would meet itself, it has to end first.
        let leaves = job.netns.is_some() || job.dump.known.own_network;
        let held = own_pids && leaves && !job.dump.opts.file_locks;
        // One that it shares with others that are not criu-ctl it shares with them from there, too.
        let apart = (differs(Network)? || shares(Network)) && !job.dump.known.own_network;
        let own = || {
            let path = format!("/proc/{pid}/ns/net");
            openat(CWD, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .cannot("find its network namespace", format_args!("open({path})"))
        };
        let (there, back) = match &job.netns {
            None if apart => (Home::Keyed(own()?), Home::Keyed(own()?)),
            None => (Home::Images, Home::Images),
            Some(word) => {
                let there = place::network(word)?;
                if differs(Network)? || shares(Network) {
                    (Home::Keyed(there), Home::Keyed(own()?))
                } else {
                    (Home::Around(there), Home::Images)
                }
            }
        };
        Ok(Arrival { program, job, own_pids, before: restored::children(), held, there, back })
    }

    /// Takes the rest, and brings it back there.
    pub(crate) fn last_round(&self, source: &OwnedFd, rounds: Vec<Round>) -> Outcome<Arrived> {
        let dump = self.dump(&rounds)?;
        let doing = format!("migrate process {}", dump.pid);
        let parent = dump.opts.parent_img.as_deref();
        let (server, socket) = Server::start(self.program, &dump.folders, parent)?;
        let expected = rounds.last().map_or_else(|| resident(dump.pid), |round| round.pages);
        let images = folder::open(&dump.folders.images, &doing)?;
        let mut bar = Some(Bar::draw(images, "last round".into(), expected));
        let began = Instant::now();
        let (mut stopped, mut sent, mut server) = (None, None, Some(server));
        let (mut back, mut failed) = (None, None);
        let mut told = |word: &Notify, _| {
            match word.script.as_deref() {
                Some("pre-dump") => stopped = Some(Instant::now()),
                // It stands still, and criu waits for a word: with an error it lets the tree go on.
                Some("post-dump") => {
                    let came = server.take().map_or(Ok(()), Server::finish);
                    (sent, bar) = (Some(Instant::now()), None);
                    let outcome = came.and_then(|()| match self.held {
                        true => self.bring(&self.there, &doing).map(|there| back = Some(there)),
                        false => Ok(()),
                    });
                    if let Err(error) = outcome {
                        failed = Some(error);
                        return Err(Error::new(Class::Internal, &doing, "the destination failed"));
                    }
                }
                _ => {}
            }
            Ok(())
        };
        let audience = Audience { listens: true, told: &mut told };
        let taken = apply::take(self.program, &dump, Some(socket), audience);
        drop(bar);
        let numbers = match (taken, failed) {
            (Ok(taken), _) => taken.numbers,
            (Err(_), Some(error)) => return Err(error.into()),
            (Err(error), None) => {
                let error = server.map_or_else(|| error.clone(), |server| server.explain(error.clone()));
                // Twice is once too often. But what has ended here goes on there, if all of it was sent.
                if sent.is_none() || !has_ended(source.as_fd())? {
                    restored::kill_remnants(&self.before)?;
                    return Err(error.into());
                }
                report::warn(crate::NAME, error);
                None
            }
        };
        let back = match back {
            Some(back) => back,
            None => {
                if let Err(error) = self.wait_until_free(&doing) {
                    report::warn(crate::NAME, error);
                }
                self.bring(&self.there, &doing).or_else(|error| self.return_home(error, &doing))?
            }
        };
        let pages = numbers.as_ref().and_then(|numbers| numbers["pages_written"].as_u64()).unwrap_or(0);
        let took = sent.unwrap_or(back.at) - began;
        let since = rounds.last().map(|round| round.took);
        say(format_args!("last round: {pages} pages in {:.1} s", took.as_secs_f64()));
        Ok(Arrived {
            pid: back.pid,
            was: dump.pid,
            rounds,
            last: Round { pages, took, since },
            downtime: back.at - stopped.unwrap_or(began),
            images: dump.folders.images.display().to_string(),
            dump: numbers,
            restore: back.numbers,
        })
    }

    /// The last dump, on top of the rounds.
    fn dump(&self, rounds: &[Round]) -> Result<Dump> {
        let job = &self.job.dump;
        let parent_img = (!rounds.is_empty()).then(|| name(rounds.len()).into_bytes());
        let mut opts = Opts { track_mem: parent_img.is_some(), parent_img, ..job.opts.clone() };
        let mut known = job.known.clone();
        if let (Home::Keyed(_), Some((word, key))) = (&self.there, namespaces::key(Network)) {
            let inode = proc::namespace(&job.pid.to_string(), Network)?;
            opts.external.push(format!("{word}[{inode}]:{key}").into_bytes());
            opts.empty_ns = None;
            known.shared.retain(|(kind, _)| *kind != Network);
        }
        let folders =
            Folders { images: job.folders.images.clone(), work: job.folders.work.clone(), passing: true };
        Ok(Dump { folders, opts, known, ..*job })
    }

    /// Brings the tree back into a network namespace.
    fn bring(&self, home: &Home, doing: &str) -> Result<Back> {
        let job = &self.job.restore;
        let mut opts = job.opts.clone();
        let mut known = job.known.clone();
        let folders =
            Folders { images: job.folders.images.clone(), work: job.folders.work.clone(), passing: true };
        let mut around = None;
        match home {
            Home::Images => {}
            Home::Around(network) => around = Some(network.as_fd()),
            Home::Keyed(network) => {
                let key =
                    namespaces::key(Network).map(|(_, key)| key.as_bytes().to_vec()).unwrap_or_default();
                stdio::pass_on(network, doing)?;
                opts.inherit_fd.push(InheritFd { key, fd: network.as_raw_fd() });
                opts.empty_ns = None;
                known.shared.retain(|(kind, _)| *kind != Network);
            }
        }
        let listeners = Listeners::new(None, None, opts.empty_ns.is_some())?;
        let (root, pid_file) = (job.root.clone(), job.pid_file.clone());
        let restore = Restore { folders, opts, known, root, pid_file, ..*job };
        let mut at = None;
        let mut told = |word: &Notify, fd| {
            if word.script.as_deref() == Some("post-resume") {
                at = Some(Instant::now());
            }
            listeners.hear(word, fd)
        };
        let audience = Audience { listens: true, told: &mut told };
        let (pid, numbers) = apply::bring_back(self.program, &restore, Origin::Here, around, audience)?;
        Ok(Back { pid, numbers, at: at.unwrap_or_else(Instant::now) })
    }

    /// Until whoever started them has waited for them, the processes that ended keep their pids.
    fn wait_until_free(&self, doing: &str) -> Result<()> {
        if self.own_pids {
            return Ok(());
        }
        let images = folder::open(&self.job.dump.folders.images, doing)?;
        let pids = show::pids(images.as_fd(), doing)?;
        let deadline = Instant::now() + FREE;
        let there = |pid: &i32| {
            // That may be us.
            if self.before.contains(pid) {
                waitpid(nix::unistd::Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG)).map(drop).unwrap_or(());
            }
            Path::new(&format!("/proc/{pid}")).exists()
        };
        while pids.iter().any(there) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The tree has ended and cannot go on there: it goes on where it was.
    fn return_home(&self, error: Error, doing: &str) -> Outcome<Back> {
        match self.bring(&self.back, doing) {
            Ok(back) => {
                say(format_args!("brought back where it was, as process {}", back.pid));
                Err(error.into())
            }
            Err(again) => {
                report::warn(crate::NAME, again);
                let images = self.job.dump.folders.images.display();
                let error = error.why(format_args!("the tree has ended; its images are whole, in {images}"));
                Err(Failed {
                    error: error.cure(format_args!("criu-ctl restore -D {images}")),
                    images_stay: true,
                })
            }
        }
    }
}

impl Arrived {
    /// For people.
    pub(crate) fn line(&self) -> String {
        let (pid, was) = (self.pid, self.was);
        let (rounds, pages) = (self.rounds.len() + 1, self.pages());
        let ms = self.downtime.as_secs_f64() * 1000.0;
        let rounds = if rounds == 1 { "one round".into() } else { format!("{rounds} rounds") };
        format!("process {was} goes on as {pid}: {pages} pages in {rounds}, downtime {ms:.1} ms")
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let rounds: Vec<Value> =
            self.rounds.iter().chain([&self.last]).map(|round| round.to_json()).collect();
        json!({"pid": self.pid, "was": self.was, "rounds": rounds, "pages": self.pages(),
            "downtime_ms": (self.downtime.as_secs_f64() * 10_000.0).round() / 10.0,
            "images": self.images, "dump": self.dump, "restore": self.restore})
    }

    /// For `--status-fd`.
    pub(crate) fn event(&self, tool: &str) -> Value {
        let mut event = self.to_json();
        event["tool"] = json!(tool);
        event["event"] = json!("migrated");
        event
    }

    fn pages(&self) -> u64 {
        self.rounds.iter().chain([&self.last]).map(|round| round.pages).sum()
    }
}
