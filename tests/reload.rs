//! SIGHUP: new code and new settings beside the old, and what is wrong with them stays without effect.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::address::free_port;
use crate::support::{Address, Client, SOON, Server, client, poll_until, process};

#[test]
fn a_reload_replaces_every_worker_and_keeps_the_arbiter() {
    let server = Server::probe().args(&["-w", "3"]).start();
    let old = server.wait_workers(3);
    server.signal(Signal::SIGHUP);
    let new = server.wait_replaced(&old, 3);
    process::wait_gone(&old, SOON);
    server.wait_for_log("Handling signal: hup");
    server.wait_for_log("Hang up: Master");
    assert!(new.contains(&server.answering()));
    process::wait_reaped(server.pid);
}

#[test]
fn the_old_generation_serves_until_the_new_one_is_ready() {
    let builder = Server::probe();
    let slow = builder.directory().join("slow");
    let server = builder.env("BOOT_SLEEP_FILE", &slow).args(&["-w", "2"]).start();
    let old = server.wait_workers(2);
    server.directory.write("slow", "1500");
    server.signal(Signal::SIGHUP);
    server.wait_for_log_times("Booting worker", 3);
    let mut answers = 0;
    while old.iter().all(|pid| process::is_alive(*pid)) {
        let pid = server.answering();
        assert!(old.contains(&pid) || answers > 0, "the new worker {pid} answers before it can be ready");
        answers += 1;
    }
    assert!(answers > 3, "only {answers} answers in the meantime");
    server.wait_replaced(&old, 2);
}

#[test]
fn a_generation_that_cannot_boot_is_given_up_and_the_old_one_serves_on() {
    for failure in ["error", "panic", "exit1", "exit3", "application"] {
        let builder = Server::probe();
        let broken = builder.directory().join("broken");
        let mut setting = std::ffi::OsString::from(failure);
        setting.push(":");
        setting.push(&broken);
        let mut server = builder.env("BOOT_FAIL", setting).args(&["-w", "2"]).start();
        let old = server.wait_workers(2);
        server.directory.write("broken", "");
        server.signal(Signal::SIGHUP);
        server.wait_for_log_times("Booting worker", 3);
        let until = std::time::Instant::now() + Duration::from_millis(1500);
        while std::time::Instant::now() < until {
            assert!(old.contains(&server.answering()), "{failure}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(server.exited().is_none(), "{failure}");
        assert!(old.iter().all(|pid| process::is_alive(*pid)), "{failure}");
        // Mended code is taken by the next reload.
        std::fs::remove_file(&broken).expect("the file that breaks it");
        server.signal(Signal::SIGHUP);
        server.wait_replaced(&old, 2);
        server.stop();
    }
}

#[test]
fn a_reload_right_after_the_start_finds_the_first_generation_to_fall_back_to() {
    let builder = Server::probe();
    let (broken, slow) = (builder.directory().join("broken"), builder.directory().write("slow", "500"));
    let mut setting = std::ffi::OsString::from("exit3:");
    setting.push(&broken);
    let server = builder.env("BOOT_FAIL", setting).env("BOOT_SLEEP_FILE", &slow).args(&["-w", "1"]).spawn();
    server.wait_for_log("Booting worker");
    // The arbiter gets to hear at once that the worker is ready, and of the reload.
    server.signal(Signal::SIGSTOP);
    poll_until("an answer", SOON, || client::try_get(&server.address, "/pid").ok());
    let old = server.answering();
    server.directory.write("broken", "");
    server.directory.write("slow", "0");
    server.signal(Signal::SIGHUP);
    server.signal(Signal::SIGCONT);
    server.wait_for_log("Reload failed");
    assert_eq!(server.answering(), old);
}

#[test]
fn new_settings_are_taken_and_broken_ones_leave_the_old_in_force() {
    let builder = Server::probe();
    let file = builder.directory().write("settings.toml", "workers = 2\n");
    let mut server = builder.arg("-c").arg(&file).start();
    let mut pids = server.wait_workers(2);
    server.directory.write("settings.toml", "workers = 3\n");
    server.signal(Signal::SIGHUP);
    pids = server.wait_replaced(&pids, 3);
    for (times, broken) in ["workers = [\n", "wrokers = 9\n", "workers = \"x\"\n"].into_iter().enumerate() {
        let errors = server.count_log("[ERROR]");
        server.directory.write("settings.toml", broken);
        server.signal(Signal::SIGHUP);
        server.wait_for_log_times("Handling signal: hup", times + 2);
        server.wait_for_log_times("[ERROR]", errors + 1);
        assert!(server.log().contains("settings.toml"), "the log does not say where the mistake is");
        assert_eq!(server.get("/").text(), "hello");
    }
    assert_eq!(server.wait_workers(3), pids, "the workers have nothing to do with the mistake");
    std::fs::remove_file(&file).expect("the settings");
    server.signal(Signal::SIGHUP);
    server.wait_for_log_times("Handling signal: hup", 5);
    assert_eq!(server.get("/").text(), "hello");
    server.directory.write("settings.toml", "workers = 1\n");
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&pids, 1);
    server.stop();
}

#[test]
fn a_reload_may_change_the_address() {
    let (first, second) = (free_port(), free_port());
    let line = |port: u16| format!("bind = \"127.0.0.1:{port}\"\n");
    let builder = Server::probe();
    let file = builder.directory().write("settings.toml", line(first));
    let mut server = builder.bound_to(Address::tcp(first)).arg("-c").arg(&file).start();
    let mut open = server.connect();
    open.get("/");
    server.directory.write("settings.toml", line(second));
    server.signal(Signal::SIGHUP);
    poll_until("the new address to answer", SOON, || client::try_get(&Address::tcp(second), "/").ok());
    poll_until("the old address to be given up", SOON, || Client::connect(&Address::tcp(first)).err());
    server.stop();
}

#[test]
fn an_address_that_cannot_be_had_leaves_the_old_one_in_force() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let taken = taken.local_addr().map(|address| (taken, address)).expect("its address");
    let first = free_port();
    let builder = Server::probe();
    let file = builder.directory().write("settings.toml", format!("bind = \"127.0.0.1:{first}\"\n"));
    let mut server = builder.bound_to(Address::tcp(first)).arg("-c").arg(&file).start();
    server.directory.write("settings.toml", format!("bind = \"{}\"\n", taken.1));
    server.signal(Signal::SIGHUP);
    server.wait_for_log("[ERROR]");
    assert!(server.exited().is_none());
    assert_eq!(server.get("/").text(), "hello");
    server.stop();
}

#[test]
fn a_second_reload_supersedes_the_first() {
    let builder = Server::probe();
    let slow = builder.directory().join("slow");
    let server = builder.env("BOOT_SLEEP_FILE", &slow).args(&["-w", "2"]).start();
    let old = server.wait_workers(2);
    server.directory.write("slow", "60000");
    server.signal(Signal::SIGHUP);
    server.wait_for_log_times("Booting worker", 3);
    std::fs::remove_file(&slow).expect("the file that slows it down");
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&old, 2);
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn a_storm_of_reloads_ends_with_one_generation() {
    let server = Server::probe().args(&["-w", "2"]).start();
    let old = server.wait_workers(2);
    for _ in 0..500 {
        server.signal(Signal::SIGHUP);
    }
    server.wait_replaced(&old, 2);
    poll_until("the storm to settle", SOON, || {
        let pids = server.workers();
        std::thread::sleep(Duration::from_millis(300));
        (pids.len() == 2 && server.workers() == pids).then_some(())
    });
    assert!(server.count_log("Booting worker") < 2 + 2 * 20, "the reloads piled up");
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn a_reload_leaks_no_descriptors_and_no_processes() {
    let server = Server::probe().args(&["-w", "2"]).start();
    let mut pids = server.wait_workers(2);
    server.signal(Signal::SIGHUP);
    pids = server.wait_replaced(&pids, 2);
    let before = process::descriptors(server.pid).len();
    for _ in 0..10 {
        server.signal(Signal::SIGHUP);
        pids = server.wait_replaced(&pids, 2);
    }
    // The last workers are gone before the arbiter has heard of it.
    poll_until("all that the last workers had to be let go", SOON, || {
        let none_left = process::zombies(server.pid).is_empty() && process::tree(server.pid).len() == 3;
        (none_left && process::descriptors(server.pid).len() <= before).then_some(())
    });
}

#[test]
fn ttin_and_ttou_scale_and_a_reload_resets() {
    let server = Server::probe().args(&["-w", "2"]).start();
    server.wait_workers(2);
    server.signal(Signal::SIGTTIN);
    let three = server.wait_workers(3);
    server.signal(Signal::SIGTTIN);
    server.wait_workers(4);
    server.signal(Signal::SIGTTOU);
    server.wait_workers(3);
    assert!(server.workers().iter().any(|pid| three.contains(pid)));
    server.signal(Signal::SIGTTOU);
    server.wait_workers(2);
    server.signal(Signal::SIGTTOU);
    let one = server.wait_workers(1);
    server.signal(Signal::SIGTTOU);
    server.wait_for_log_times("Handling signal: ttou", 4);
    assert_eq!(server.get("/").text(), "hello");
    assert_eq!(server.wait_workers(1), one, "there is never less than one");
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&one, 2);
}

#[test]
fn unknown_and_stray_signals_change_nothing() {
    let server = Server::probe().args(&["-w", "2"]).start();
    let pids = server.wait_workers(2);
    server.signal(Signal::SIGWINCH);
    server.signal(Signal::SIGCHLD);
    server.signal(Signal::SIGPIPE);
    server.signal(Signal::SIGURG);
    for pid in &pids {
        for signal in
            [Signal::SIGHUP, Signal::SIGWINCH, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGCHLD, Signal::SIGPIPE]
        {
            process::signal(*pid, signal);
        }
    }
    for _ in 0..20 {
        assert_eq!(server.get("/").text(), "hello");
    }
    assert_eq!(server.workers(), pids);
}
