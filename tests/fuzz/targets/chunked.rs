//! Invariants: those of `http1`, of a chunked body; and what is accepted is what a plain reading of the grammar gives.
#![no_main]

use ferricorn::protocol as api;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../src/protocol/properties.rs"]
mod properties;

fuzz_target!(|data: &[u8]| {
    // The bytes themselves choose where they are split, so that a file is a message as it stands.
    let seed = data.iter().fold(0u64, |seed, &byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    properties::chunked(data, seed);
});
