//! `--preload`: the application is loaded once, in a template, and the workers that it forks are as good as any others.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::crash::with_failing_forks;
use crate::support::server::Builder;
use crate::support::{SOON, Server, client, poll_until, process};
use crate::upgrade::{upgradable, upgrade};

fn preloading(workers: usize) -> Builder {
    let builder = Server::probe();
    let (boots, adopted) = (builder.directory().join("boots"), builder.directory().join("adopted"));
    let workers = workers.to_string();
    builder.env("BOOT_LOG", boots).env("ADOPT_LOG", adopted).args(&["--preload", "-w", &workers])
}

fn pids_in(server: &Server, name: &str) -> Vec<i32> {
    let text = fs::read_to_string(server.directory.join(name)).unwrap_or_default();
    text.lines().map(|line| line.parse().expect("a pid")).collect()
}

#[test]
fn the_application_is_loaded_once_and_each_worker_makes_it_its_own() {
    let server = preloading(3).start();
    let template = server.wait_template(&[]);
    let workers = server.wait_workers(3);
    assert_eq!(pids_in(&server, "boots"), [template]);
    let mut adopted = pids_in(&server, "adopted");
    adopted.sort_unstable();
    let mut expected = workers.clone();
    expected.sort_unstable();
    assert_eq!(adopted, expected);
    assert!(workers.contains(&server.answering()));
    for pid in workers.iter().chain([&template]) {
        assert_eq!(process::status(*pid, "PPid"), Some(server.pid.to_string()));
        assert_eq!(process::status(*pid, "SigBlk").as_deref(), Some("0000000000000000"));
        assert!(process::status(*pid, "NoNewPrivs").is_some_and(|value| value == "1"));
    }
    process::wait_reaped(server.pid);
    process::wait_reaped(template);
}

#[test]
fn workers_of_a_template_have_the_descriptors_that_others_have() {
    let count = |builder: Builder| {
        let server = builder.args(&["-w", "2"]).start();
        server.wait_workers(2).into_iter().map(|pid| process::descriptors(pid).len()).collect::<Vec<_>>()
    };
    assert_eq!(count(Server::probe().arg("--preload")), count(Server::probe()));
}

#[test]
fn a_reload_makes_a_new_template_which_loads_new_code() {
    let server = preloading(2).start();
    let (template, old) = (server.wait_template(&[]), server.wait_workers(2));
    server.signal(Signal::SIGHUP);
    let new = server.wait_replaced(&old, 2);
    let next = server.wait_template(&[template]);
    assert_eq!(pids_in(&server, "boots"), [template, next]);
    assert!(new.contains(&server.answering()));
    process::wait_gone(&old, SOON);
    process::wait_reaped(server.pid);
    assert_eq!(server.count_log("[ERROR]"), 0, "{}", server.log());
}

#[test]
fn preloading_can_be_switched_on_and_off_by_a_reload() {
    let builder = Server::probe();
    let file = builder.directory().write("settings.toml", "workers = 2\n");
    let server = builder.arg("-c").arg(file).start();
    let mut workers = server.wait_workers(2);
    for preload in [true, false] {
        server.directory.write("settings.toml", format!("workers = 2\npreload_app = {preload}\n"));
        server.signal(Signal::SIGHUP);
        workers = server.wait_replaced(&workers, 2);
        poll_until("the template", SOON, || (server.templates().len() == usize::from(preload)).then_some(()));
        assert!(workers.contains(&server.answering()));
        server.wait_for_log_times("Reloaded", if preload { 1 } else { 2 });
    }
}

#[test]
fn a_generation_whose_template_cannot_load_is_given_up_and_the_old_one_serves_on() {
    for failure in ["error", "panic", "exit1", "exit3", "application", "threads"] {
        let builder = preloading(2);
        let setting = format!("{failure}:{}", builder.directory().join("broken").display());
        let mut server = builder.env("BOOT_FAIL", setting).start();
        let (template, old) = (server.wait_template(&[]), server.wait_workers(2));
        server.directory.write("broken", "");
        server.signal(Signal::SIGHUP);
        server.wait_for_log("Reload failed: no worker of generation 2 became ready; the old ones serve on");
        assert!(old.contains(&server.answering()), "{failure}");
        assert_eq!(server.wait_workers(2), old, "{failure}");
        assert_eq!(server.wait_template(&[]), template, "{failure}");
        // It is still at full strength.
        process::signal(old[0], Signal::SIGKILL);
        server.wait_replaced(&old[..1], 2);
        // Mended code is taken by the next reload.
        fs::remove_file(server.directory.join("broken")).expect("the file that breaks it");
        server.signal(Signal::SIGHUP);
        server.wait_replaced(&old, 2);
        server.wait_template(&[template]);
        server.stop();
    }
}

#[test]
fn a_first_template_that_cannot_load_ends_the_server_with_its_code_and_the_reason() {
    let cases = [
        ("error", 3, "Template (pid:", "Reason: Worker failed to boot."),
        ("exit3", 3, "it exited with code 3", "Reason: Worker failed to boot."),
        ("application", 4, "told that there is no application", "Reason: App failed to load."),
        ("threads", 3, "has started threads", "Reason: Worker failed to boot."),
    ];
    for (failure, code, said, reason) in cases {
        let finished = preloading(2).env("BOOT_FAIL", failure).run();
        assert_eq!(finished.code, Some(code), "{failure}: {}", finished.stderr);
        assert!(finished.stderr.contains(said) && finished.stderr.contains(reason), "{failure}: {}", finished.stderr);
    }
}

#[test]
fn a_killed_template_is_replaced_and_its_workers_serve_on() {
    let server = preloading(2).start();
    let (template, workers) = (server.wait_template(&[]), server.wait_workers(2));
    process::signal(template, Signal::SIGKILL);
    server.wait_for_log(&format!("Template (pid:{template}) has gone: it was sent SIGKILL"));
    let next = server.wait_template(&[template]);
    assert_eq!(server.wait_workers(2), workers);
    assert!(workers.contains(&server.answering()));
    // The new one does what the old one did.
    process::signal(workers[0], Signal::SIGKILL);
    let replaced = server.wait_replaced(&workers[..1], 2);
    assert!(replaced.contains(&workers[1]));
    assert_eq!(pids_in(&server, "boots"), [template, next]);
}

#[test]
fn killed_workers_come_back_without_loading_anything() {
    let server = preloading(2).start();
    let template = server.wait_template(&[]);
    for _ in 0..5 {
        let workers = server.wait_workers(2);
        process::signal(workers[0], Signal::SIGKILL);
        server.wait_replaced(&workers[..1], 2);
    }
    assert_eq!(pids_in(&server, "boots"), [template]);
    process::wait_reaped(server.pid);
}

#[test]
fn workers_are_added_and_taken_away() {
    let server = preloading(2).start();
    server.signal(Signal::SIGTTIN);
    server.wait_workers(3);
    server.signal(Signal::SIGTTOU);
    // Two that are pending at once are one to the kernel.
    server.wait_workers(2);
    server.signal(Signal::SIGTTOU);
    server.wait_workers(1);
    assert_eq!(server.templates().len(), 1);
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn everybody_goes_when_the_arbiter_is_stopped_or_killed() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGKILL] {
        let mut server = preloading(2).start();
        let mut pids = server.wait_workers(2);
        pids.push(server.wait_template(&[]));
        server.signal(signal);
        let status = server.wait_exit(SOON);
        assert_eq!(status.code(), if signal == Signal::SIGKILL { None } else { Some(0) }, "{}", server.log());
        process::wait_gone(&pids, SOON);
        client::try_get(&server.address, "/").expect_err("nobody is left");
    }
}

#[test]
fn a_template_that_is_loading_goes_with_the_server() {
    let builder = preloading(2);
    let mut server = builder.env("BOOT_FAIL", "hang").spawn();
    server.wait_for_log("Booting template");
    let template = server.wait_template(&[]);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_code(SOON), 0);
    process::wait_gone(&[template], SOON);
}

#[test]
fn booting_has_its_limit_in_a_template_too() {
    let builder = preloading(1);
    let slow = builder.directory().join("slow");
    let server = builder.env("BOOT_SLEEP_FILE", &slow).args(&["--boot-timeout", "1"]).start();
    let old = server.wait_workers(1);
    server.directory.write("slow", "600000");
    server.signal(Signal::SIGHUP);
    let line = server.wait_for_log("TEMPLATE TIMEOUT");
    assert!(line.contains("[CRITICAL]"), "{line}");
    server.wait_for_log("Reload failed");
    assert_eq!(server.answering(), old[0]);
}

#[test]
fn an_upgrade_brings_a_template_of_its_own() {
    let mut server = upgradable().arg("--preload").start();
    let (old, template) = (server.pid, server.wait_template(&[]));
    let old_workers = server.wait_workers(2);
    let new = upgrade(&mut server, old);
    assert!(old_workers.iter().chain([&template]).all(|pid| process::is_alive(*pid)), "the old ones serve on");
    server.stop();
    process::wait_gone(&old_workers, SOON);
    process::wait_gone(&[template], SOON);
    let children = process::children(new);
    assert_eq!(children.len(), 3, "a template and two workers");
    assert!(children.contains(&server.answering()));
    process::signal(new, Signal::SIGTERM);
    process::wait_gone(&[new], SOON);
}

#[test]
fn logs_are_reopened_in_the_template_and_in_workers_that_it_forks_later() {
    let builder = preloading(1);
    let log = builder.directory().join("error.log");
    let server = builder.arg("--error-logfile").arg(&log).start();
    let (template, workers) = (server.wait_template(&[]), server.wait_workers(1));
    let old = server.directory.join("old.log");
    fs::rename(&log, &old).expect("the log is moved away");
    server.signal(Signal::SIGUSR1);
    let has_open = |pid: i32, path: &std::path::Path| {
        process::descriptors(pid).iter().any(|(_, target)| target == &path.display().to_string())
    };
    for pid in [template, workers[0]] {
        poll_until("the new log", SOON, || (has_open(pid, &log) && !has_open(pid, &old)).then_some(()));
    }
    process::signal(workers[0], Signal::SIGKILL);
    let later = server.wait_replaced(&workers, 1)[0];
    assert!(has_open(later, &log) && !has_open(later, &old));
}

#[test]
fn a_template_whose_forks_fail_tries_again() {
    let server = with_failing_forks(preloading(2)).start();
    let (template, workers) = (server.wait_template(&[]), server.wait_workers(2));
    server.directory.write("faults", ".....");
    process::signal(workers[0], Signal::SIGKILL);
    server.wait_replaced(&workers[..1], 2);
    server.wait_for_log("Workers can be started again");
    assert_eq!(server.templates(), [template]);
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn what_the_application_leaves_behind_is_reaped_quietly() {
    let server = preloading(1).start();
    server.wait_workers(1);
    let lines = server.log().lines().count();
    assert_eq!(server.get("/orphan").status, 200);
    let others = || process::children(server.pid).len() + process::zombies(server.pid).len() - 2;
    poll_until("orphans", SOON, || (others() > 0).then_some(()));
    poll_until("no orphans", SOON, || (others() == 0).then_some(()));
    assert_eq!(server.log().lines().count(), lines, "{}", server.log());
}

#[test]
fn the_warm_up_request_is_answered_where_the_application_is_loaded() {
    for (options, times) in [(&["--preload"] as &[&str], 1), (&[], 2)] {
        let builder = Server::probe();
        let answered = builder.directory().join("answered");
        let access = builder.directory().join("access.log");
        let server = builder
            .env("LEDGER_FILE", answered)
            .args(&["-w", "2", "--warmup", "/id/warm?size=100000&stream=1"])
            .args(options)
            .arg("--access-logfile")
            .arg(&access)
            .start();
        server.wait_for_log_times("Warm-up request /id/warm?size=100000&stream=1 was answered with 200", times);
        let answered = fs::read_to_string(server.answered()).expect("the ids that were answered");
        assert_eq!(answered.lines().filter(|line| line.starts_with("warm ")).count(), times);
        assert!(!fs::read_to_string(access).expect("the access log").contains("warm"));
    }
}

#[test]
fn a_warm_up_request_that_fails_is_logged_and_changes_nothing() {
    let cases = [
        ("/status/503", "Warm-up request /status/503 was answered with 503"),
        ("/panic", "Warm-up request /panic failed: the application panicked"),
        ("/stream-fail/3", "Warm-up request /stream-fail/3 failed: its body broke off"),
        ("/later/50", "Warm-up request /later/50 was answered with 200"),
        ("/drop", "Warm-up request /drop was answered with 500"),
        ("/status/404", "[WARNING] Warm-up request /status/404 was answered with 404"),
        ("http://a.example/status/200", "[INFO] Warm-up request http://a.example/status/200 was answered with 200"),
    ];
    for (path, said) in cases {
        let server = preloading(1).args(&["--warmup", path]).start();
        server.wait_for_log(said);
        assert_eq!(server.get("/").text(), "hello", "{path}");
    }
}

#[test]
fn a_template_that_does_not_answer_is_replaced_when_it_is_needed() {
    let server = preloading(2).start();
    let (template, workers) = (server.wait_template(&[]), server.wait_workers(2));
    process::signal(template, Signal::SIGSTOP);
    process::signal(workers[0], Signal::SIGKILL);
    let limit = Duration::from_secs(30);
    poll_until("another template", limit, || server.templates().first().filter(|pid| **pid != template).copied());
    server.wait_replaced(&workers[..1], 2);
    assert!(server.workers().contains(&workers[1]));
    assert_eq!(server.get("/").text(), "hello");
}
