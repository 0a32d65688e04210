//! The life of one link: where its layer comes from, and where it goes on to. Every tool's `main` is
//! [`run`], [`begin`], its own work, [`Link::go_on`].

use crate::cli::{self, Common, Flags, Parsed};
use crate::error::{Cannot, Class, EXIT_NOT_FOUND, Error, Result};
use crate::files::{Files, open_files};
use crate::landing;
use crate::meet;
use crate::name::ToolName;
use crate::next::{self, Segment};
use crate::oci::{self, Config};
use crate::order::{self, Written};
use crate::plan::{Layer, Plan};
use crate::report;
use crate::source;
use crate::spec::Spec;
use crate::state::{Receipt, State};
use crate::sys;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::process::ExitCode;

/// A link at work.
pub struct Link {
    /// Which tool this is.
    pub tool: ToolName,
    /// The state so far; a tool adds what the landing is to do, and fds.
    pub state: State,
    /// What stands behind our `--`.
    next: Vec<OsString>,
    /// Our spec, for the receipt.
    asked: Value,
}

/// What a tool was started for.
pub enum Begun<A, S> {
    /// To carry out this layer.
    Act(Box<Link>, S),
    /// To answer a question about it; nothing may be changed.
    Ask(Question, Box<A>, S),
    /// Done already: a plan was passed on, help or a version was printed.
    Done,
}

/// A question that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `--print`: what would you do?
    Print,
    /// `--check`: can this host do it?
    Check,
    /// `--show PID`: what is in force there?
    Show(i32),
}

/// Runs a tool: the only place where an error is printed.
pub fn run(tool: &str, body: impl FnOnce() -> Result<u8>) -> ExitCode {
    match body() {
        Ok(status) => ExitCode::from(status),
        Err(error) => ExitCode::from(report::error(tool, &error)),
    }
}

/// Works out what this link is to do: from the state if a plan drives the chain, else from flags and `--oci`.
///
/// `from_oci` takes the tool's share of a config (and the bundle's folder); `from_flags` puts flags on top of a share,
/// or of the default. With no next program it passes the plan on and is [`Begun::Done`].
pub fn begin<A: Flags, S: Spec + Default>(
    from_oci: fn(&mut Config, &Path) -> Result<S>,
    from_flags: fn(&A, S, &Files<'_>) -> Result<S>,
    features: &[&str],
) -> Result<Begun<A, S>> {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (own, next) = next::split(&argv);
    let received = State::receive()?;
    if let Some(state) = &received {
        attach_reports(state)?;
        if state.current().is_some() {
            return driven(received.unwrap_or_default(), next.unwrap_or(&[]));
        }
    }
    if let Some(fd) = cli::status_fd(own).filter(|fd| sys::fd::borrow(*fd).is_ok()) {
        report::status_to(fd);
    }
    let flags: A = match cli::parse(S::TOOL.as_str(), own)? {
        Parsed::Flags(flags) => flags,
        Parsed::Help(text) => return report::stdout(text.as_bytes()).map(|()| Begun::Done),
    };
    let common = flags.common().clone();
    if let Some(fd) = common.status_fd {
        sys::fd::borrow(fd).cannot(format_args!("use fd {fd}"), format_args!("fcntl({fd})"))?;
    }
    if common.version {
        let text = cli::version(S::TOOL.as_str(), common.json, features);
        return report::stdout(text.as_bytes()).map(|()| Begun::Done);
    }
    let files = Files {
        opened: received.as_ref().map_or(&[], |s| &s.fds.files),
        own: received.iter().flat_map(|s| s.fds.own()).collect(),
    };
    let base = match &common.oci {
        Some(path) => share(path, &files, from_oci)?,
        None => S::default(),
    };
    let question = question(&common);
    if let Some(question @ Question::Show(_)) = question {
        return Ok(Begun::Ask(question, Box::new(flags), base));
    }
    let spec = from_flags(&flags, base, &files)?;
    if let Some(question) = question {
        if question == Question::Print && received.is_none() {
            print_layers(&source::plan(&common, S::TOOL.as_str())?.0)?;
        }
        return Ok(Begun::Ask(question, Box::new(flags), spec));
    }
    let Some(next) = next else { return filter(&common, received.is_some(), &spec).map(|()| Begun::Done) };
    if next.is_empty() {
        return Err(Error::usage("read the command line", "nothing stands behind --").exit(EXIT_NOT_FOUND));
    }
    match received {
        Some(state) => add_and_act(state, &common, next, spec),
        None => first(&common, own, next, spec),
    }
}

fn question(common: &Common) -> Option<Question> {
    let asked = [common.print.then_some(Question::Print), common.check.then_some(Question::Check)];
    common.show.map(Question::Show).or_else(|| asked.into_iter().flatten().next())
}

/// The layers in front of ours, as they stand: each tool can say what it would do with its own.
fn print_layers(plan: &Plan) -> Result<()> {
    for layer in &plan.layers {
        let spec = layer.spec.as_ref().map_or("", |raw| raw.get());
        report::stdout(format!("{} {spec}\n", layer.tool).as_bytes())?;
    }
    Ok(())
}

/// A link that a plan drives: its spec is in the state, and its flags are not looked at.
fn driven<A, S: Spec>(state: State, next: &[OsString]) -> Result<Begun<A, S>> {
    let doing = "carry out the plan";
    let layer = state.current().ok_or_else(|| Error::new(Class::Internal, doing, "it has no layer left"))?;
    if layer.tool != S::TOOL {
        let (found, own) = (layer.tool, S::TOOL);
        return Err(Error::new(
            Class::Order,
            doing,
            format_args!("the layer is {found}'s, and this is {own}"),
        ));
    }
    let spec = layer.spec()?;
    let asked = asked(layer);
    Ok(Begun::Act(Box::new(Link { tool: S::TOOL, state, next: next.to_vec(), asked }), spec))
}

/// The spec once more for the receipt, if anybody reads receipts: a filter's can be long.
fn asked(layer: &Layer) -> Value {
    let spec = layer.spec.as_ref().filter(|_| report::has_status());
    spec.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null)
}

/// No next program: read a plan, add the layer, write the plan.
fn filter<S: Spec>(common: &Common, in_chain: bool, spec: &S) -> Result<()> {
    if in_chain {
        let detail = format_args!("nothing stands behind {}: write -- and a program", S::TOOL).to_string();
        return Err(Error::usage("go on with the chain", detail).exit(EXIT_NOT_FOUND));
    }
    refuse(common.stdin.is_some(), "--stdin", "the stage with the command")?;
    refuse(!common.keep_fd.is_empty(), "--keep-fd", "the stage with the command")?;
    refuse(common.block_fd.is_some(), "--block-fd", "the stage with the command")?;
    let (mut plan, _) = source::plan(common, S::TOOL.as_str())?;
    plan.layers.push(Layer::of(spec)?);
    check_order(&plan, &[], &[], &[])?;
    report::stdout(&plan.to_json()?)
}

/// The first link of a chain: opens all the later ones, then acts or hands the plan's first layer to its tool.
fn first<A, S: Spec>(common: &Common, own: &[OsString], next: &[OsString], spec: S) -> Result<Begun<A, S>> {
    let (mut plan, from_stdin) = source::plan(common, S::TOOL.as_str())?;
    let (later, command) = next::segments(next);
    if let (Some(last), true) = (later.last(), command.is_empty()) {
        let detail = format_args!("nothing stands behind {}: write -- and a program", last.tool).to_string();
        return Err(Error::usage("run the chain", detail).exit(EXIT_NOT_FOUND));
    }
    check_order(&plan, &own_words::<S>(own), &later, command)?;
    let drives = !plan.layers.is_empty();
    if drives {
        plan.layers.push(Layer::of(&spec)?);
    }
    let mut state = opened(&plan, &later)?;
    source::stdin(common, from_stdin)?;
    if !drives {
        return add_and_act(state, common, next, spec);
    }
    take_fds(&mut state, common)?;
    state.layers = plan.layers;
    Err(go_to_layer(&state, next))
}

/// An option that would do nothing here.
fn refuse(given: bool, option: &str, place: &str) -> Result<()> {
    if given {
        Err(Error::usage("read the command line", format_args!("{option} belongs to {place}")))
    } else {
        Ok(())
    }
}

/// Runs a plan that comes from `--plan` or standard input, with no layer on top: `next` is what it ends in.
pub fn run_plan(common: &Common, next: &[OsString]) -> Result<Infallible> {
    let (plan, from_stdin) = source::plan(common, "runner")?;
    if plan.layers.is_empty() || next.is_empty() {
        let detail = if next.is_empty() { "nothing stands behind --" } else { "it has no layers" };
        return Err(Error::usage("run the plan", detail));
    }
    let (later, command) = next::segments(next);
    check_order(&plan, &[], &later, command)?;
    let mut state = opened(&plan, &later)?;
    source::stdin(common, from_stdin)?;
    take_fds(&mut state, common)?;
    state.layers = plan.layers;
    Err(go_to_layer(&state, next))
}

/// A state with every tool and file that the chain will need, opened while the host's paths are there.
fn opened(plan: &Plan, later: &[Segment<'_>]) -> Result<State> {
    let mut state = State::default();
    let driven = plan.layers.iter().map(|l| (l.tool, None));
    let named = later.iter().map(|s| (s.tool, Some(s.words[0].as_os_str())));
    state.fds.tools = next::open_tools(&driven.chain(named).collect::<Vec<_>>())?.tools;
    state.fds.files = open_files(later)?;
    Ok(state)
}

fn own_words<S: Spec>(own: &[OsString]) -> Vec<OsString> {
    std::iter::once(S::TOOL.as_str().into()).chain(own.iter().cloned()).collect()
}

fn check_order(plan: &Plan, own: &[OsString], later: &[Segment<'_>], command: &[OsString]) -> Result<()> {
    let mut links: Vec<Written> = plan
        .layers
        .iter()
        .map(|l| Written { tool: l.tool, words: vec![l.tool.as_str().into(), "…".into()] })
        .collect();
    if let Some(tool) = own.first().and_then(|w| ToolName::of_program(w)) {
        links.push(Written { tool, words: own.to_vec() });
    }
    links.extend(later.iter().map(|s| Written { tool: s.tool, words: s.words.to_vec() }));
    order::check(&links, command)
}

fn add_and_act<A, S: Spec>(
    mut state: State,
    common: &Common,
    next: &[OsString],
    spec: S,
) -> Result<Begun<A, S>> {
    if !state.receipts.is_empty() {
        refuse(common.stdin.is_some(), "--stdin", "the first link")?;
        refuse(common.plan.is_some(), "--plan", "the first link")?;
    }
    take_fds(&mut state, common)?;
    // Nobody reads what this very process is about to do, but for the receipt.
    let layer = if report::has_status() { Layer::of(&spec)? } else { Layer { tool: S::TOOL, spec: None } };
    let asked = asked(&layer);
    state.layers.push(layer);
    Ok(Begun::Act(Box::new(Link { tool: S::TOOL, state, next: next.to_vec(), asked }), spec))
}

/// `--status-fd` and `--keep-fd` of this link.
fn take_fds(state: &mut State, common: &Common) -> Result<()> {
    for fd in common.status_fd.iter().chain(&common.keep_fd).chain(&common.block_fd) {
        let doing = format_args!("use fd {fd}");
        // Closed when the chain began, so the chain has put something of its own there.
        if state.fds.own().any(|own| own == *fd) {
            return Err(Error::call(doing, format_args!("fcntl({fd})"), nix::errno::Errno::EBADF));
        }
        let borrowed = sys::fd::borrow(*fd).cannot(doing, format_args!("fcntl({fd})"))?;
        if *fd > 2 {
            sys::fd::set_cloexec(borrowed, true).cannot(doing, "fcntl(F_SETFD)")?;
        }
    }
    state.fds.status = common.status_fd.or(state.fds.status);
    state.fds.block = common.block_fd.or(state.fds.block);
    state.fds.keep.extend(common.keep_fd.iter().filter(|fd| **fd > 2));
    attach_reports(state)
}

fn attach_reports(state: &State) -> Result<()> {
    if let Some(fd) = state.fds.status {
        report::status_to(fd);
    }
    if let Some(fd) = state.fds.meet {
        report::errors_to(fd);
    }
    Ok(())
}

fn share<S>(path: &Path, files: &Files<'_>, from_oci: fn(&mut Config, &Path) -> Result<S>) -> Result<S> {
    let doing = format_args!("read {}", path.display());
    let fd = files.open(path)?;
    let text = oci::read_bounded(fd, &doing)?;
    let mut config = oci::parse_config(&text, &doing)?;
    let share = from_oci(&mut config, path.parent().unwrap_or(Path::new(".")));
    // A link ends in an exec: to give back a long filter, piece by piece, would be work for nothing.
    std::mem::forget(config);
    share
}

impl Link {
    /// Starts this link once more, from a read-only copy of its own program, with the same layer. For a first link that
    /// is about to be seen by processes it does not know: through `/proc/PID/exe` they could write to the program they
    /// find there (CVE-2019-5736). Comes back only with the reason why not.
    pub fn restart_read_only<S: Spec>(mut self, spec: &S) -> Error {
        let done = self.state.receipts.len();
        let (own, layer) = match (next::open_read_only(Path::new("/proc/self/exe")), Layer::of(spec)) {
            (Ok(own), Ok(layer)) => (own, layer),
            (Err(error), _) | (_, Err(error)) => return error,
        };
        self.state.layers[done] = layer;
        self.state.fds.tools.insert(self.tool, own.into_raw_fd());
        go_to_layer(&self.state, &self.next)
    }

    /// Goes on with the chain: the next layer of the plan, the next link of the command line, or the landing. Comes
    /// back only with the reason why not.
    pub fn go_on(mut self, mut receipt: Receipt) -> Result<Infallible> {
        if report::has_status() {
            receipt.asked = std::mem::take(&mut self.asked);
            report::status(&json!({"tool": self.tool, "event": "receipt", "receipt": receipt}));
            receipt.asked = Value::Null;
        }
        // The runner writes down where the cgroup is, to find it again at delete.
        let wanted = self.tool == ToolName::CgApply || self.state.debug;
        if let Some(socket) = self.state.fds.meet.filter(|_| wanted) {
            let socket = sys::fd::borrow(socket).cannot("tell the runner", "fcntl")?;
            meet::send(socket, &meet::Message::Receipt(Box::new(receipt.clone())), None)?;
        }
        let done = self.state.receipts.len();
        if let Some(layer) = self.state.layers.get_mut(done) {
            layer.spec = None;
        }
        self.state.fds.tools.remove(&self.tool);
        self.state.receipts.push(receipt);
        if self.state.current().is_some() {
            return Err(go_to_layer(&self.state, &self.next));
        }
        let word = self.next.first().cloned().unwrap_or_default();
        if let (Some(tool), None) = (ToolName::of_program(&word), &self.state.landing.command) {
            return Err(match self.state.fds.tools.get(&tool) {
                Some(fd) => next::exec_link(*fd, &self.next, &self.state),
                None => {
                    Error::new(Class::Order, format_args!("go on to {tool}"), "it was not opened in time")
                }
            });
        }
        Err(landing::land(self.tool.as_str(), &self.state, &self.next))
    }
}

/// Becomes the tool of the plan's current layer.
pub fn go_to_layer(state: &State, next: &[OsString]) -> Error {
    let doing = "carry out the plan";
    let Some(layer) = state.current() else {
        return Error::new(Class::Internal, doing, "it has no layer left");
    };
    let Some(fd) = state.fds.tools.get(&layer.tool) else {
        return Error::new(Class::Internal, doing, format_args!("{} was not opened", layer.tool));
    };
    let argv: Vec<OsString> =
        [layer.tool.as_str().into(), OsString::from("--")].into_iter().chain(next.iter().cloned()).collect();
    next::exec_link(*fd, &argv, state)
}
