//! The server as a process: pidfile, daemon, user and group, umask, directory, environment, titles.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Address, Client, SOON, Server, address, client, poll_until, process, root};

fn pid_in(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok()
}

#[test]
fn the_pidfile_names_the_arbiter_and_goes_with_it() {
    let builder = Server::probe();
    let path = builder.directory().join("pid");
    let mut server = builder.arg("--pid").arg(&path).start();
    assert_eq!(pid_in(&path), Some(server.pid));
    assert_eq!(fs::metadata(&path).expect("the pidfile").permissions().mode() & 0o777, 0o644);
    server.stop();
    assert!(!path.exists());
}

#[test]
fn the_pidfile_of_a_live_server_is_respected_and_a_stale_one_replaced() {
    let builder = Server::probe();
    let path = builder.directory().join("pid");
    let mut first = builder.arg("--pid").arg(&path).start();
    let second = Server::probe().arg("--pid").arg(&path).run();
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains(&first.pid.to_string()), "{}", second.stderr);
    assert_eq!(pid_in(&path), Some(first.pid));
    first.signal(Signal::SIGKILL);
    first.wait_exit(SOON);
    assert_eq!(pid_in(&path), Some(first.pid), "nobody was left to remove it");
    let third = Server::probe().arg("--pid").arg(&path).start();
    assert_eq!(pid_in(&path), Some(third.pid));
}

#[test]
fn a_daemon_detaches_and_serves() {
    let builder = Server::probe();
    let (path, log) = (builder.directory().join("pid"), builder.directory().join("log"));
    let mut server = builder.arg("--daemon").arg("--pid").arg(&path).arg("--error-logfile").arg(&log).spawn();
    assert_eq!(server.wait_code(SOON), 0, "the command itself ends at once");
    let pid = poll_until("the pidfile", SOON, || pid_in(&path));
    server.adopt(pid);
    poll_until("the daemon to answer", SOON, || client::try_get(&server.address, "/").ok());
    assert_ne!(pid, server.pid);
    for (number, target) in process::descriptors(pid).iter().take(3) {
        assert_eq!(target, "/dev/null", "descriptor {number}");
    }
    process::signal(pid, Signal::SIGTERM);
    process::wait_gone(&[pid], SOON);
    assert!(!path.exists());
    let text = fs::read_to_string(&log).expect("the log");
    assert!(text.contains("Shutting down: Master"), "{text}");
}

#[test]
fn a_daemon_keeps_its_sockets_while_its_workers_are_away() {
    let builder = Server::probe();
    let (path, log) = (builder.directory().join("pid"), builder.directory().join("log"));
    let mut server =
        builder.args(&["--daemon", "-w", "2"]).arg("--pid").arg(&path).arg("--error-logfile").arg(&log).spawn();
    assert_eq!(server.wait_code(SOON), 0);
    let pid = poll_until("the pidfile", SOON, || pid_in(&path));
    server.adopt(pid);
    let workers = |count: usize| {
        poll_until(&format!("{count} workers"), SOON, || {
            Some(process::children(pid))
                .filter(|pids| pids.len() == count && pids.iter().all(|pid| process::is_waiting(*pid)))
        })
    };
    workers(2);
    process::signal(pid, Signal::SIGWINCH);
    workers(0);
    // Whoever comes now waits.
    let mut early = server.connect();
    early.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    process::signal(pid, Signal::SIGHUP);
    assert_eq!(early.answer().expect("an answer").text(), "hello");
    workers(2);
    process::signal(pid, Signal::SIGTERM);
    process::wait_gone(&[pid], SOON);
}

#[test]
fn workers_give_up_root_for_good() {
    root::needed();
    let server = Server::probe().args(&["--user", "nobody", "--group", "nogroup", "-w", "2"]).start();
    for pid in server.wait_workers(2) {
        let status = |name| process::status(pid, name).unwrap_or_default();
        assert_eq!(status("Uid"), "65534 65534 65534 65534");
        assert_eq!(status("Gid"), "65534 65534 65534 65534");
        assert!(matches!(status("Groups").as_str(), "" | "65534"), "groups {}", status("Groups"));
        assert_eq!(status("NoNewPrivs"), "1");
        assert_eq!(status("CapEff"), "0000000000000000");
    }
    let status = process::status(server.pid, "Uid").unwrap_or_default();
    assert!(status.starts_with('0'), "the arbiter keeps root for the next workers: {status}");
    // And again after a reload.
    let old = server.workers();
    server.signal(Signal::SIGHUP);
    for pid in server.wait_replaced(&old, 2) {
        assert_eq!(process::status(pid, "Uid").unwrap_or_default(), "65534 65534 65534 65534");
    }
}

#[test]
fn a_unix_socket_belongs_to_the_workers_user() {
    use std::os::unix::fs::MetadataExt;
    root::needed();
    let builder = Server::probe();
    let path = builder.directory().join("socket");
    let _server = builder.args(&["--user", "nobody", "--group", "nogroup"]).bind(Address::unix(&path)).start();
    let metadata = fs::metadata(&path).expect("the socket");
    assert_eq!((metadata.uid(), metadata.gid()), (65534, 65534));
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
}

#[test]
fn umask_directory_and_environment_are_the_applications() {
    let builder = Server::probe();
    let directory = builder.directory().path().canonicalize().expect("the directory");
    let server =
        builder.args(&["--umask", "0o027", "--env", "GREETING=good morning", "--chdir"]).arg(&directory).start();
    assert_eq!(server.get("/environment/GREETING").text(), "good morning");
    assert_eq!(Path::new(&server.get("/directory").text()), directory);
    let worker = server.answering();
    assert_eq!(process::status(worker, "Umask").as_deref(), Some("0027"));
    assert_eq!(process::working_directory(worker), Some(directory));
}

#[test]
fn process_titles_say_who_is_who() {
    // A title can be as long as the arguments were.
    let server =
        Server::probe().args(&["--name", "shop", "--worker-tmp-dir", "/tmp", "--env", "A=aaaaaaaaaaaaaaaaaa"]).start();
    let arbiter = process::title(server.pid);
    assert!(arbiter.contains("master") && arbiter.contains("[shop]"), "{arbiter:?}");
    let worker = process::title(server.answering());
    assert!(worker.contains("worker") && worker.contains("[shop]"), "{worker:?}");
}

#[test]
fn workers_may_be_as_many_as_there_are_processors() {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let server = Server::probe().args(&["--workers", "auto"]).start();
    server.wait_workers(count);
}

#[test]
fn descriptors_do_not_leak_into_what_the_application_starts() {
    let server = Server::probe().args(&["-w", "2"]).start();
    server.wait_workers(2);
    let worker = server.answering();
    for (number, target) in process::descriptors(worker).into_iter().filter(|(number, _)| *number > 2) {
        let info = fs::read_to_string(format!("/proc/{worker}/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default().trim();
        let flags = u32::from_str_radix(flags, 8).unwrap_or_else(|_| panic!("flags of {number} in {info:?}"));
        assert_ne!(flags & 0o2_000_000, 0, "descriptor {number} ({target}) stays open across an exec");
    }
}

#[test]
fn an_arbiter_that_is_killed_takes_its_workers_along_and_frees_the_port() {
    let mut server = Server::probe().args(&["-w", "3"]).start();
    let workers = server.wait_workers(3);
    server.signal(Signal::SIGKILL);
    server.wait_exit(SOON);
    process::wait_gone(&workers, std::time::Duration::from_secs(1));
    let address::Address::Tcp(address) = server.address else { return };
    std::net::TcpListener::bind(address).expect("the port is free");
}

/// Of threads that are scheduled as usual, and of those that let others go first (sched(7)).
const USUAL: i32 = 0;
const BATCH: i32 = 3;

#[test]
fn a_worker_that_often_wakes_lets_others_go_first_until_it_seldom_does() {
    let eager = Server::probe().arg("--no-batch-scheduling").start();
    let server = Server::probe().start();
    let (worker, other) = (server.workers()[0], eager.workers()[0]);
    let (mut client, mut beside) = (Client::to(&server.address), Client::to(&eager.address));
    assert_eq!(process::scheduling(worker), USUAL);
    poll_until("a worker that lets others go first", 3 * SOON, || {
        for _ in 0..400 {
            client.get("/");
            beside.get("/");
        }
        (process::scheduling(worker) == BATCH).then_some(())
    });
    assert_eq!(process::scheduling(server.pid), USUAL, "the arbiter");
    assert_eq!(process::scheduling(other), USUAL, "as it was told");
    poll_until("a worker with little to do", SOON, || {
        // The next request is one of few.
        std::thread::sleep(Duration::from_millis(50));
        client.get("/");
        (process::scheduling(worker) == USUAL).then_some(())
    });
}

#[test]
fn what_often_waits_for_programs_lets_them_go_first() {
    let programs = Server::probe().speaking("fastcgi").start();
    let front = |arguments: &[&str]| Server::serving(format!("fastcgi://{}", programs.address)).args(arguments).start();
    let (server, eager) = (front(&[]), front(&["--no-batch-scheduling"]));
    let (mut client, mut beside) = (Client::to(&server.address), Client::to(&eager.address));
    let waits = |server: &Server| process::thread(server.workers()[0], "fastcgi");
    assert_eq!(waits(&server), None, "nothing is to be waited for yet");
    poll_until("a thread that lets programs go first", 3 * SOON, || {
        for _ in 0..400 {
            assert_eq!(client.get("/").status, 200);
            beside.get("/");
        }
        (process::scheduling(waits(&server)?) == BATCH).then_some(())
    });
    assert_eq!(waits(&eager).map(process::scheduling), Some(USUAL), "as it was told");
}
