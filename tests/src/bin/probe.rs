//! `probe`: prints the process it runs in as JSON, or does one small thing and says how the kernel answered.

use std::process::ExitCode;

/// glibc runs this before Rust's runtime ignores SIGPIPE and fills closed standard fds.
#[used]
#[expect(unsafe_code, reason = "there is no other way to run before the runtime")]
// SAFETY: an entry of .init_array is a function pointer, and before_main touches only an atomic.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = catena_tests::sys::before_main;

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
