//! Invariants: never a panic; a beginning of a PROXY header is incomplete or gets the verdict of the whole; what follows the
//! header does not matter.
#![no_main]

use ferricorn::protocol as api;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../src/protocol/properties.rs"]
mod properties;

fuzz_target!(|data: &[u8]| properties::proxy(data));
