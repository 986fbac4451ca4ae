//! The ledger's clients as a command, for servers that run already:
//! `cargo run --release --example ledger -- ADDRESS [SECONDS [CLIENTS [ANSWERED]]]`.
//!
//! ADDRESS is `HOST:PORT` or `unix:PATH`, with `uwsgi://`, `fastcgi://`, `fastcgi-keep://` or `scgi://` in front for clients
//! that speak these; ANSWERED is the file in which the application notes each id (see probe.rs).
//! Exits with 1 if anything was lost or answered twice.
#![allow(dead_code, clippy::print_stdout)]

#[path = "../support/address.rs"]
mod address;
#[path = "../support/answer.rs"]
mod answer;
#[path = "../support/doors.rs"]
mod doors;
#[path = "../support/ledger.rs"]
mod ledger;

use std::process::ExitCode;
use std::time::Duration;

use address::Address;
use doors::Door;
use ledger::{Audit, Ledger, Plan};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_default();
    let (door, address) = match address.split_once("://") {
        Some((name, address)) => (Door::named(name).expect("a protocol"), address),
        None => (Door::Http, address.as_str()),
    };
    let address: Address = address.parse().expect("an ADDRESS: HOST:PORT or unix:PATH");
    let seconds = args.next().map_or(10, |text| text.parse().expect("a number of SECONDS"));
    let mut plan = Plan { door, ..Plan::new(&address) };
    if let Some(clients) = args.next() {
        plan.clients = clients.parse().expect("a number of CLIENTS");
    }
    let answered = args.next();
    let ledger = Ledger::start(plan);
    std::thread::sleep(Duration::from_secs(seconds));
    let report = ledger.finish();
    print!("{report}");
    let audit = answered.map_or_else(Audit::default, |path| {
        let audit = report.audit(path.as_ref());
        println!(
            "{} answered twice, {} answered by nobody, {} seen but lost",
            audit.twice, audit.phantom, audit.unanswered
        );
        audit
    });
    if report.lost.is_empty() && audit.twice + audit.phantom == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
