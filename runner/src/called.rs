//! Under the name `runc`, as a link or a copy may have it: version and help in runc's layout, for scripts that read
//! them. All else is the same under any name.

use crate::cli::Args;
use clap::CommandFactory;
use std::ffi::OsString;
use std::path::Path;

const NAME: &str = "runc";

/// The layout, for the program or for a command of it.
fn layout(name: &str) -> String {
    format!("NAME:\n   {name} - {{about}}\n\nUSAGE:\n   {{usage}}\n\n{{all-args}}\n")
}

/// Whether that is the name.
pub(crate) fn as_runc() -> bool {
    let word = std::env::args_os().next().unwrap_or_default();
    Path::new(&word).file_name().is_some_and(|name| name == NAME)
}

/// What program this says to be. The version is our own under this name too, and a last line says whose it is.
pub(crate) fn version(text: &str) -> String {
    match text.strip_prefix("runner ") {
        Some(rest) if as_runc() => format!("{NAME} {rest}runner: {}\n", chain::plan::BUILD),
        _ => text.into(),
    }
}

/// Help for what these words name: a command, or all of them.
pub(crate) fn help(words: &[OsString]) -> String {
    let all =
        Args::command().name(NAME).bin_name(NAME).about("Open Container Initiative runtime").after_help("");
    let mut all = all.help_template(layout(NAME)).mut_subcommands(|command| {
        let template = layout(&format!("{NAME} {}", command.get_name()));
        command.help_template(template)
    });
    all.build();
    let named =
        words.iter().filter_map(|word| word.to_str()).find(|word| all.find_subcommand(word).is_some());
    let text = match named.and_then(|name| all.find_subcommand_mut(name)) {
        Some(command) => command.render_help().to_string(),
        None => all.render_help().to_string(),
    };
    // Where a command says itself how it is used.
    text.replace("runner exec", "runc exec")
}
