//! A prefork application server: Gunicorn's process model, command line, settings, signals and log lines with a Rust
//! engine.
//!
//! An **arbiter** process owns the listening sockets, forks **workers** and wakes from a poll loop through a signal
//! self-pipe; each worker parses requests and calls the **application**.
//!
//! ```text
//!              signals, exits, timers                        bytes
//!   kernel ---------------------------> arbiter     peer <----------> worker::connection
//!                                          |                              |        |
//!                     forks, channel,      |                   protocol::Http1   app::Application
//!                     scoreboard           v
//!                                       worker (engine: mio, timers, buffers)
//! ```
//!
//! Tenets, earlier wins: correct on the wire; survive the application; lose nothing; simple; fast; familiar.
//!
//! A whole server, with the command line, the arbiter, its signals and its logs:
//!
//! ```no_run
//! use ferricorn::{Request, Response};
//!
//! fn main() -> std::process::ExitCode {
//!     ferricorn::run(|_request: &Request| Response::text("Hello, World!"))
//! }
//! ```
//!
//! Such a program at work, with itself as the client:
//!
//! ```standalone_crate
//! use std::io::{Read, Write};
//! use std::os::unix::net::UnixStream;
//! use std::process::{Command, ExitCode};
//!
//! use ferricorn::{Request, Response};
//!
//! fn main() -> ExitCode {
//!     if std::env::var_os("SERVE").is_some() {
//!         return ferricorn::run(|request: &Request| Response::text(format!("Hello, {}!", request.path())));
//!     }
//!     let socket = std::env::temp_dir().join(format!("ferricorn-doctest-{}", std::process::id()));
//!     let program = std::env::current_exe().unwrap();
//!     let bind = format!("unix:{}", socket.display());
//!     let mut server = Command::new(program).args(["--bind", &bind]).env("SERVE", "1").spawn().unwrap();
//!
//!     let mut client = loop {
//!         if let Ok(client) = UnixStream::connect(&socket) {
//!             break client;
//!         }
//!         assert!(server.try_wait().unwrap().is_none(), "the server does not run");
//!     };
//!     client.write_all(b"GET /reader HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
//!     let mut answer = String::new();
//!     client.read_to_string(&mut answer).unwrap();
//!     assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
//!     assert!(answer.ends_with("\r\n\r\nHello, /reader!"));
//!
//!     Command::new("kill").arg(server.id().to_string()).status().unwrap();
//!     assert!(server.wait().unwrap().success());
//!     ExitCode::SUCCESS
//! }
//! ```
//!
//! # Modules in reading order
//! [`app`] is the contract with applications, [`settings`] what can be set; `server` puts everything together: `cli`,
//! `listener`, `arbiter`, `worker`; [`protocol`] is HTTP without I/O; `signals`, `scoreboard` and `channel` connect the
//! processes; `logging` writes Gunicorn's lines; `sys` holds the unsafe system calls.

mod arbiter;
mod channel;
mod cli;
mod clock;
mod error;
mod host;
mod html;
mod inode;
mod launch;
mod listener;
mod logging;
mod pidfile;
mod process;
#[cfg(test)]
#[path = "../tests/support/root.rs"]
mod root;
#[cfg(test)]
mod scenario;
mod scheduling;
mod scoreboard;
mod server;
mod signals;
mod status;
mod sys;
mod systemd;
mod words;
mod worker;

pub mod app;
pub mod protocol;
pub mod settings;

pub use app::{Application, Body, Factory, Hook, Reply, Request, Response};
pub use cli::program_settings;
pub use error::Error;
pub use host::{Assignment, Host, HostFile};
pub use launch::CommandLine;
pub use logging::{TRACEBACK, error_log_descriptor, log_critical};
pub use server::{command, run, serve, serve_hosted};
pub use worker::{Embedded, Waker};
