//! Invariants: whatever an application answers, either nothing is appended, or exactly one head with the framing that the
//! status and the request call for.
#![no_main]

use ferricorn::protocol as api;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../src/protocol/properties.rs"]
mod properties;

fuzz_target!(|data: &[u8]| {
    // The bytes themselves choose where they are split, so that a file is a message as it stands.
    let seed = data.iter().fold(0u64, |seed, &byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    properties::response(data, seed);
});
