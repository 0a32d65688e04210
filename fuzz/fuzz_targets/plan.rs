//! Plans and states from anybody.
#![no_main]

use chain::plan::Plan;
use chain::state::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(plan) = Plan::parse(text, "anybody") {
        let written = plan.to_json().expect("a plan can be written");
        let read = Plan::parse(&written, "here").expect("what was written can be read");
        assert_eq!(read.to_json().expect("once more"), written);
        // Cut anywhere it is none.
        let end = written.trim_ascii_end().len();
        assert!(Plan::parse(&written[..end - 1], "here").is_err());
    }
    if let Ok(state) = chain::json::parse::<State>(text, "read the state") {
        let written = serde_json::to_vec(&state).expect("a state can be written");
        chain::json::parse::<State>(&written, "read it again").expect("what was written can be read");
    }
});
