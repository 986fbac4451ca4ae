//! What the arbiter does when workers, forks or resources fail.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::server::Builder;
use crate::support::{SOON, Server, client, poll_until, process};

#[test]
fn a_worker_that_dies_is_replaced_and_the_log_says_how_it_died() {
    let server = Server::probe().args(&["-w", "2"]).start();
    let pids = server.wait_workers(2);
    process::signal(pids[0], Signal::SIGKILL);
    server.wait_for_log(&format!("Worker (pid:{}) was sent SIGKILL!", pids[0]));
    server.wait_replaced(&pids[..1], 2);
    assert!(server.workers().contains(&pids[1]), "its sibling has nothing to do with it");
    let _ = client::try_get(&server.address, "/exit/7");
    let line = server.wait_for_log("exited with code 7");
    assert!(line.contains("[ERROR]") && line.contains("Worker (pid:"), "{line}");
    server.wait_workers(2);
    let _ = client::try_get(&server.address, "/abort");
    server.wait_for_log("was sent SIGABRT!");
    server.wait_workers(2);
    process::wait_reaped(server.pid);
}

#[test]
fn a_call_that_takes_too_long_costs_its_worker_and_nobody_elses() {
    let server = Server::probe().args(&["-w", "2", "--timeout", "1"]).start();
    let pids = server.wait_workers(2);
    let mut stuck = server.connect();
    stuck.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let began = Instant::now();
    let line = server.wait_for_log("WORKER TIMEOUT (pid:");
    assert!(line.contains("[CRITICAL]"), "{line}");
    let took = began.elapsed();
    assert!(took > Duration::from_millis(800) && took < Duration::from_secs(4), "after {took:?}");
    let victim = *pids.iter().find(|pid| line.contains(&format!("(pid:{pid})"))).expect("one of the workers");
    process::wait_gone(&[victim], SOON);
    let workers = server.wait_replaced(&[victim], 2);
    assert!(pids.iter().filter(|pid| workers.contains(pid)).count() == 1, "{pids:?} {workers:?}");
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn idle_workers_and_slow_clients_are_no_timeout() {
    let server = Server::probe().args(&["-w", "1", "--timeout", "1"]).start();
    let pids = server.wait_workers(1);
    let mut slow = server.connect();
    slow.send("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab").expect("sent");
    std::thread::sleep(Duration::from_millis(2500));
    slow.send("cd").expect("sent");
    assert_eq!(slow.answer().expect("an answer").text(), "4");
    assert_eq!(server.workers(), pids);
}

#[test]
fn a_stopped_worker_is_replaced_once_its_call_is_overdue() {
    let server = Server::probe().args(&["-w", "1", "--timeout", "2"]).start();
    let pids = server.wait_workers(1);
    let mut busy = server.connect();
    busy.send("GET /sleep/1000 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    poll_until("the call", SOON, || (process::state(pids[0]) == Some('S')).then_some(()));
    std::thread::sleep(Duration::from_millis(200));
    process::signal(pids[0], Signal::SIGSTOP);
    let began = Instant::now();
    server.wait_replaced(&pids, 1);
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
}

#[test]
fn booting_has_a_limit_of_its_own() {
    let builder = Server::probe();
    let slow = builder.directory().join("slow");
    let server = builder.env("BOOT_SLEEP_FILE", &slow).args(&["--timeout", "1", "--boot-timeout", "3"]).start();
    let old = server.wait_workers(1);
    // Longer than a call may take, and no reason to worry.
    server.directory.write("slow", "1800");
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&old, 1);
    assert_eq!(server.count_log("TIMEOUT"), 0, "{}", server.log());
    // For ever is too long.
    server.directory.write("slow", "600000");
    server.signal(Signal::SIGHUP);
    let booting = poll_until("the new worker", SOON, || server.workers().get(1).copied());
    process::wait_gone(&[booting], SOON);
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn a_crash_loop_backs_off_and_leaves_healthy_workers_alone() {
    let builder = Server::probe();
    let (broken, boots) = (builder.directory().join("broken"), builder.directory().join("boots"));
    let setting = format!("exit1:{}", broken.display());
    let server = builder.env("BOOT_FAIL", setting).env("BOOT_LOG", &boots).args(&["-w", "3"]).start();
    let pids = server.wait_workers(3);
    server.directory.write("broken", "");
    let count = || std::fs::read_to_string(&boots).unwrap_or_default().lines().count();
    let before = count();
    process::signal(pids[0], Signal::SIGKILL);
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert_eq!(server.get("/").text(), "hello");
        std::thread::sleep(Duration::from_millis(25));
    }
    let boots = count() - before;
    assert!((2..=9).contains(&boots), "{boots} boots in 5 s");
    assert!(pids[1..].iter().all(|pid| process::is_alive(*pid)));
    // Once it can boot again, the full strength comes back within the back-off.
    std::fs::remove_file(&broken).expect("the file that breaks it");
    poll_until("the third worker", Duration::from_secs(40), || (server.workers().len() == 3).then_some(()));
}

/// A library that makes fork(2) fail as many times as the file `$FORK_FAULTS` has bytes.
fn failing_fork() -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/fork.c");
    let library = std::env::temp_dir().join(format!("ferricorn-fork-{}.so", std::process::id()));
    static BUILD: std::sync::Once = std::sync::Once::new();
    BUILD.call_once(|| {
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let status =
            Command::new(&compiler).args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]).status();
        assert!(status.is_ok_and(|status| status.success()), "{compiler} cannot compile {source}");
    });
    library
}

/// A server whose forks fail once there is something in its file `faults`.
pub(crate) fn with_failing_forks(builder: Builder) -> Builder {
    let faults = builder.directory().write("faults", "");
    builder.env("LD_PRELOAD", failing_fork()).env("FORK_FAULTS", faults)
}

#[test]
fn a_fork_that_fails_is_tried_again() {
    let server = with_failing_forks(Server::probe()).args(&["-w", "2"]).start();
    let pids = server.wait_workers(2);
    server.directory.write("faults", "..........");
    process::signal(pids[0], Signal::SIGKILL);
    let faults = server.directory.join("faults");
    poll_until("ten failures", SOON, || {
        assert_eq!(server.get("/").text(), "hello");
        std::fs::metadata(&faults).is_ok_and(|metadata| metadata.len() == 0).then_some(())
    });
    let cleared = Instant::now();
    server.wait_workers(2);
    assert!(cleared.elapsed() < Duration::from_millis(1500), "full strength only after {:?}", cleared.elapsed());
    assert!(server.workers().contains(&pids[1]));
    server.wait_for_log("[ERROR]");
}

#[test]
fn forks_that_fail_during_a_reload_leave_the_old_generation() {
    let server = with_failing_forks(Server::probe()).args(&["-w", "2"]).start();
    let pids = server.wait_workers(2);
    server.directory.write("faults", "....");
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&pids, 2);
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn an_arbiter_without_free_descriptors_lives_and_recovers() {
    let server = Server::probe().args(&["-w", "2"]).start();
    let pids = server.wait_workers(2);
    let open = process::descriptors(server.pid).last().map_or(3, |(number, _)| number + 1).to_string();
    let limit = |limit: &str| {
        let (done, text) = crate::support::programs::output(
            "prlimit",
            &["--pid", &server.pid.to_string(), &format!("--nofile={limit}:")],
        );
        assert!(done, "{text}");
    };
    limit(&open);
    process::signal(pids[0], Signal::SIGKILL);
    server.signal(Signal::SIGHUP);
    server.signal(Signal::SIGTTIN);
    for _ in 0..20 {
        assert_eq!(server.get("/").text(), "hello");
        std::thread::sleep(Duration::from_millis(20));
    }
    let ticks = process::cpu_ticks(server.pid);
    std::thread::sleep(Duration::from_secs(1));
    assert!(process::cpu_ticks(server.pid) - ticks < 20, "it spins");
    limit("1024");
    poll_until("full strength", SOON, || (server.workers().len() >= 2).then_some(()));
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&pids, 2);
}

#[test]
fn a_worker_without_free_descriptors_keeps_what_it_has_and_recovers() {
    let server = Server::probe().args(&["-w", "1"]).start();
    let worker = server.wait_workers(1)[0];
    let mut open = server.connect();
    open.get("/");
    let first_free = process::descriptors(worker).last().map_or(3, |(number, _)| number + 1);
    let limit = |limit: i32| {
        let arguments = ["--pid", &worker.to_string(), &format!("--nofile={limit}:")];
        let (done, text) = crate::support::programs::output("prlimit", &arguments);
        assert!(done, "{text}");
    };
    limit(first_free);
    let mut waiting: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    }
    let ticks = process::cpu_ticks(worker);
    for _ in 0..10 {
        assert_eq!(open.get("/").text(), "hello");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(process::cpu_ticks(worker) - ticks < 30, "it spins");
    limit(1024);
    for client in &mut waiting {
        assert_eq!(client.answer().expect("an answer, late").text(), "hello");
    }
    assert_eq!(server.workers(), [worker]);
}

#[test]
fn strangers_among_the_children_are_reaped_quietly() {
    // The shell's background job is the arbiter's child after the exec.
    let server = Server::probe().wrapper(&["sh", "-c", "sleep 0.3 & (exit 3) & exec \"$0\" \"$@\""]).start();
    process::wait_reaped(server.pid);
    std::thread::sleep(Duration::from_millis(500));
    process::wait_reaped(server.pid);
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn an_idle_server_does_not_wake_up() {
    let server = Server::probe().args(&["-w", "2"]).start();
    let pids = server.wait_workers(2);
    let mut idle = server.connect();
    idle.get("/");
    std::thread::sleep(Duration::from_millis(300));
    let switches = |pid: i32| -> u64 {
        process::status(pid, "voluntary_ctxt_switches").and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let before: Vec<u64> = pids.iter().map(|pid| switches(*pid)).collect();
    std::thread::sleep(Duration::from_secs(2));
    for (pid, before) in pids.iter().zip(before) {
        assert!(switches(*pid) - before <= 1, "worker {pid} woke up {} times in 2 s", switches(*pid) - before);
    }
}
