//! `migrate`: takes a running tree to another place on this machine. Its memory goes to a page server there, in rounds
//! while it runs; then it stands still for what is left, and goes on over there.
//!
//! A tree that can be there twice, with pids and a network namespace of its own, is held still until it runs at the
//! destination, and goes on if it cannot: criu waits for our word before it kills it (`post-dump`). Any other would meet
//! itself, so that one is ended first, and brought back where it was if the destination fails.

mod last;
mod place;
mod progress;
mod rounds;
mod server;

use crate::NAME;
use crate::apply::{self, Audience};
use crate::cli::Args;
use crate::known::Known;
use crate::opts::usage;
use crate::plan::{self, Dump, Folders, Restore};
use crate::rpc::{Features, Kind, Opts, Req};
use crate::swrk::{Criu, Group};
use crate::{folder, restored};
use chain::cgroup::alarm::duration;
use chain::error::{Cannot, Class, Error, Result};
use chain::sys::process::pidfd_open;
use chain::{proc, report};
use last::Arrival;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use place::Place;
use progress::{Bar, PAGE, say};
use rounds::{Limits, Next, Round};
use serde_json::{Value, json};
use server::Server;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Its own flags.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Flags {
    /// migrate: so many rounds of memory at most while the tree runs, 0 for none [default: 10]
    #[arg(long, value_name = "N")]
    pub max_rounds: Option<u32>,
    /// migrate: the last round comes when no more than this was written to in the round before [default: 16]
    #[arg(long, value_name = "MIB")]
    pub dirty_below: Option<u32>,
    /// migrate: rounds go on until what is left can be sent in this time, as 300ms, instead of --dirty-below
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "dirty_below")]
    pub max_downtime: Option<Duration>,
    /// migrate: fail where the kernel cannot tell which pages were written to, instead of one round that the tree stands still for
    #[arg(long)]
    pub pre_copy: bool,
    /// migrate: the network namespace to go on in: this one, or `new`
    #[arg(long, value_name = "PATH")]
    pub netns: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) struct Migrate {
    /// The last round.
    pub dump: Dump,
    pub restore: Restore,
    pub limits: Limits,
    pub pre_copy: bool,
    pub netns: Option<PathBuf>,
}

/// Makes one of the command line.
pub(crate) fn resolve(args: &Args, known: &Known) -> Result<Migrate> {
    let Flags { max_rounds, dirty_below, max_downtime: downtime, pre_copy, netns } = args.migrate.clone();
    let rounds = max_rounds.unwrap_or(10);
    if downtime.is_some() && rounds == 0 {
        return Err(usage("--max-downtime says when rounds end, and --max-rounds 0 that there are none"));
    }
    if pre_copy && rounds == 0 {
        return Err(usage("--pre-copy and --max-rounds 0 say the opposite"));
    }
    let few = u64::from(dirty_below.unwrap_or(16)) * (1 << 20) / PAGE;
    let (dump, restore) = (plan::dump(args, known, Kind::Dump)?, plan::restore(args, known)?);
    Ok(Migrate { dump, restore, limits: Limits { rounds, few, downtime }, pre_copy, netns })
}

/// `--print`.
pub(crate) fn to_json(job: &Migrate) -> Value {
    let mut document = plan::request("MIGRATE", &job.dump.folders, &job.dump.opts);
    document["restore"] = json!(job.restore.opts);
    document["max_rounds"] = json!(job.limits.rounds);
    document["dirty_below_pages"] = json!(job.limits.few);
    document["max_downtime_ms"] = json!(job.limits.downtime.map(|time| time.as_secs_f64() * 1000.0));
    document["netns"] = json!(job.netns.as_ref().map(|path| path.display().to_string()));
    document
}

/// Does it.
pub(crate) fn run(program: &Path, job: &Migrate) -> Result<u8> {
    let pid = job.dump.pid;
    let doing = format!("migrate process {pid}");
    let source = pidfd_open(pid).cannot(&doing, format_args!("pidfd_open({pid})"))?;
    let arrival = Arrival::prepare(program, job)?;
    // A signal waits for the round to end: each criu looks at what came.
    let held: SigSet =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect();
    held.thread_block().cannot(&doing, "sigprocmask")?;
    let signals = SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .cannot(&doing, "signalfd")?;
    let many = if job.limits.rounds > 0 && tells_pages(program, job.pre_copy, &doing)? {
        job.limits.rounds
    } else {
        0
    };

    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let place = Place::take(&job.dump.folders.images, &doing)?;
    if let Some(work) = &job.dump.folders.work {
        folder::make(work, &doing)?;
    }
    let outcome = pre_copy(program, job, &Limits { rounds: many, ..job.limits }, &signals, &doing)
        .and_then(|rounds| arrival.last_round(&source, rounds));
    let arrived = match outcome {
        Ok(arrived) => arrived,
        Err(failed) => {
            if failed.images_stay {
                return Err(failed.error);
            }
            if let Err(error) = place.clear() {
                report::warn(NAME, error);
            }
            return Err(failed.error);
        }
    };
    report::status(&arrived.event(NAME));
    let text =
        if job.dump.json { format!("{}\n", arrived.to_json()) } else { format!("{}\n", arrived.line()) };
    report::stdout(text.as_bytes())?;
    if job.restore.detach { Ok(0) } else { restored::look_after(arrived.pid) }
}

/// A migration that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub error: Error,
    /// They are all there is of the tree.
    pub images_stay: bool,
}

type Outcome<T> = std::result::Result<T, Failed>;

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed { error, images_stay: false }
    }
}

/// Whether the kernel can tell which pages were written to.
fn tells_pages(program: &Path, demanded: bool, doing: &str) -> Result<bool> {
    let mut criu = Criu::start(program, Group::Own)?;
    let features = Some(Features { mem_track: Some(true), lazy_pages: None });
    let request = Req { kind: Kind::FeatureCheck as i32, features, ..Req::default() };
    let answer = criu.converse(request, &mut |_, _| Ok(()), doing)?;
    criu.end()?;
    // A criu that cannot work here at all says so when it is asked to.
    if answer.features.and_then(|features| features.mem_track) == Some(true) {
        return Ok(true);
    }
    let text =
        "this kernel does not tell which pages were written to (criu-ctl check --feature mem_dirty_track)";
    if demanded {
        return Err(Error::new(Class::Unsupported, doing, text)
            .cure("without --pre-copy: one round, for which it stands still"));
    }
    report::warn(NAME, format_args!("{text}: all of the memory is sent while the tree stands still"));
    Ok(false)
}

/// The rounds while it runs.
fn pre_copy(
    program: &Path,
    job: &Migrate,
    limits: &Limits,
    signals: &SignalFd,
    doing: &str,
) -> Outcome<Vec<Round>> {
    let mut done: Vec<Round> = Vec::new();
    let mut began: Option<Instant> = None;
    loop {
        // Between two rounds no criu looks for signals, and the last one would carry on.
        if let Some(info) = signals.read_signal().cannot(doing, "read(signalfd)")? {
            let signal = Signal::try_from(info.ssi_signo as i32).cannot(doing, "read(signalfd)")?;
            return Err(called_off(signal, doing).into());
        }
        if let Next::Last(why) = rounds::next(limits, &done) {
            if !done.is_empty() {
                say(why);
            }
            return Ok(done);
        }
        let now = Instant::now();
        let since = began.replace(now).map(|before| now - before);
        let pages = one(program, job, &done, doing)?;
        let round = Round { pages, took: now.elapsed(), since };
        done.push(round);
        let rate =
            round.dirty_rate().map_or(String::new(), |rate| format!(", {rate} pages/s were written to"));
        say(format_args!("round {}: {pages} pages in {:.1} s{rate}", done.len(), round.took.as_secs_f64()));
    }
}

/// One of them; how many pages it sent.
fn one(program: &Path, job: &Migrate, done: &[Round], doing: &str) -> Result<u64> {
    let number = done.len() + 1;
    let images = job.dump.folders.images.join(name(number));
    let fd = folder::make(&images, doing)?;
    let parent = (number > 1).then(|| format!("../{}", name(number - 1)).into_bytes());
    let folders = Folders { images, work: job.dump.folders.work.clone(), passing: true };
    let (server, socket) = Server::start(program, &folders, parent.as_deref())?;
    let opts = Opts { parent_img: parent, track_mem: true, ..job.dump.opts.clone() };
    let known = job.dump.known.clone();
    let dump =
        Dump { kind: Kind::SinglePreDump, folders, opts, known, stdio: false, json: false, ..job.dump };
    let rate =
        done.last().and_then(Round::dirty_rate).map_or(String::new(), |rate| format!(" ({rate} dirty/s)"));
    let expected = done.last().map_or_else(|| resident(dump.pid), |round| round.pages);
    let bar = Bar::draw(fd, format!("round {number}{rate}"), expected);
    let outcome =
        apply::take(program, &dump, Some(socket), Audience { listens: false, told: &mut |_, _| Ok(()) });
    let taken = outcome.map_err(|error| server.explain(error))?;
    server.finish()?;
    drop(bar);
    if let Some(signal) = taken.interrupted {
        return Err(called_off(signal, doing));
    }
    Ok(taken.numbers.and_then(|numbers| numbers["pages_written"].as_u64()).unwrap_or(0))
}

fn called_off(signal: Signal, doing: &str) -> Error {
    Error::new(Class::Conflict, doing, format_args!("{signal} came; it runs on where it is"))
}

/// The folder of a round.
fn name(number: usize) -> String {
    format!("round-{number}")
}

/// Pages of a tree that are in memory and of no file, about.
fn resident(pid: i32) -> u64 {
    let read = |path: String| String::from_utf8_lossy(&proc::read(&path).unwrap_or_default()).into_owned();
    let (mut pages, mut todo) = (0, vec![pid]);
    while let Some(pid) = todo.pop() {
        let statm = read(format!("/proc/{pid}/statm"));
        let mut numbers = statm.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0));
        let (all, shared): (u64, u64) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        pages += all.saturating_sub(shared);
        let children = read(format!("/proc/{pid}/task/{pid}/children"));
        todo.extend(children.split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
    }
    pages
}
