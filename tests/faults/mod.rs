//! Faults under load: what happens to the requests of two hundred clients meanwhile is the figure.
//!
//! Each scenario takes how long or how often; the tests here run them briefly, `soak` in full.

mod memory;
mod outcome;
mod reloads;
mod slow;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

pub(crate) use memory::memory;
pub(crate) use outcome::{Figure, Outcome};
pub(crate) use reloads::{broken_reloads, reloads, reloads_at_a_door, reloads_behind_a_gateway, reloads_behind_nginx};
pub(crate) use slow::{Attack, slow_clients};

use crate::crash::with_failing_forks;
use crate::support::address::free_port;
use crate::support::ledger::{Cause, Ledger, Plan};
use crate::support::server::{example, link_program};
use crate::support::{Address, Client, Directory, SOON, Server, client, poll_until, process, programs, sockets};
use crate::upgrade::{upgradable, upgrade};

/// Two hundred clients at work on a server.
fn crowd(server: &Server) -> Ledger {
    crowd_at(&server.address)
}

fn crowd_at(address: &Address) -> Ledger {
    let ledger = Ledger::start(Plan::new(address));
    poll_until("the first answers", SOON, || (ledger.answered() > 400).then_some(()));
    ledger
}

/// Waits until the workers have not changed for a while and are that many.
fn settle(server: &Server, count: usize) -> Duration {
    let began = Instant::now();
    let mut stable = (server.workers(), Instant::now());
    poll_until(&format!("{count} workers for good"), Duration::from_secs(60), || {
        let now = server.workers();
        if now != stable.0 {
            stable = (now, Instant::now());
        }
        (stable.0.len() == count && stable.1.elapsed() > Duration::from_secs(1)).then_some(())
    });
    began.elapsed() - Duration::from_secs(1)
}

/// SIGTERM to a busy server: who was let in is answered, everybody else is refused, nobody is reset.
pub(crate) fn stop_under_load(times: u32, unix: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut worst = Vec::new();
    let (mut refused, mut answered) = (0, 0);
    for _ in 0..times {
        let mut builder = Server::probe().ledger().args(&["-w", "2"]);
        if unix {
            let path = builder.directory().join("socket");
            builder = builder.bind(Address::unix(&path));
        }
        let mut server = builder.start();
        let ledger = crowd(&server);
        server.stop();
        let report = ledger.finish();
        answered += report.total();
        let (turned_away, lost): (Vec<_>, Vec<_>) =
            report.lost.iter().cloned().partition(|loss| loss.cause == Cause::Connect);
        refused += turned_away.len();
        worst.extend(lost);
    }
    let kind = if unix { "a unix socket" } else { "TCP" };
    for loss in &worst {
        eprintln!("lost: {loss:?}");
    }
    outcome.figure(
        format!("{times} stops under load, {kind}: lost (not refused)"),
        format!("{} of {answered}; {refused} refused", worst.len()),
        "0",
        worst.is_empty(),
    );
    outcome
}

/// Stops and starts while somebody else (systemd, supervisord) holds the socket.
pub(crate) fn restarts_of_a_held_socket(times: u32) -> Outcome {
    let mut outcome = Outcome::default();
    let listener = std::net::TcpListener::bind(("127.0.0.1", free_port())).expect("a listener");
    // Room for all who wait meanwhile.
    socket2::SockRef::from(&listener).listen(2048).expect("a longer queue");
    let address = Address::Tcp(listener.local_addr().expect("its address"));
    let directory = Directory::new();
    let start = || {
        Server::probe()
            .env("LEDGER_FILE", directory.join("answered"))
            .bound_to(address.clone())
            .args(&["-b", "fd://0", "-w", "2"])
            .stdin(listener.try_clone().expect("the same listener"))
            .start()
    };
    let mut server = start();
    let ledger = crowd(&server);
    for _ in 0..times {
        server.stop();
        server = start();
        std::thread::sleep(Duration::from_millis(500));
    }
    let report = ledger.finish();
    outcome.audit_with(&format!("{times} restarts, socket held"), &report, &directory.join("answered"), 0);
    outcome.report = Some(report);
    outcome
}

/// Everything that is supposed to lose nothing, in any order.
pub(crate) fn chaos(duration: Duration, unix: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut builder = Server::probe().ledger().args(&["-w", "3"]);
    if unix {
        let path = builder.directory().join("socket");
        builder = builder.bind(Address::unix(&path));
    }
    let server = builder.start();
    let ledger = crowd(&server);
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(std::process::id);
    eprintln!("SEED={seed}");
    let mut random = u64::from(seed) | 1;
    let began = Instant::now();
    while began.elapsed() < duration {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let workers = server.workers();
        let some = workers.get(random as usize / 64 % workers.len().max(1)).copied();
        match random % 8 {
            0 | 1 => server.signal(Signal::SIGHUP),
            2 => server.signal(Signal::SIGTTIN),
            3 => server.signal(Signal::SIGTTOU),
            4 => server.signal(Signal::SIGUSR1),
            5 | 6 => some.into_iter().for_each(|pid| process::signal(pid, Signal::SIGTERM)),
            _ => some.into_iter().for_each(|pid| {
                process::signal(pid, Signal::SIGSTOP);
                std::thread::sleep(Duration::from_millis(20));
                process::signal(pid, Signal::SIGCONT);
            }),
        }
        std::thread::sleep(Duration::from_millis(random / 1024 % 120));
    }
    server.signal(Signal::SIGHUP);
    settle(&server, 3);
    let kind = if unix { "a unix socket" } else { "TCP" };
    outcome.nothing_lost(&format!("signals of all kinds, {kind}"), ledger, &server);
    outcome
}

/// Templates are killed, and workers, and all is reloaded and scaled: whoever is not held by a killed worker is served.
pub(crate) fn templates(duration: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    let server = Server::probe().ledger().args(&["-w", "3", "--preload", "--warmup", "/"]).start();
    let ledger = crowd(&server);
    let began = Instant::now();
    let mut killed = 0;
    for number in 0.. {
        if began.elapsed() > duration {
            break;
        }
        match number % 5 {
            0 | 2 => {
                killed += server.templates().len();
                server.templates().into_iter().for_each(|pid| process::signal(pid, Signal::SIGKILL));
            }
            1 => server.signal(Signal::SIGHUP),
            3 => server.workers().first().into_iter().for_each(|pid| process::signal(*pid, Signal::SIGTERM)),
            _ => server.signal(if number % 2 == 0 { Signal::SIGTTIN } else { Signal::SIGTTOU }),
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    server.signal(Signal::SIGHUP);
    settle(&server, 3);
    server.wait_template(&[]);
    outcome.nothing_lost(&format!("{killed} templates killed"), ledger, &server);
    outcome
}

/// Upgrades by USR2, with failed ones in between.
pub(crate) fn upgrades(times: u32, failed: u32) -> Outcome {
    let mut outcome = Outcome::default();
    let mut server = upgradable().ledger().start();
    server.wait_workers(2);
    let mut arbiter = server.pid;
    let ledger = crowd(&server);
    let program = server.directory.join("app");
    let mut failures = 0;
    for number in 0..times {
        if failures < failed && number * failed >= failures * times {
            failures += 1;
            fail_to_upgrade(&program, arbiter);
        }
        let new = upgrade(&mut server, arbiter);
        process::signal(arbiter, Signal::SIGTERM);
        poll_until("the old arbiter to go", SOON, || {
            let _ = server.exited();
            (!process::is_alive(arbiter)).then_some(())
        });
        arbiter = new;
    }
    outcome.nothing_lost(&format!("{times} upgrades, {failures} more that failed"), ledger, &server);
    outcome
}

fn fail_to_upgrade(program: &std::path::Path, arbiter: i32) {
    let children = process::children(arbiter);
    fs::remove_file(program).expect("the program");
    fs::write(program, "#!/bin/sh\nsleep 0.2\nexit 1\n").expect("a bad program");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("its mode");
    process::signal(arbiter, Signal::SIGUSR2);
    poll_until("the bad program to be started", SOON, || {
        (process::children(arbiter).len() > children.len()).then_some(())
    });
    poll_until("the bad program to end", SOON, || {
        (process::children(arbiter) == children && process::zombies(arbiter).is_empty()).then_some(())
    });
    fs::remove_file(program).expect("the bad program");
    link_program(&example("probe"), program).expect("the good one");
}

/// SIGKILL to one worker after the other: only what it held is lost.
pub(crate) fn killed_workers(every: Duration, duration: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    let server = Server::probe().ledger().args(&["-w", "3"]).start();
    server.wait_workers(3);
    let ledger = crowd(&server);
    let resident = process::anonymous(server.pid);
    let mut held: Vec<(Instant, HashSet<u16>)> = Vec::new();
    let mut empty = 0;
    let began = Instant::now();
    let mut next = began;
    while began.elapsed() < duration {
        next += every;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let workers = server.workers();
        empty += u32::from(workers.is_empty());
        let Some(pid) = workers.get(held.len() % workers.len().max(1)).copied() else { continue };
        // What it holds is looked up while it stands still.
        process::signal(pid, Signal::SIGSTOP);
        let stopping = Instant::now();
        while process::state(pid).is_some_and(|state| state != 'T' && state != 'Z') && stopping.elapsed() < SOON {
            std::hint::spin_loop();
        }
        let inodes: HashSet<u32> = process::sockets(pid).into_iter().collect();
        let connected = sockets::connected(server.address.port());
        let ports = connected.iter().filter(|socket| inodes.contains(&socket.inode)).map(|socket| socket.peer_port);
        held.push((stopping, ports.collect()));
        process::signal(pid, Signal::SIGKILL);
    }
    settle(&server, 3);
    let report = ledger.finish();
    let excused = |port: u16, at: Instant| {
        held.iter().any(|(killed, ports)| {
            ports.contains(&port) && at >= *killed && at.duration_since(*killed) < Duration::from_secs(2)
        })
    };
    let allowed = report.lost.iter().filter(|loss| excused(loss.port, loss.at)).count();
    let what = format!("{} workers killed", held.len());
    outcome.figure(format!("{what}: lost with them"), allowed.to_string(), "any", true);
    outcome.audit(&format!("{what}, beyond what they held"), &report, &server, allowed);
    outcome.at_most(&format!("{what}: moments without any worker"), empty, 0, "");
    outcome.arbiter_grown(&what, &server, resident);
    outcome.report = Some(report);
    outcome
}

/// TTIN and TTOU in a storm, the other signals among them.
pub(crate) fn signal_storm(signals: u32) -> Outcome {
    let mut outcome = Outcome::default();
    let server = Server::probe().ledger().args(&["-w", "2"]).start();
    server.wait_workers(2);
    let ledger = crowd(&server);
    let mut most = 0;
    for number in 0..signals {
        server.signal(if number % 2 == 0 { Signal::SIGTTIN } else { Signal::SIGTTOU });
        match number % 500 {
            100 => server.signal(Signal::SIGUSR1),
            200 => server.signal(Signal::SIGWINCH),
            300 => server.signal(Signal::SIGCHLD),
            _ => {}
        }
        if number % 50 == 0 {
            most = most.max(server.workers().len());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // One more and one less are still understood, and the settings' number comes back with a reload.
    let count = poll_until("the storm to settle", Duration::from_secs(60), || {
        let count = server.workers().len();
        std::thread::sleep(Duration::from_secs(1));
        (server.workers().len() == count).then_some(count)
    });
    server.signal(Signal::SIGTTIN);
    settle(&server, count + 1);
    server.signal(Signal::SIGTTOU);
    settle(&server, count);
    server.signal(Signal::SIGHUP);
    let took = settle(&server, 2);
    let what = format!("{signals} signals");
    outcome.figure(
        format!("{what}: final state"),
        format!("2 workers, {:.1} s after HUP; {most} at most", took.as_secs_f64()),
        "2 workers",
        true,
    );
    outcome.nothing_lost(&what, ledger, &server);
    outcome
}

/// Forks that fail while a worker is to be replaced.
pub(crate) fn failing_forks(times: usize) -> Outcome {
    let mut outcome = Outcome::default();
    let server = with_failing_forks(Server::probe()).ledger().args(&["-w", "2"]).start();
    let pids = server.wait_workers(2);
    let ledger = crowd(&server);
    server.directory.write("faults", ".".repeat(times));
    // TERM, so that nothing in flight goes with it.
    process::signal(pids[0], Signal::SIGTERM);
    let faults = server.directory.join("faults");
    poll_until("the failures", Duration::from_secs(60), || {
        fs::metadata(&faults).is_ok_and(|metadata| metadata.len() == 0).then_some(())
    });
    let cleared = Instant::now();
    server.wait_workers(2);
    let took = cleared.elapsed().as_secs_f64();
    outcome.at_most(&format!("{times} failed forks: full strength after their end"), took, 1.0, " s");
    settle(&server, 2);
    outcome.nothing_lost(&format!("{times} failed forks"), ledger, &server);
    outcome
}

/// SIGKILL to the arbiter.
pub(crate) fn killed_arbiters(times: u32) -> Outcome {
    let mut outcome = Outcome::default();
    let mut slowest = Duration::ZERO;
    for _ in 0..times {
        let mut server = Server::probe().args(&["-w", "3"]).start();
        let workers = server.wait_workers(3);
        let mut busy = server.connect();
        busy.get("/");
        server.signal(Signal::SIGKILL);
        let killed = Instant::now();
        server.wait_exit(SOON);
        process::wait_gone(&workers, SOON);
        let Address::Tcp(address) = server.address else { unreachable!("it is bound to TCP") };
        poll_until("the port", SOON, || std::net::TcpListener::bind(address).ok());
        slowest = slowest.max(killed.elapsed());
    }
    let name = format!("arbiter killed {times} times: slowest until workers gone, port free");
    outcome.at_most(&name, slowest.as_secs_f64(), 1.0, " s");
    outcome
}

/// A worker that dies whenever it boots.
pub(crate) fn crash_loop(duration: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    let builder = Server::probe().ledger();
    let (broken, boots) = (builder.directory().join("broken"), builder.directory().join("boots"));
    let setting = format!("exit1:{}", broken.display());
    let server = builder.env("BOOT_FAIL", setting).env("BOOT_LOG", &boots).args(&["-w", "3"]).start();
    let pids = server.wait_workers(3);
    let count = || fs::read_to_string(&boots).unwrap_or_default().lines().count();
    let ledger = crowd(&server);
    server.directory.write("broken", "");
    let before = count();
    process::signal(pids[0], Signal::SIGTERM);
    // What it has spent on requests counts from the moment when it is waited for.
    process::wait_gone(&pids[..1], SOON);
    let ticks = process::cpu_ticks(server.pid);
    std::thread::sleep(duration);
    let seconds = duration.as_secs();
    outcome.at_most(&format!("crash loop: boots in {seconds} s"), count() - before, 10, "");
    // Ticks are hundredths of a second; booting workers are waited for, so theirs are in it.
    let share = (process::cpu_ticks(server.pid) - ticks) as f64 / duration.as_secs_f64();
    outcome.at_most("crash loop: processor time of arbiter and boots", share, 5.0, " %");
    let healthy = pids[1..].iter().filter(|pid| process::is_alive(**pid)).count();
    outcome.figure("crash loop: healthy workers left alone", healthy.to_string(), "2", healthy == 2);
    outcome.nothing_lost("crash loop", ledger, &server);
    outcome
}

/// SIGTERM with idle and busy clients.
pub(crate) fn graceful_stop(idle: usize, busy: usize) -> Outcome {
    let mut outcome = Outcome::default();
    let mut server = Server::probe().args(&["-w", "2"]).start();
    let mut idlers: Vec<Client> = (0..idle).map(|_| server.connect()).collect();
    for client in &mut idlers {
        client.get("/");
    }
    let mut workers: Vec<Client> = (0..busy).map(|_| server.connect()).collect();
    for client in &mut workers {
        client.send("GET /later/5000 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    }
    server.get("/");
    server.signal(Signal::SIGTERM);
    let began = Instant::now();
    let finished =
        workers.iter_mut().filter_map(|client| client.answer().ok()).filter(|answer| answer.status == 200).count();
    let code = server.wait_code(SOON);
    let took = began.elapsed().as_secs_f64();
    let name = "graceful stop: requests of 5 s finished";
    outcome.figure(name, format!("{finished} of {busy}"), busy.to_string(), finished == busy && code == 0);
    // Those who were answered last have 2 s of grace, too, and what else there is takes its time on a busy machine.
    outcome.at_most("graceful stop: time with them", took, 9.0, " s");
    for hang_up in [true, false] {
        let mut server = Server::probe().args(&["-w", "2"]).start();
        let mut idlers: Vec<Client> = (0..idle).map(|_| server.connect()).collect();
        for client in &mut idlers {
            client.get("/");
        }
        let began = Instant::now();
        std::thread::scope(|scope| {
            let listener = scope.spawn(|| {
                // Clients as they are: they close when the server does.
                for mut client in idlers.drain(..) {
                    let _ = client.rest();
                    if !hang_up {
                        std::mem::forget(client);
                    }
                }
            });
            server.stop();
            let took = began.elapsed().as_secs_f64();
            listener.join().expect("the clients");
            // Idle connections have 2 s of grace, and those who do not hear that it is over some more.
            let (name, bar) = if hang_up { ("idle", 3.5) } else { ("idle that never hang up", 6.0) };
            outcome.at_most(&format!("graceful stop: time with {idle} {name}"), took, bar, " s");
        });
    }
    outcome
}

/// A call that hangs, and a worker that is stopped inside one.
pub(crate) fn hanging_workers() -> Outcome {
    let mut outcome = Outcome::default();
    for stop in [false, true] {
        let server = Server::probe().args(&["-w", "2", "--timeout", "2"]).start();
        let pids = server.wait_workers(2);
        let mut stuck = server.connect();
        let began = Instant::now();
        stuck.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        if stop {
            std::thread::sleep(Duration::from_millis(200));
            pids.iter().for_each(|pid| process::signal(*pid, Signal::SIGSTOP));
            std::thread::sleep(Duration::from_millis(100));
            // Only the busy one stays stopped.
            let idle = pids.iter().find(|pid| client_of(&server, **pid).is_none());
            idle.iter().for_each(|pid| process::signal(**pid, Signal::SIGCONT));
        }
        let victim = poll_until("the victim", SOON, || pids.iter().find(|pid| !process::is_alive(**pid)).copied());
        server.wait_replaced(&[victim], 2);
        poll_until("an answer", SOON, || client::try_get(&server.address, "/").ok());
        let late = began.elapsed().as_secs_f64() - 2.0;
        let what = if stop { "stopped worker" } else { "hanging call" };
        outcome.at_most(&format!("{what}: replaced after its timeout"), late, if stop { 1.5 } else { 1.2 }, " s");
    }
    outcome
}

/// Load of every kind for a while, after which a worker must be what it was.
pub(crate) fn leaks(duration: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    let server = Server::probe().ledger().args(&["-w", "1"]).start();
    let worker = server.workers()[0];
    let load = |duration: Duration| {
        let address = format!("http://{}/", server.address);
        let seconds = format!("-d{}s", duration.as_secs().max(1));
        let (done, text) = programs::output("wrk", &["-t1", "-c64", &seconds, &address]);
        assert!(done && !text.contains("errors"), "{text}");
        let ledger = crowd(&server);
        std::thread::sleep(duration / 4);
        (ledger.finish(), text)
    };
    load(duration / 2);
    let settled = || {
        poll_until("the connections to end", SOON, || client_of(&server, worker).is_none().then_some(()));
        let threads = process::status(worker, "Threads").unwrap_or_default();
        (process::descriptors(worker).len(), threads, process::resident(worker))
    };
    let before = settled();
    let (report, text) = load(duration);
    let after = settled();
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in")).map_or("?", |(count, _)| count);
    let what = format!("{requests} requests and {} of the ledger", report.total());
    outcome.figure(format!("{what}: descriptors"), after.0.to_string(), before.0.to_string(), after.0 == before.0);
    outcome.figure(format!("{what}: threads"), &after.1, &before.1, after.1 == before.1);
    let grown = after.2 as f64 / before.2.max(1) as f64 - 1.0;
    let bar = if duration < Duration::from_secs(20) { 5.0 } else { 2.0 };
    outcome.at_most(&format!("{what}: growth of the worker's memory"), grown * 100.0, bar, " %");
    outcome
}

/// Requests, reloads and workers that are replaced as they have served their time, all at once and so often: none is lost,
/// and nothing stays behind of what has gone.
pub(crate) fn endurance(requests: u64, recycled: usize, reloads: u32) -> Outcome {
    const RECYCLED: &str = "Autorestarting worker after current request";
    let mut outcome = Outcome::default();
    let server =
        Server::probe().ledger().args(&["-w", "2", "--max-requests", "1500", "--max-requests-jitter", "500"]).start();
    let holds = |pid: i32| {
        // The thread that sends what a stream has ready begins with the first stream.
        let name = |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let threads = tasks.filter(|task| name(task).trim() != "flusher").count();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        // Memory that is shared is the scoreboard's and the like; the rest is told by how much is resident.
        let shared = maps.lines().filter(|line| line.contains(" rw-s ")).count();
        (process::descriptors(pid).len(), threads, shared)
    };
    let ledger = crowd(&server);
    let began = Instant::now();
    let (mut hung_up, mut early) = (0, None);
    while hung_up < reloads || ledger.answered() < requests || server.count_log(RECYCLED) < recycled {
        assert!(began.elapsed() < Duration::from_secs(1800), "{} answered, {hung_up} reloads", ledger.answered());
        if hung_up < reloads {
            server.signal(Signal::SIGHUP);
            hung_up += 1;
        }
        std::thread::sleep(Duration::from_millis(600));
        // The first half touches pages that were not touched before.
        if early.is_none() && hung_up >= reloads / 2 {
            early = Some(process::anonymous(server.pid));
        }
    }
    let what = format!("{} requests, {} recycled, {hung_up} reloads", ledger.answered(), server.count_log(RECYCLED));
    outcome.nothing_lost(&what, ledger, &server);
    settle(&server, 2);
    let fresh = Server::probe().ledger().args(&["-w", "2"]).start();
    let held = |server: &Server| (holds(server.pid), server.workers().into_iter().map(holds).max());
    // Connections have been closed in stages, and a server that has just started lets go of what it started with.
    let began = Instant::now();
    while held(&server) != held(&fresh) && began.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(100));
    }
    let (measured, expected) = (held(&server), held(&fresh));
    outcome.figure(
        format!("{what}: descriptors, threads and shared mappings of the arbiter and of a worker"),
        format!("{measured:?}"),
        format!("{expected:?}, as in a fresh server"),
        measured == expected,
    );
    outcome.arbiter_grown(&what, &server, early.unwrap_or(0));
    outcome
}

/// A connection that the worker holds.
fn client_of(server: &Server, pid: i32) -> Option<u16> {
    let inodes = process::sockets(pid);
    let connected = sockets::connected(server.address.port());
    connected.iter().find(|socket| inodes.contains(&socket.inode)).map(|socket| socket.peer_port)
}

#[test]
fn nothing_is_lost_when_templates_are_killed() {
    templates(Duration::from_secs(5)).check();
}

#[test]
fn a_stop_under_load_resets_nobody() {
    stop_under_load(2, false).check();
    stop_under_load(2, true).check();
}

#[test]
fn nothing_is_lost_in_restarts_while_somebody_holds_the_socket() {
    restarts_of_a_held_socket(2).check();
}

#[test]
fn nothing_is_lost_whatever_comes_after_what() {
    chaos(Duration::from_secs(4), false).check();
    chaos(Duration::from_secs(4), true).check();
}

#[test]
fn nothing_is_lost_in_upgrades() {
    upgrades(3, 1).check();
}

#[test]
fn only_what_they_held_is_lost_with_killed_workers() {
    killed_workers(Duration::from_millis(100), Duration::from_secs(4)).check();
}

#[test]
fn a_storm_of_signals_ends_in_the_right_state_and_nothing_is_lost() {
    signal_storm(2000).check();
}

#[test]
fn nothing_is_lost_while_forks_fail() {
    failing_forks(10).check();
}

#[test]
fn workers_of_killed_arbiters_are_gone_within_a_second() {
    killed_arbiters(3).check();
}

#[test]
fn nothing_is_lost_in_a_crash_loop() {
    crash_loop(Duration::from_secs(4)).check();
}

#[test]
fn a_worker_is_after_a_load_what_it_was_before() {
    leaks(Duration::from_secs(5)).check();
}

#[test]
fn nothing_stays_behind_of_workers_and_settings_that_have_gone() {
    endurance(5000, 4, 6).check();
}

#[test]
fn a_graceful_stop_finishes_everybody() {
    graceful_stop(100, 10).check();
}

#[test]
fn workers_that_hang_are_replaced_at_their_timeout() {
    hanging_workers().check();
}
