//! From a layer and the host's facts to the program that the landing loads; everything that can be refused is refused
//! here.

use crate::action::Action;
use crate::facts::Facts;
use crate::rule::{self, Head, Rule};
use crate::table::{self, Note, Table, Unknown};
use crate::{arch, default, profile, program};
use chain::landing::Landing;
use chain::oci::Seccomp;
use chain::spec::{ProfileSource, SeccompLoad};
use chain::state::Receipt;
use chain::sys::seccomp::Instruction;
use chain::{Class, Error, Result, ToolName};
use serde_json::{Value, json};

/// What the landing is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// None where config.json has no filter.
    pub(crate) filter: Option<Filter>,
    /// Set no_new_privs, without which the kernel takes no filter from who lacks CAP_SYS_ADMIN.
    pub(crate) no_new_privs: bool,
}

/// The filter, in both shapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// What becomes of each call.
    pub(crate) table: Table,
    /// The same for the kernel.
    pub(crate) code: Vec<Instruction>,
}

/// Names to numbers, and every refusal.
pub(crate) fn resolve(spec: &SeccompLoad, facts: &Facts) -> Result<Plan> {
    let no_new_privs = !spec.allow_new_privileges;
    let Some((head, rules)) = written(spec, facts)? else { return Ok(Plan { filter: None, no_new_privs }) };
    let table = table::build(&head, &rules)?;
    let code = program::compile(&table)?;
    // The landing executes the command behind the filter.
    if let Some(action) = table.native(libc::SYS_execve).filter(|action| !action.lets_through()) {
        return Err(Error::usage(
            "filter the command",
            format_args!("execve: {action}: it could not even be started"),
        ));
    }
    if !no_new_privs && !facts.no_new_privs && !facts.sys_admin {
        let detail = "without no_new_privs it wants CAP_SYS_ADMIN, which is not held";
        return Err(Error::new(Class::Denied, "load the filter", detail).cure("leave out --allow-new-privs"));
    }
    Ok(Plan { filter: Some(Filter { table, code }), no_new_privs })
}

/// All rules in order: those on top first taken out of those below.
fn written(spec: &SeccompLoad, facts: &Facts) -> Result<Option<(Head, Vec<(Rule, Unknown)>)>> {
    let lenient = |otherwise| if spec.unknown_syscalls_warn { Unknown::LeaveOut } else { otherwise };
    let (mut head, below) = match (&spec.profile, &spec.seccomp) {
        (Some(source), _) => profile::rules(document(source)?.as_ref(), facts)?,
        // Engines write an object with nothing in it for "no filter".
        (None, Some(seccomp)) if *seccomp != Seccomp::default() => of_oci(seccomp)?,
        _ if spec.rules.is_empty() && spec.default.is_none() => return Ok(None),
        _ => (everything(), Vec::new()),
    };
    if let Some(rule) = &spec.default {
        head.default = Action::of_oci(&rule.action, rule.errno_ret, "default.action")?;
    }
    if spec.log {
        head.flags |= rule::FLAG_LOG;
    }
    let named = |name: &String| spec.rules.iter().any(|rule| rule.names.contains(name));
    let mut rules = Vec::with_capacity(below.len() + spec.rules.len());
    for mut rule in below {
        rule.names.retain(|name| !named(name));
        rules.push((rule, lenient(Unknown::LeaveOutIfStrict)));
    }
    for (i, written) in spec.rules.iter().enumerate() {
        rules.push((rule::rule(written, format!("rules[{i}]"))?, lenient(Unknown::Refuse)));
    }
    Ok(Some((head, rules)))
}

fn document(source: &ProfileSource) -> Result<std::borrow::Cow<'_, chain::oci::Profile>> {
    use std::borrow::Cow;
    match source {
        ProfileSource::Own(name) if name == "@default" => Ok(Cow::Owned(default::profile())),
        ProfileSource::Own(name) => {
            let detail = format!("profile: there is no '{}'", name.escape_debug());
            Err(Error::usage("read the filter", detail).cure("@default"))
        }
        ProfileSource::Document(profile) => Ok(Cow::Borrowed(profile)),
    }
}

fn of_oci(seccomp: &Seccomp) -> Result<(Head, Vec<Rule>)> {
    let head = rule::head(seccomp, "linux.seccomp.")?;
    let rules = seccomp.syscalls.iter().enumerate();
    let rules = rules.map(|(i, written)| rule::rule(written, format!("linux.seccomp.syscalls[{i}]")));
    Ok((head, rules.collect::<Result<_>>()?))
}

/// What rules without a profile stand on: all is allowed, and they hold for every kind of program, for a rule that a
/// 32-bit program gets around is none.
fn everything() -> Head {
    Head { default: Action::Allow, archs: arch::all_of_this_kernel(), flags: rule::FLAG_SPEC_ALLOW }
}

impl Plan {
    /// Leaves it to the landing; the program itself travels in `state.fds.filter`.
    pub(crate) fn hand_to(&self, landing: &mut Landing) {
        landing.no_new_privs |= self.no_new_privs;
        landing.filter_flags = self.filter.as_ref().map(|filter| filter.table.flags);
    }

    /// What its writer may not have meant.
    pub(crate) fn notes(&self) -> &[Note] {
        self.filter.as_ref().map_or(&[], |filter| &filter.table.notes)
    }

    /// Resolved and checked here; the kernel's own check of the program is at the landing, which does not go on without.
    pub(crate) fn receipt(&self) -> Receipt {
        let mut receipt = Receipt::verified(ToolName::SeccompLoad, self.document());
        receipt.degraded = self.notes().iter().map(|note| note.text.clone()).collect();
        receipt
    }

    /// In few words.
    pub(crate) fn document(&self) -> Value {
        let mut document = json!({ "NoNewPrivs": u8::from(self.no_new_privs) });
        if let Some(Filter { table, code }) = &self.filter {
            let archs: Vec<&str> = table.archs.iter().map(|calls| calls.arch.name).collect();
            document["default"] = json!(table.default.to_string());
            document["architectures"] = json!(archs);
            document["flags"] = json!(table.flags);
            document["instructions"] = json!(code.len());
        }
        document
    }
}
