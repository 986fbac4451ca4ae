//! The arbiter: waits, reaps, and performs what [`state`] decides.

mod backoff;
mod children;
mod notice;
pub(crate) mod state;
