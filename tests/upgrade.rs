//! SIGUSR2: a new binary with the same sockets, the way back, and binaries that are no good.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::server::{Builder, example, link_program};
use crate::support::{Address, SOON, Server, client, poll_until, process};

/// A server whose binary and pidfile are files of its directory: `app`, `pid`.
pub(crate) fn upgradable() -> Builder {
    let builder = Server::probe();
    let (program, pidfile) = (builder.directory().join("app"), builder.directory().join("pid"));
    link_program(&example("probe"), &program).expect("the program under another name");
    builder.program(program).args(&["-w", "2"]).arg("--pid").arg(pidfile)
}

fn pid_in(server: &Server, name: &str) -> Option<i32> {
    fs::read_to_string(server.directory.join(name)).ok()?.trim().parse().ok()
}

/// Sends USR2 and waits for the new arbiter.
pub(crate) fn upgrade(server: &mut Server, arbiter: i32) -> i32 {
    process::signal(arbiter, Signal::SIGUSR2);
    let new = poll_until("the pidfile of the new arbiter", SOON, || {
        pid_in(server, "pid.2").filter(|pid| *pid != arbiter && process::is_alive(*pid))
    });
    server.adopt(new);
    poll_until("the workers of the new arbiter to answer", SOON, || {
        let workers = process::children(new);
        workers.contains(&server.answering()).then_some(())
    });
    new
}

#[test]
fn both_arbiters_serve_until_the_old_one_is_told_to_go() {
    let mut server = upgradable().start();
    let old = server.pid;
    let old_workers = server.wait_workers(2);
    let new = upgrade(&mut server, old);
    assert_eq!(pid_in(&server, "pid"), Some(old));
    assert!(old_workers.iter().all(|pid| process::is_alive(*pid)), "the old workers serve on");
    server.stop();
    process::wait_gone(&old_workers, SOON);
    poll_until("the new arbiter to take over the pidfile", SOON, || {
        (pid_in(&server, "pid") == Some(new)).then_some(())
    });
    assert!(!server.directory.join("pid.2").exists());
    server.wait_for_log("Master has been promoted");
    assert_eq!(server.get("/").text(), "hello");
    // And once more, from the new one.
    let third = upgrade(&mut server, new);
    process::signal(new, Signal::SIGTERM);
    process::wait_gone(&[new], SOON);
    poll_until("the third arbiter's pidfile", SOON, || (pid_in(&server, "pid") == Some(third)).then_some(()));
    assert_eq!(server.get("/").text(), "hello");
    process::signal(third, Signal::SIGTERM);
    process::wait_gone(&[third], SOON);
    assert!(!server.directory.join("pid").exists());
    client::try_get(&server.address, "/").expect_err("nobody is left");
}

#[test]
fn an_upgrade_can_be_taken_back() {
    let mut server = upgradable().start();
    let old = server.pid;
    server.wait_workers(2);
    let new = upgrade(&mut server, old);
    process::signal(new, Signal::SIGTERM);
    process::wait_gone(&[new], SOON);
    poll_until("the second pidfile to go", SOON, || (!server.directory.join("pid.2").exists()).then_some(()));
    assert_eq!(pid_in(&server, "pid"), Some(old));
    let workers = server.wait_workers(2);
    assert!(workers.contains(&server.answering()));
    // The way is free for another try.
    let new = upgrade(&mut server, old);
    assert!(process::is_alive(new));
}

#[test]
fn a_binary_that_is_no_good_leaves_the_old_one_serving() {
    let script = |text: &str| format!("#!/bin/sh\n{text}\n");
    let cases = [
        ("gone", None),
        ("not executable", Some(("no program".to_owned(), 0o644))),
        ("no program", Some(("\u{7f}ELF, but not really".to_owned(), 0o755))),
        ("exits with 1", Some((script("exit 1"), 0o755))),
        ("is killed", Some((script("kill -9 $$"), 0o755))),
    ];
    let mut server = upgradable().start();
    let workers = server.wait_workers(2);
    let program = server.directory.join("app");
    for (number, (what, content)) in cases.into_iter().enumerate() {
        replace(&program, content);
        server.signal(Signal::SIGUSR2);
        server.wait_for_log_times("Handling signal: usr2", number + 1);
        poll_until(&format!("the attempt to fail ({what})"), SOON, || {
            (server.workers() == workers && process::zombies(server.pid).is_empty()).then_some(())
        });
        for _ in 0..5 {
            assert_eq!(server.get("/").text(), "hello", "{what}");
        }
        assert!(server.exited().is_none(), "{what}");
        assert!(!server.directory.join("pid.2").exists(), "{what}");
    }
    // A good one is taken after all that.
    fs::remove_file(&program).expect("the bad program");
    link_program(&example("probe"), &program).expect("the good one");
    let old = server.pid;
    upgrade(&mut server, old);
}

fn replace(program: &PathBuf, content: Option<(String, u32)>) {
    fs::remove_file(program).expect("the program");
    if let Some((content, mode)) = content {
        fs::write(program, content).expect("the bad program");
        fs::set_permissions(program, fs::Permissions::from_mode(mode)).expect("its mode");
    }
    if !program.exists() {
        // `remove_file` of the next case needs something to remove.
        fs::create_dir_all(program.with_extension("gone")).expect("a directory");
        std::os::unix::fs::symlink("nowhere", program).expect("a dangling link");
    }
}

#[test]
fn a_binary_whose_application_cannot_boot_goes_by_itself() {
    let builder = upgradable();
    let broken = builder.directory().join("broken");
    let mut server = builder.env("BOOT_FAIL", format!("exit1:{}", broken.display())).start();
    let workers = server.wait_workers(2);
    server.directory.write("broken", "");
    server.signal(Signal::SIGUSR2);
    server.wait_for_log("Handling signal: usr2");
    server.wait_for_log_times("Booting worker", 3);
    poll_until("the new arbiter to give up", Duration::from_secs(40), || {
        (server.workers() == workers && process::zombies(server.pid).is_empty()).then_some(())
    });
    assert_eq!(server.get("/").text(), "hello");
    assert!(server.exited().is_none());
}

#[test]
fn there_is_one_upgrade_at_a_time() {
    let mut server = upgradable().start();
    server.wait_workers(2);
    let old = server.pid;
    let new = upgrade(&mut server, old);
    server.signal(Signal::SIGUSR2);
    server.wait_for_log_times("Handling signal: usr2", 2);
    process::signal(new, Signal::SIGUSR2);
    server.wait_for_log_times("Handling signal: usr2", 3);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(process::children(old).len(), 3, "two workers and the new arbiter");
    assert_eq!(process::children(new).len(), 2, "two workers");
}

#[test]
fn an_upgrade_follows_the_name_that_was_typed() {
    // Deployments point a link at the new release.
    let builder = Server::probe();
    let (first, second) = (builder.directory().join("first"), builder.directory().join("second"));
    link_program(&example("probe"), &first).expect("the first release");
    fs::copy(example("probe"), &second).expect("the second release");
    let current = builder.directory().join("current");
    std::os::unix::fs::symlink("first", &current).expect("a link");
    let pidfile = builder.directory().join("pid");
    let mut server = builder.program(current.clone()).arg("--pid").arg(pidfile).start();
    fs::remove_file(&current).expect("the link");
    std::os::unix::fs::symlink("second", &current).expect("the new link");
    let old = server.pid;
    let new = upgrade(&mut server, old);
    assert_eq!(fs::read_link(format!("/proc/{new}/exe")).expect("the binary"), second);
}

#[test]
fn a_unix_socket_survives_an_upgrade_in_either_direction() {
    let builder = upgradable();
    let path = builder.directory().join("socket");
    let address = Address::unix(&path);
    let mut server = builder.bind(address.clone()).start();
    let old = server.pid;
    let new = upgrade(&mut server, old);
    process::signal(new, Signal::SIGTERM);
    process::wait_gone(&[new], SOON);
    assert_eq!(client::get(&address, "/").text(), "hello");
    let new = upgrade(&mut server, old);
    server.stop();
    assert_eq!(client::get(&address, "/").text(), "hello");
    process::signal(new, Signal::SIGTERM);
    process::wait_gone(&[new], SOON);
    assert!(!path.exists(), "the last one removes it");
}

#[test]
fn a_unix_socket_with_a_relative_path_is_removed_after_an_upgrade_too() {
    let builder = upgradable();
    let directory = builder.directory().join("elsewhere");
    fs::create_dir(&directory).expect("a directory");
    let path = directory.join("socket");
    let mut server =
        builder.bound_to(Address::unix(&path)).args(&["--bind", "unix:socket", "--chdir"]).arg(&directory).start();
    let old = server.pid;
    let new = upgrade(&mut server, old);
    server.stop();
    assert!(path.exists(), "the new one serves it");
    process::signal(new, Signal::SIGTERM);
    process::wait_gone(&[new], SOON);
    assert!(!path.exists(), "the last one removes it");
}

#[test]
fn new_arguments_are_not_needed_and_the_environment_is_the_original_one() {
    let mut server = upgradable().args(&["--env", "GREETING=hello"]).env("FROM", "outside").start();
    let old = server.pid;
    let new = upgrade(&mut server, old);
    server.stop();
    assert_eq!(server.get("/environment/GREETING").text(), "hello");
    assert_eq!(server.get("/environment/FROM").text(), "outside");
    for name in ["GUNICORN_FD", "GUNICORN_PID", "FERRICORN_FD", "FERRICORN_PID", "LISTEN_FDS"] {
        assert_eq!(server.get(&format!("/environment/{name}")).text(), "", "{name} is for the arbiter only");
    }
    assert!(process::is_alive(new));
}
