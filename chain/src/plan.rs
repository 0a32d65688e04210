//! The plan: layers in order, as a document. It touches nothing.
//!
//! `{"catena":1,"build":"…","layers":[{"tool":"cg-apply","spec":{…}},…],"complete":true}`; see `docs/plan.md`.

use crate::error::{Class, Error, Result};
use crate::name::ToolName;
use crate::spec::{self, Spec};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt::Display;

/// Version of the schema.
pub const CATENA: u32 = 1;

/// Version and commit of this build. Links of one chain must agree on it: a link that is older or newer than its
/// neighbour could drop a step that the other relies on.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("CATENA_COMMIT"));

/// More than any real plan; a pipe that goes on for longer is not one.
pub const PLAN_MAX: usize = 16 << 20;

/// One layer: a tool and what it is asked. `spec` is gone once the layer was carried out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Whose layer.
    pub tool: ToolName,
    /// What it is asked; parsed by its tool only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Box<RawValue>>,
}

impl Layer {
    /// A layer of `spec`.
    pub fn of<S: Spec>(spec: &S) -> Result<Layer> {
        let raw = serde_json::value::to_raw_value(spec)
            .map_err(|e| Error::new(Class::Internal, format_args!("write the layer of {}", S::TOOL), e))?;
        Ok(Layer { tool: S::TOOL, spec: Some(raw) })
    }

    /// Its spec, typed.
    pub fn spec<S: Spec>(&self) -> Result<S> {
        let doing = format_args!("read the layer of {}", self.tool).to_string();
        let Some(raw) = &self.spec else {
            return Err(Error::usage(doing, "it has no spec"));
        };
        crate::json::parse(raw.get().as_bytes(), doing)
    }

    /// Checks names and shapes without carrying anything out.
    pub fn validate(&self) -> Result<()> {
        match self.tool {
            ToolName::CgApply => self.validate_as::<spec::CgApply>(),
            ToolName::Idmap => self.validate_as::<spec::Idmap>(),
            ToolName::NsEnter => self.validate_as::<spec::NsEnter>(),
            ToolName::RootfsPrep => self.validate_as::<spec::RootfsPrep>(),
            ToolName::CapDrop => self.validate_as::<spec::CapDrop>(),
            ToolName::SeccompLoad => self.validate_as::<spec::SeccompLoad>(),
        }
    }

    fn validate_as<S: Spec>(&self) -> Result<()> {
        self.spec::<S>()?;
        match self.spec.as_ref().and_then(|raw| crate::json::unknown_member::<S>(raw.get())) {
            Some(path) => Err(Error::usage("read the layer", format_args!("{path}: unknown member"))),
            None => Ok(()),
        }
    }
}

/// A plan as it travels through a pipe or a file: layers only, never a command, an environment or a hook.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`CATENA`].
    pub catena: u32,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub build: String,
    /// Layers in order.
    pub layers: Vec<Layer>,
    /// The last member: a writer that died left none.
    pub complete: bool,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { catena: CATENA, build: BUILD.to_string(), layers: Vec::new(), complete: true }
    }
}

impl Plan {
    /// Reads a plan that came from `whence`. Anything but one whole document of this schema is refused.
    pub fn parse(text: &[u8], whence: impl Display) -> Result<Plan> {
        let doing = format_args!("read the plan from {whence}");
        let body = text.trim_ascii();
        if body.is_empty() {
            return Err(Error::usage(doing, "it is empty")
                .why("the stage before this one wrote nothing: it failed, or it is not a catena tool")
                .cure("-N, if standard input belongs to the command"));
        }
        if let Ok(Refusal { error }) = serde_json::from_slice::<Refusal>(body) {
            return Err(Error::usage(doing, format_args!("the stage before this one failed: {error}")));
        }
        let plan: Plan = crate::json::parse(body, doing)?;
        if plan.catena != CATENA {
            let found = plan.catena;
            return Err(Error::new(
                Class::Unsupported,
                doing,
                format_args!("catena: version {found}, not {CATENA}"),
            ));
        }
        if !plan.complete || !body.ends_with(b"\"complete\":true}") && !ends_complete(body) {
            return Err(Error::usage(doing, "it does not end with \"complete\":true"));
        }
        for (i, layer) in plan.layers.iter().enumerate() {
            layer.validate().map_err(|e| {
                let detail = e.detail.unwrap_or_default();
                Error::usage(doing, format_args!("layers[{i}].spec ({}): {detail}", layer.tool))
            })?;
        }
        Ok(plan)
    }

    /// The document, one line.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut text =
            serde_json::to_vec(self).map_err(|e| Error::new(Class::Internal, "write the plan", e))?;
        text.push(b'\n');
        Ok(text)
    }
}

/// What a stage that failed may write instead of a plan.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// `"complete": true }` with any white space, for plans that people or `jq` wrote.
fn ends_complete(body: &[u8]) -> bool {
    let squeezed: Vec<u8> =
        body.iter().rev().filter(|b| !b.is_ascii_whitespace()).take(16).copied().collect();
    squeezed.iter().rev().copied().eq(*b"\"complete\":true}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let spec = spec::NsEnter { hostname: Some("h".into()), ..Default::default() };
        Plan { layers: vec![Layer::of(&spec).unwrap()], ..Plan::default() }.to_json().unwrap()
    }

    #[test]
    fn a_plan_cut_at_any_byte_is_refused() {
        let whole = sample();
        for cut in 0..whole.len() - 1 {
            assert!(Plan::parse(&whole[..cut], "a test").is_err(), "cut at {cut}");
        }
        assert_eq!(Plan::parse(&whole, "a test").unwrap().layers.len(), 1);
    }

    #[test]
    fn two_documents_foreign_members_and_unfinished_ones_are_refused() {
        let whole = String::from_utf8(sample()).unwrap();
        for bad in [
            format!("{whole}{whole}"),
            whole.replace("\"complete\":true", "\"complete\":false"),
            whole.replace("\"catena\":1", "\"catena\":2"),
            whole.replace("\"catena\":1", "\"catena\":1,\"command\":[\"sh\"]"),
            whole.replace("\"hostname\"", "\"hostnam\""),
            whole.replace("\"hostname\":\"h\"", "\"personality\":{\"domain\":\"LINUX\",\"flag\":[\"x\"]}"),
            "{\"complete\":true,\"catena\":1,\"layers\":[]}".into(),
            "{\"error\":\"no\"}".into(),
            "null".into(),
        ] {
            assert!(Plan::parse(bad.as_bytes(), "a test").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_plan_that_jq_indented_is_read() {
        let value: serde_json::Value = serde_json::from_slice(&sample()).unwrap();
        let catena = &value["catena"];
        let layers = &value["layers"];
        let text =
            format!("{{\n  \"catena\": {catena},\n  \"layers\": {layers},\n  \"complete\": true\n}}\n");
        Plan::parse(text.as_bytes(), "a test").unwrap();
    }
}
