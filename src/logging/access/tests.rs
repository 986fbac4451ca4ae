use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use super::format::tests::{entry, head, peer};
use super::*;
