//! SIGHUP under load: with and without something in between, and of what cannot be loaded.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Outcome, crowd, crowd_at, settle};
use crate::support::doors::Door;
use crate::support::ledger::{Ledger, Plan};
use crate::support::{Address, SOON, Server, gateways, poll_until, process, programs};

/// SIGHUP again and again.
pub(crate) fn reloads(times: u32, every: Duration, options: &[&str]) -> Outcome {
    let mut outcome = Outcome::default();
    let server = Server::probe().ledger().args(&["-w", "2"]).args(options).start();
    let mut pids = server.wait_workers(2);
    let ledger = crowd(&server);
    let (mut descriptors, mut resident) = (0, 0);
    let began = Instant::now();
    for number in 1..=times {
        // The first half touches pages that were not touched before.
        if number == times / 2 {
            (descriptors, resident) = (process::descriptors(server.pid).len(), process::anonymous(server.pid));
        }
        server.signal(Signal::SIGHUP);
        std::thread::sleep((began + every * number).saturating_duration_since(Instant::now()));
    }
    settle(&server, 2);
    pids.retain(|pid| process::is_alive(*pid));
    outcome.figure("reloads: workers of the first generation left", pids.len().to_string(), "0", pids.is_empty());
    outcome.nothing_lost(&format!("{times} reloads {}", options.join(" ")), ledger, &server);
    let grown = process::descriptors(server.pid).len().saturating_sub(descriptors);
    outcome.at_most("reloads: descriptors leaked by the arbiter", grown, 0, "");
    outcome.arbiter_grown("reloads", &server, resident);
    outcome
}

/// The same with nginx and its kept connections in between.
pub(crate) fn reloads_behind_nginx(times: u32, every: Duration, unix: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut builder = Server::probe().ledger().args(&["-w", "2"]);
    if unix {
        let path = builder.directory().join("socket");
        builder = builder.bind(Address::unix(&path));
    }
    let server = builder.start();
    let (_nginx, address) = programs::nginx(&server.address);
    let ledger = crowd_at(&address);
    for _ in 0..times {
        server.signal(Signal::SIGHUP);
        std::thread::sleep(every);
    }
    settle(&server, 2);
    let name = if unix { "a unix socket" } else { "TCP" };
    outcome.nothing_lost(&format!("{times} reloads behind nginx over {name}"), ledger, &server);
    outcome
}

/// The same with nginx in between that speaks another protocol, on a unix socket; `keep`: connections are kept, where the
/// protocol (FastCGI) has that.
pub(crate) fn reloads_behind_a_gateway(protocol: &str, keep: bool, times: u32, every: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    let builder = Server::probe().ledger().speaking(protocol).args(&["-w", "2"]);
    let path = builder.directory().join("socket");
    let server = builder.bind(Address::unix(&path)).start();
    let once = [
        ("fastcgi_keep_conn on;", "fastcgi_keep_conn off;".to_owned()),
        ("keepalive 64; ", String::new()),
        ("keepalive_timeout 60s; ", String::new()),
    ];
    let changes = if protocol == "fastcgi" && !keep { &once[..] } else { &[] };
    let (_nginx, address) = gateways::nginx_with(protocol, &server.address, changes);
    let ledger = crowd_at(&address);
    for _ in 0..times {
        server.signal(Signal::SIGHUP);
        std::thread::sleep(every);
    }
    settle(&server, 2);
    let how = if protocol == "fastcgi" && keep { ", connections kept" } else { "" };
    outcome.nothing_lost(&format!("{times} reloads behind nginx over {protocol}{how}"), ledger, &server);
    outcome
}

/// The same with clients that speak the protocol themselves.
pub(crate) fn reloads_at_a_door(door: Door, times: u32, every: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    let server = Server::probe().ledger().speaking(door.protocol()).args(&["-w", "2"]).start();
    let ledger = Ledger::start(Plan { door, ..Plan::new(&server.address) });
    poll_until("the first answers", SOON, || (ledger.answered() > 400).then_some(()));
    for _ in 0..times {
        server.signal(Signal::SIGHUP);
        std::thread::sleep(every);
    }
    settle(&server, 2);
    let how = if door == (Door::FastCgi { keep: true }) { ", connections kept" } else { "" };
    outcome.nothing_lost(&format!("{times} reloads under {}{how}", door.protocol()), ledger, &server);
    outcome
}

/// Reloads of an application that cannot boot, and of settings that are wrong.
pub(crate) fn broken_reloads(duration: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    let builder = Server::probe().ledger();
    let broken = builder.directory().join("broken");
    let file = builder.directory().write("settings.toml", "workers = 2\n");
    let slow = builder.directory().join("slow");
    let mut server = builder
        .env("BOOT_FAIL", format!("exit3:{}", broken.display()))
        .env("BOOT_SLEEP_FILE", slow)
        .arg("-c")
        .arg(file)
        .start();
    let pids = server.wait_workers(2);
    let ledger = crowd(&server);
    let began = Instant::now();
    let mut reloads = 0;
    while began.elapsed() < duration {
        match reloads % 3 {
            // It fails to boot; it hangs while it does; it is told nonsense.
            0 => drop(server.directory.write("broken", "")),
            1 => drop(server.directory.write("slow", "20000")),
            _ => drop(server.directory.write("settings.toml", "workers = \"many\"\n")),
        }
        server.signal(Signal::SIGHUP);
        reloads += 1;
        std::thread::sleep(Duration::from_millis(700));
        let _ = fs::remove_file(server.directory.join("slow"));
        let _ = fs::remove_file(server.directory.join("broken"));
        server.directory.write("settings.toml", "workers = 2\n");
    }
    let alive = server.exited().is_none();
    outcome.figure("broken reloads: the arbiter lives", alive.to_string(), "true", alive);
    // A good one ends it all.
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&pids, 2);
    settle(&server, 2);
    outcome.nothing_lost(&format!("{reloads} broken reloads"), ledger, &server);
    outcome
}

#[test]
fn nothing_is_lost_in_reloads() {
    reloads(12, Duration::from_millis(500), &[]).check();
}

#[test]
fn nothing_is_lost_in_reloads_of_a_preloaded_application() {
    reloads(12, Duration::from_millis(500), &["--preload"]).check();
}

#[test]
fn nothing_is_lost_in_reloads_behind_nginx() {
    reloads_behind_nginx(4, Duration::from_millis(800), false).check();
    reloads_behind_nginx(4, Duration::from_millis(800), true).check();
}

#[test]
fn nothing_is_lost_in_reloads_that_fail() {
    broken_reloads(Duration::from_secs(5)).check();
}
