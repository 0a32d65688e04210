//! What criu answers.
#![no_main]
#![allow(dead_code, reason = "of the tool, what is looked at here")]

use prost::Message;

#[path = "../../criu-ctl/src/rpc.rs"]
mod rpc;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    if let Ok(answer) = rpc::Resp::decode(text) {
        let again = rpc::Resp::decode(answer.encode_to_vec().as_slice()).expect("what was written can be read");
        assert_eq!(again, answer);
    }
});
