//! The full figures: `make soak` (some ten minutes).

use std::time::Duration;

use crate::faults::{self, Attack, Figure, Outcome};
use crate::support::doors::Door;

/// The attack of slowhttptest's kinds, all at once.
fn attack(worker_connections: usize) -> Attack {
    Attack {
        heads: 4500,
        large_heads: 500,
        bodies: 1000,
        readers: 500,
        rate: 500,
        patience: Duration::from_secs(10),
        worker_connections,
        aside: true,
    }
}

/// `SOAK=doors` is all that begin with `door-`.
fn is_meant(wanted: &str, name: &str) -> bool {
    wanted == name || (wanted == "doors" && name.starts_with("door-"))
}

#[test]
#[ignore = "takes ten minutes: make soak"]
fn soak() {
    let seconds = Duration::from_secs;
    let door = |name| faults::reloads_at_a_door(Door::named(name).expect("a door"), 100, Duration::from_millis(600));
    let wanted = std::env::var("SOAK").unwrap_or_default();
    let scenarios: &[(&str, &dyn Fn() -> Outcome)] = &[
        ("reloads", &|| faults::reloads(100, Duration::from_millis(600), &[])),
        ("preload", &|| faults::reloads(100, Duration::from_millis(600), &["--preload"])),
        ("templates", &|| faults::templates(seconds(30))),
        ("nginx", &|| faults::reloads_behind_nginx(30, seconds(1), false)),
        ("nginx-unix", &|| faults::reloads_behind_nginx(30, seconds(1), true)),
        ("door-http", &|| faults::reloads_behind_nginx(100, Duration::from_millis(600), true)),
        ("door-uwsgi", &|| faults::reloads_behind_a_gateway("uwsgi", false, 100, Duration::from_millis(600))),
        ("door-fastcgi", &|| faults::reloads_behind_a_gateway("fastcgi", false, 100, Duration::from_millis(600))),
        ("door-fastcgi-keep", &|| faults::reloads_behind_a_gateway("fastcgi", true, 100, Duration::from_millis(600))),
        ("door-scgi", &|| faults::reloads_behind_a_gateway("scgi", false, 100, Duration::from_millis(600))),
        ("door-raw-uwsgi", &|| door("uwsgi")),
        ("door-raw-fastcgi", &|| door("fastcgi")),
        ("door-raw-fastcgi-keep", &|| door("fastcgi-keep")),
        ("door-raw-scgi", &|| door("scgi")),
        ("stop-under-load", &|| faults::stop_under_load(10, false)),
        ("stop-under-load-unix", &|| faults::stop_under_load(10, true)),
        ("held-socket", &|| faults::restarts_of_a_held_socket(10)),
        ("chaos", &|| faults::chaos(seconds(30), false)),
        ("chaos-unix", &|| faults::chaos(seconds(30), true)),
        ("upgrades", &|| faults::upgrades(20, 5)),
        ("kills", &|| faults::killed_workers(Duration::from_millis(50), seconds(60))),
        ("storm", &|| faults::signal_storm(10_000)),
        ("forks", &|| faults::failing_forks(10)),
        ("arbiter", &|| faults::killed_arbiters(20)),
        ("crash-loop", &|| faults::crash_loop(seconds(10))),
        ("broken", &|| faults::broken_reloads(seconds(30))),
        ("stop", &|| faults::graceful_stop(200, 20)),
        ("leaks", &|| faults::leaks(seconds(40))),
        ("endurance", &|| faults::endurance(1_000_000, 100, 100)),
        ("hang", &faults::hanging_workers),
        ("memory", &|| faults::memory(1)),
        ("slow-clients", &|| faults::slow_clients(attack(4000))),
        ("slow-clients-full", &|| faults::slow_clients(attack(1000))),
    ];
    for wanted in wanted.split(',').filter(|wanted| !wanted.is_empty()) {
        let names: Vec<_> = scenarios.iter().map(|(name, _)| *name).collect();
        assert!(
            names.iter().any(|name| is_meant(wanted, name)),
            "SOAK={wanted}: expected doors or {}",
            names.join(", ")
        );
    }
    let mut figures: Vec<Figure> = Vec::new();
    for (name, scenario) in scenarios {
        if !wanted.is_empty() && !wanted.split(',').any(|wanted| is_meant(wanted, name)) {
            continue;
        }
        eprintln!("--- {name}");
        let outcome = scenario();
        if let Some(report) = &outcome.report {
            eprint!("{report}");
        }
        figures.extend(outcome.figures);
    }
    let width = |text: fn(&Figure) -> &String| figures.iter().map(|figure| text(figure).len()).max().unwrap_or(0);
    let (name, measured) = (width(|figure| &figure.name), width(|figure| &figure.measured));
    eprintln!("\n{:name$}  {:measured$}  bar", "figure", "measured");
    for figure in &figures {
        let verdict = if figure.holds { "" } else { "   MISSED" };
        eprintln!("{:name$}  {:measured$}  {}{verdict}", figure.name, figure.measured, figure.bar);
    }
    assert!(figures.iter().all(|figure| figure.holds), "a bar is missed");
}
