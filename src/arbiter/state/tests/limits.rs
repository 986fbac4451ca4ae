//! Recycling, scaling and the pause before a stop.

use super::*;

fn asked(actions: &[Action], wanted: impl Fn(&Action) -> bool) -> usize {
    actions.iter().filter(|action| wanted(action)).count()
}

fn forks(actions: &[Action]) -> usize {
    asked(actions, |action| matches!(action, Action::Fork { .. }))
}

#[test]
fn a_spent_worker_serves_until_its_successor_is_ready() {
    let mut rig = Rig::serving(policy(2));
    let spent = rig.of(1)[0];
    let actions = rig.event(Event::Spent { pid: spent });
    assert_eq!((forks(&actions), drained(&actions)), (1, vec![]));
    assert_eq!(drained(&rig.pass(5 * SECOND)), [0; 0], "the successor boots");
    assert_eq!(drained(&rig.all_ready()), [spent]);
    rig.exit(spent, Status::Code(0));
    assert_eq!(rig.workers.len(), 2);
    assert_eq!(forks(&rig.pass(60 * SECOND)), 0);
}

#[test]
fn only_a_share_of_the_workers_is_replaced_at_a_time() {
    for (workers, share, at_once) in [(8, 25, 2), (4, 25, 1), (1, 25, 1), (8, 100, 8), (8, 1, 1)] {
        let mut rig = Rig::serving(Policy { recycle_share: share, ..policy(workers) });
        let all = rig.of(1);
        let forked: usize = all.iter().map(|pid| forks(&rig.event(Event::Spent { pid: *pid }))).sum();
        assert_eq!(forked, at_once, "{workers} workers, {share} %");
        let mut gone = Vec::new();
        while gone.len() < workers {
            let drained = drained(&rig.all_ready());
            assert!(!drained.is_empty() && drained.len() <= at_once, "{workers} workers, {share} %: {drained:?}");
            drained.iter().for_each(|pid| drop(rig.exit(*pid, Status::Code(0))));
            gone.extend(drained);
        }
        assert_eq!(gone, all, "the first forked first");
        assert_eq!(rig.workers.len(), workers);
    }
}

#[test]
fn a_successor_that_does_not_boot_leaves_the_spent_worker_where_it_is() {
    let mut rig = Rig::serving(policy(2));
    let spent = rig.of(1)[0];
    rig.event(Event::Spent { pid: spent });
    for _ in 0..5 {
        let successor = rig.workers.last().unwrap().0;
        let mut actions = rig.exit(successor, Status::Code(1));
        actions.extend(rig.pass(60 * SECOND));
        assert_eq!((forks(&actions), drained(&actions)), (1, vec![]));
    }
    assert_eq!(drained(&rig.all_ready()), [spent]);
}

#[test]
fn workers_are_replaced_at_the_end_of_their_lives_and_not_all_in_one_moment() {
    let aging = Policy { lifetime: Some(1000 * SECOND), recycle_share: 100, boot_timeout: None, ..policy(8) };
    let mut rig = Rig::serving(aging);
    assert_eq!(forks(&rig.pass(930 * SECOND)), 0);
    let before = rig.boots.len();
    assert_eq!(forks(&rig.pass(120 * SECOND)), 8);
    let mut moments = rig.boots.split_off(before);
    moments.dedup();
    assert!(moments.len() > 4, "{moments:?}");
}

#[test]
fn a_worker_that_occupies_too_much_memory_is_killed_and_replaced() {
    let mut rig = Rig::serving(Policy { memory_limit: Some(1000), ..policy(2) });
    let pid = rig.of(1)[0];
    let weighed = rig.pass(SECOND);
    assert!(weighed.contains(&Action::Weigh { pid }), "{weighed:?}");
    let within = rig.event(Event::Weighed { pid, resident: 1000 });
    assert!(within.iter().all(|action| !matches!(action, Action::Send { .. })), "{within:?}");
    let mut actions = rig.event(Event::Weighed { pid, resident: 1001 });
    actions.extend(rig.event(Event::Weighed { pid, resident: 1002 }));
    actions.extend(rig.pass(ABORT));
    let sent: Vec<_> = actions.iter().filter(|action| matches!(action, Action::Send { .. })).collect();
    assert_eq!(sent, [&Action::Send { pid, signal: Sent::Abort }, &Action::Send { pid, signal: Sent::Kill }]);
    assert_eq!(forks(&actions), 1);
}

#[test]
fn busy_workers_get_company_and_idle_ones_go() {
    let mut rig = Rig::serving(Policy { most: 6, ..policy(2) });
    let busy = |rig: &mut Rig, since: Option<Moment>, seconds: u32| {
        rig.in_call_since = since;
        for _ in 0..4 * seconds {
            let mut step = rig.pass(Duration::from_millis(250));
            let measured = asked(&step, |action| *action == Action::MeasureQueues);
            (0..measured).for_each(|_| step.extend(rig.event(Event::Measured { queued: 0 })));
            rig.all_ready();
            for pid in drained(&step) {
                rig.exit(pid, Status::Code(0));
            }
        }
    };
    let now = rig.now;
    busy(&mut rig, Some(now), 5);
    assert_eq!(rig.workers.len(), 6);
    rig.signal(Signal::Ttin);
    let now = rig.now;
    busy(&mut rig, Some(now), 5);
    assert_eq!(rig.workers.len(), 7, "TTIN moves the bounds");
    busy(&mut rig, None, 60);
    assert_eq!(rig.workers.len(), 3);
    let gone = drained(&rig.signal(Signal::Ttou));
    gone.iter().for_each(|pid| drop(rig.exit(*pid, Status::Code(0))));
    busy(&mut rig, None, 60);
    assert_eq!(rig.workers.len(), 2);
}

/// Has the load be read for so long; returns who was drained meanwhile, and has gone.
fn read_quietly(rig: &mut Rig, seconds: u32) -> Vec<i32> {
    let mut gone = Vec::new();
    for _ in 0..4 * seconds {
        let mut step = rig.pass(Duration::from_millis(250));
        if step.contains(&Action::MeasureQueues) {
            step.extend(rig.event(Event::Measured { queued: 0 }));
        }
        for pid in drained(&step) {
            rig.exit(pid, Status::Code(0));
            gone.push(pid);
        }
    }
    gone
}

#[test]
fn the_last_worker_goes_when_nobody_comes_and_there_is_one_again_when_somebody_does() {
    let mut rig = Rig::serving(Policy { most: 2, ..policy(0) });
    assert_eq!(rig.workers.len(), 1, "one shows whether it works");
    rig.calls_at_rest = None;
    assert_eq!(read_quietly(&mut rig, 60), [0; 0], "somebody is connected");
    for calls in 0..240 {
        rig.calls_at_rest = Some(calls);
        assert_eq!(read_quietly(&mut rig, 1), [0; 0], "a request a second");
    }
    assert_eq!(read_quietly(&mut rig, 9), [0; 0]);
    assert!(!rig.state.sleeps());
    assert_eq!(read_quietly(&mut rig, 2), [1]);
    assert!(rig.state.sleeps() && rig.state.wants_nobody());
    assert_eq!(rig.state.deadline(), None, "and nothing is looked at");
    assert_eq!(super::forks(&rig.event(Event::Measured { queued: 1 })), [1]);
    assert!(!rig.state.sleeps());
    assert_eq!(super::forks(&rig.event(Event::Measured { queued: 9 })), [0; 0], "one boots");
    rig.all_ready();
    assert_eq!(rig.workers.len(), 1);
}

#[test]
fn a_reload_of_a_server_that_sleeps_starts_a_worker_to_see_whether_it_works() {
    let sleeping = || {
        let mut rig = Rig::serving(Policy { most: 2, boot_timeout: Some(SECOND), ..policy(0) });
        rig.calls_at_rest = Some(7);
        read_quietly(&mut rig, 12);
        assert!(rig.state.sleeps());
        rig
    };
    let mut rig = sleeping();
    assert_eq!(super::forks(&rig.signal(Signal::Hup)), [2]);
    assert!(!rig.state.sleeps());
    assert!(rig.all_ready().contains(&Action::Keep { generation: 2 }));
    read_quietly(&mut rig, 12);
    assert!(rig.state.sleeps(), "and then it sleeps again");

    let mut rig = sleeping();
    rig.signal(Signal::Hup);
    while !rig.state.sleeps() {
        let pid = rig.of(2)[0];
        rig.exit(pid, Status::Code(1));
        rig.pass(SECOND);
    }
    assert_eq!(super::forks(&rig.event(Event::Measured { queued: 1 })), [1], "the old code serves on");
}

#[test]
fn signals_mean_what_they_do_while_a_server_sleeps() {
    let mut rig = Rig::serving(Policy { most: 2, ..policy(0) });
    rig.calls_at_rest = Some(7);
    read_quietly(&mut rig, 12);
    assert_eq!(super::forks(&rig.signal(Signal::Ttou)), [0; 0]);
    assert!(rig.state.sleeps());
    assert_eq!(super::forks(&rig.signal(Signal::Ttin)), [1]);
    rig.all_ready();
    assert_eq!(read_quietly(&mut rig, 60), [0; 0], "at least one is wanted now");
    let mut rig = Rig::serving(Policy { most: 2, ..policy(0) });
    rig.calls_at_rest = Some(7);
    read_quietly(&mut rig, 12);
    assert!(rig.signal(Signal::Term).contains(&Action::Exit(0)));
}

#[test]
fn a_reload_keeps_as_many_workers_as_the_load_asks_for() {
    let mut rig = Rig::serving(Policy { most: 8, ..policy(2) });
    for _ in 0..6 {
        rig.event(Event::Measured { queued: 9 });
        rig.all_ready();
    }
    let many = rig.workers.len();
    assert!(many > 4, "{many}");
    rig.policy = Policy { most: 4, ..policy(2) };
    rig.signal(Signal::Hup);
    rig.pass(SECOND);
    assert_eq!(rig.of(2).len(), 4, "within its own bounds");
}

#[test]
fn a_server_with_a_shutdown_delay_says_that_it_stops_and_serves_on() {
    let mut rig = Rig::serving(Policy { shutdown_delay: 10 * SECOND, ..policy(2) });
    let workers = rig.of(1);
    let actions = rig.signal(Signal::Term);
    assert!(actions.contains(&Action::Notify(Notification::Stopping)));
    for pid in &workers {
        assert!(actions.contains(&Action::SayLeaving { pid: *pid }));
    }
    assert_eq!(drained(&actions), [0; 0]);
    // One that dies meanwhile is replaced, and its successor is told.
    let actions = rig.exit(workers[0], Status::Signal(9));
    assert_eq!(forks(&actions), 1);
    let successor = rig.workers.last().unwrap().0;
    assert!(rig.all_ready().contains(&Action::SayLeaving { pid: successor }));
    assert_eq!(rig.signal(Signal::Hup), [Action::Log(Notice::Handling(Signal::Hup))], "too late for a reload");
    assert_eq!(drained(&rig.pass(9 * SECOND)), [0; 0]);
    let actions = rig.pass(2 * SECOND);
    assert_eq!(drained(&actions).len(), 2);
    assert!(!actions.contains(&Action::Notify(Notification::Stopping)), "it was said");
}

#[test]
fn a_second_term_ends_the_shutdown_delay_and_int_does_not_know_it() {
    let mut rig = Rig::serving(Policy { shutdown_delay: 10 * SECOND, ..policy(2) });
    assert_eq!(drained(&rig.signal(Signal::Term)), [0; 0]);
    assert_eq!(drained(&rig.signal(Signal::Term)).len(), 2);
    let mut rig = Rig::serving(Policy { shutdown_delay: 10 * SECOND, ..policy(2) });
    assert_eq!(asked(&rig.signal(Signal::Int), |action| matches!(action, Action::Stop { .. })), 2);
    // Whoever is succeeded on the same sockets has nobody to wait for.
    let mut rig = Rig::serving(Policy { shutdown_delay: 10 * SECOND, ..policy(2) });
    rig.signal(Signal::Usr2);
    rig.event(Event::UpgradeReady);
    assert_eq!(drained(&rig.signal(Signal::Term)).len(), 2);
}
