//! Invariants: any bytes end in events or an error, never a panic; the events and the answers do not depend on how the
//! bytes are split; a head that is accepted keeps the promises of `Head`; after an error nothing more is parsed.
#![no_main]

use ferricorn::protocol as api;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../src/protocol/properties.rs"]
mod properties;

fuzz_target!(|data: &[u8]| {
    // The bytes themselves choose where they are split, so that a file is a message as it stands.
    let seed = data.iter().fold(0u64, |seed, &byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    properties::gateway(api::Protocol::Uwsgi, data, seed);
});
