//! The arbiter: waits, reaps, and performs what [`state`] decides.

pub(crate) mod state;
