//! state and list: what is there, as the specification and runc print it.

use crate::cli::{List, ListFormat};
use crate::container::{Container, StateRoot, Status};
use chain::report;
use chain::{Class, Error, Result};
use serde_json::{Value, json};

/// `runner state`.
pub(crate) fn state(root: &StateRoot, id: &str) -> Result<u8> {
    let document = document(&root.container(id)?)?;
    let text = serde_json::to_string_pretty(&document)
        .map_err(|e| Error::new(Class::Internal, "print the state", e))?;
    report::stdout(format!("{text}\n").as_bytes()).map(|()| 0)
}

/// The OCI state, with runc's own members.
fn document(container: &Container) -> Result<Value> {
    let record = &container.record;
    let status = container.status()?;
    let pid = if status == Status::Stopped { 0 } else { record.pid };
    Ok(json!({
        "ociVersion": record.oci_version,
        "id": record.id,
        "pid": pid,
        "status": status,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "annotations": record.annotations,
        "owner": user_name(record.owner),
    }))
}

/// `runner list`.
pub(crate) fn list(root: &StateRoot, options: &List) -> Result<u8> {
    let mut states = Vec::new();
    for id in root.ids()? {
        match root.container(&id).and_then(|c| document(&c)) {
            Ok(state) => states.push(state),
            // Deleted while we looked.
            Err(error) if error.class == Class::Missing => {}
            Err(error) => crate::log::warn(error),
        }
    }
    let text = match options.format {
        _ if options.quiet => states.iter().map(|s| format!("{}\n", word(s, "id"))).collect(),
        ListFormat::Json => format!("{}\n", Value::Array(states)),
        ListFormat::Table => table(&states),
    };
    report::stdout(text.as_bytes()).map(|()| 0)
}

fn word(state: &Value, key: &str) -> String {
    match &state[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn table(states: &[Value]) -> String {
    const COLUMNS: [&str; 6] = ["id", "pid", "status", "bundle", "created", "owner"];
    let mut rows = vec![COLUMNS.map(str::to_uppercase)];
    rows.extend(states.iter().map(|state| COLUMNS.map(|column| word(state, column))));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(11);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$} "));
        cells.collect::<String>().trim_end().to_string() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The name of a uid in the host's /etc/passwd, or its number.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2) == Some(&uid.to_string().as_str()));
    line.map_or_else(|| format!("#{uid}"), |fields| fields[0].to_string())
}
