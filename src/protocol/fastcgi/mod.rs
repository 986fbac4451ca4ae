//! FastCGI 1.0.

pub mod record;
