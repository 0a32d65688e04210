//! `probe`: prints the process it runs in as JSON, or does one small thing and says how the kernel answered.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    match args.get(1).map(String::as_str) {
        None | Some("show") => {
            let text = serde_json::to_string(&catena_tests::look::all()).expect("a Probe is JSON");
            println!("{text}");
            ExitCode::SUCCESS
        }
        Some(verb) => catena_tests::verbs::run(verb, &args[2..]),
    }
}
