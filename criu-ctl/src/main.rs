//! criu-ctl: takes a process tree off this machine into a folder, and brings it back from there, with CRIU.
//!
//! It is no layer of a chain, but it can be the program at the end of one:
//! `cg-apply -m 1G -- criu-ctl restore -D img` brings a tree back under a limit.
#![forbid(unsafe_code)]

mod apply;
mod cause;
mod cgroup_options;
mod check;
mod cli;
mod flags;
mod folder;
mod known;
mod log;
mod manifest;
mod meeting;
mod migrate;
mod mountpoints;
mod namespaces;
mod opts;
mod outside;
mod owner;
mod plan;
mod predict;
mod restored;
mod rpc;
mod serve;
mod show;
mod stats;
mod stdio;
mod stray;
mod swrk;

use chain::sys::arena::Arena;
use plan::Job;
use std::process::ExitCode;

/// Most of it goes with the exec, or at the end: giving it back piece by piece is work for nothing.
#[global_allocator]
static MEMORY: Arena = Arena::new();

/// Its name in errors and reports.
const NAME: &str = "criu-ctl";

/// What `--version --json` lists.
const FEATURES: &[&str] = &[
    "check",
    "dump",
    "pre-dump",
    "restore",
    "migrate",
    "show",
    "page-server",
    "lazy-pages",
    "swrk",
    "oci",
    "plan",
    "manifest",
];

fn main() -> ExitCode {
    chain::link::run(NAME, || {
        let Some(args) = cli::read(FEATURES)? else { return Ok(0) };
        let known = known::gather(&args)?;
        let plan = plan::resolve(&args, &known)?; // everything that can be refused is refused here
        if args.common.print {
            return chain::report::stdout(&plan.to_json()?).map(|()| 0);
        }
        // What asks no criu.
        match &plan.job {
            Job::Show { folder, json } => return show::run(folder, *json),
            Job::Predict { pid, given, known, json } => return predict::run(*pid, given, known, *json),
            _ => {}
        }
        let criu = swrk::find(plan.criu.as_deref())?;
        match plan.job {
            Job::Check { feature, json } => check::run(&criu, feature.as_deref(), json),
            Job::Dump(dump) => apply::dump(&criu, &dump),
            Job::Migrate(job) => migrate::run(&criu, &job),
            Job::Serve(serve) => serve::run(&criu, &serve),
            Job::Show { .. } | Job::Predict { .. } => Ok(0),
            Job::Restore(restore) => apply::restore(&criu, &restore),
        }
    })
}
