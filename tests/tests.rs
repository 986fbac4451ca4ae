//! Black-box tests: the command and its processes as an operator, a front-end and a client see them.
//!
//! Needed beside cargo: nginx, Apache, lighttpd, HAProxy, cgi-fcgi, spawn-fcgi, supervisord, php-cgi, php-fpm, curl, wrk, a
//! C compiler. `make test` installs them.
#![allow(clippy::print_stderr)]

mod support;

mod application;
mod binds;
mod capacity;
mod cgi;
mod command_line;
mod crash;
mod exec;
mod faults;
mod files;
mod front_ends;
mod gateways;
mod logs;
mod mounts;
mod php;
mod preload;
mod process;
mod refusals;
mod reload;
mod requests;
mod soak;
mod stop;
mod streaming;
mod systemd;
mod threads;
mod upgrade;
