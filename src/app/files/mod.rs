//! `files://DIR`: serves a directory.
