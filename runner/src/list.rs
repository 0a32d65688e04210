//! state and list: what is there, as the specification and runc print it.

use crate::cli::{List, ListFormat};
use crate::container::{Container, StateRoot, Status};
use chain::bytes::Bytes;
use chain::report;
use chain::{Class, Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;

/// The OCI state with runc's own members, in runc's order: a line of `list --format json` is read by patterns, too.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    oci_version: String,
    id: String,
    pid: i32,
    status: Status,
    bundle: Bytes,
    rootfs: Bytes,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
}

/// `runner state`.
pub(crate) fn state(root: &StateRoot, id: &str) -> Result<u8> {
    let document = document(root.container(id)?)?;
    let text = serde_json::to_string_pretty(&document).map_err(unprintable)?;
    report::stdout(format!("{text}\n").as_bytes()).map(|()| 0)
}

fn unprintable(error: serde_json::Error) -> Error {
    Error::new(Class::Internal, "print the state", error)
}

fn document(container: Container) -> Result<Document> {
    let status = container.status()?;
    let record = container.record;
    Ok(Document {
        pid: if status == Status::Stopped { 0 } else { record.pid },
        status,
        oci_version: record.oci_version,
        id: record.id,
        bundle: record.bundle,
        rootfs: record.rootfs,
        created: record.created,
        annotations: record.annotations,
        owner: user_name(record.owner),
    })
}

/// `runner list`.
pub(crate) fn list(root: &StateRoot, options: &List) -> Result<u8> {
    let mut states = Vec::new();
    for id in root.ids()? {
        match root.container(&id).and_then(document) {
            Ok(state) => states.push(state),
            // Deleted while we looked.
            Err(error) if error.class == Class::Missing => {}
            Err(error) => crate::log::warn(error),
        }
    }
    let text = match options.format {
        _ if options.quiet => states.iter().map(|s| format!("{}\n", s.id)).collect(),
        ListFormat::Json => serde_json::to_string(&states).map_err(unprintable)? + "\n",
        ListFormat::Table => table(&states),
    };
    report::stdout(text.as_bytes()).map(|()| 0)
}

fn table(states: &[Document]) -> String {
    const COLUMNS: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let mut rows = vec![COLUMNS.map(str::to_string)];
    rows.extend(states.iter().map(|state| {
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.as_str().to_string(),
            state.bundle.to_string(),
            state.created.clone(),
            state.owner.clone(),
        ]
    }));
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
