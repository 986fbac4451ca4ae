//! Black-box tests: the command and its processes as an operator, a front-end and a client see them.
#![allow(clippy::print_stderr)]

mod support;

mod reload;
