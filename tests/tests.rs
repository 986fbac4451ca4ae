//! Black-box tests: the command and its processes as an operator, a front-end and a client see them.
//!
//! Needed beside cargo: nginx, supervisord, curl, wrk, a C compiler. `make test` installs them.
#![allow(clippy::print_stderr)]

mod support;

mod application;
mod binds;
mod cgi;
mod command_line;
mod crash;
mod faults;
mod files;
mod front_ends;
mod logs;
mod mounts;
mod process;
mod reload;
mod requests;
mod soak;
mod stop;
mod systemd;
mod threads;
mod upgrade;
