//! What is promised of the arbiter, one promise a test.
#![allow(clippy::unwrap_used)]

mod templates;

use std::collections::VecDeque;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy(workers: usize) -> Policy {
    Policy {
        workers,
        timeout: Some(30 * SECOND),
        boot_timeout: Some(60 * SECOND),
        graceful_timeout: 10 * SECOND,
        most: workers,
        idle: 10 * SECOND,
        shutdown_delay: Duration::ZERO,
        lifetime: None,
        memory_limit: None,
        recycle_share: 25,
        daemon: true,
        preload: false,
    }
}

/// A state machine, and a kernel that does what it is told and no more.
struct Rig {
    state: State,
    now: Moment,
    /// Living workers: pid and generation.
    workers: Vec<(i32, Generation)>,
    next_pid: i32,
    /// Every fork and when it was.
    boots: Vec<Moment>,
    /// Forks that fail from now on.
    failing_forks: u32,
    /// What the next reloads find; then the last policy again.
    settings: VecDeque<Option<Policy>>,
    policy: Policy,
    in_call_since: Option<Moment>,
    calls_at_rest: Option<u64>,
    /// Living templates: pid and generation.
    templates: Vec<(i32, Generation)>,
    /// Workers that templates were asked for.
    orders: Vec<(usize, Generation)>,
}

impl Rig {
    fn new(policy: Policy) -> Self {
        Self {
            state: State::new(policy, false, 1),
            now: Moment::from_nanos(1 << 40),
            workers: Vec::new(),
            next_pid: 1,
            boots: Vec::new(),
            failing_forks: 0,
            settings: VecDeque::new(),
            policy,
            in_call_since: None,
            calls_at_rest: None,
            templates: Vec::new(),
            orders: Vec::new(),
        }
    }

    /// With all workers ready.
    fn serving(policy: Policy) -> Self {
        let mut rig = Self::new(policy);
        rig.event(Event::Tick);
        rig.all_ready();
        rig.pass(60 * SECOND);
        rig
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        let mut done = Vec::new();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut actions = Vec::new();
            self.state.step(self.now, event, &mut actions);
            events.extend(actions.iter().filter_map(|action| self.perform(action)));
            done.extend(actions);
        }
        done
    }

    fn perform(&mut self, action: &Action) -> Option<Event> {
        match *action {
            Action::Fork { nr, .. } if self.failing_forks > 0 => {
                self.failing_forks -= 1;
                Some(Event::ForkFailed { nr, errno: libc::EAGAIN })
            }
            Action::Fork { nr, generation } => {
                let pid = self.next_pid;
                self.next_pid += 1;
                self.workers.push((pid, generation));
                self.boots.push(self.now);
                Some(Event::Forked { nr, pid })
            }
            Action::ForkTemplate { .. } if self.failing_forks > 0 => {
                self.failing_forks -= 1;
                Some(Event::TemplateForkFailed { errno: libc::EAGAIN })
            }
            Action::ForkTemplate { generation } => {
                let pid = self.next_pid;
                self.next_pid += 1;
                self.templates.push((pid, generation));
                self.boots.push(self.now);
                Some(Event::TemplateForked { generation, pid })
            }
            Action::Ask { nr, generation, .. } => {
                self.orders.push((nr, generation));
                None
            }
            Action::Inspect { pid, .. } => {
                let (in_call_since, at_rest) = (self.in_call_since, self.calls_at_rest);
                Some(Event::Inspected { pid, in_call_since, at_rest })
            }
            Action::LoadSettings { generation } => match self.settings.pop_front().unwrap_or(Some(self.policy)) {
                Some(policy) => Some(Event::SettingsLoaded { generation, policy, rebound: false }),
                None => Some(Event::SettingsFailed),
            },
            Action::Upgrade => Some(Event::UpgradeStarted { pid: 1000 }),
            _ => None,
        }
    }

    /// Lets time pass, with a tick whenever one is due.
    fn pass(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        let mut done = Vec::new();
        while let Some(due) = self.state.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            done.extend(self.event(Event::Tick));
        }
        self.now = end;
        done
    }

    fn signal(&mut self, signal: Signal) -> Vec<Action> {
        self.event(Event::Signal(signal, 1))
    }

    fn exit(&mut self, pid: i32, status: Status) -> Vec<Action> {
        self.workers.retain(|(other, _)| *other != pid);
        self.event(Event::Exited { pid, status })
    }

    fn all_ready(&mut self) -> Vec<Action> {
        self.workers.clone().into_iter().flat_map(|(pid, _)| self.event(Event::Ready { pid })).collect()
    }

    fn of(&self, generation: Generation) -> Vec<i32> {
        self.workers.iter().filter(|(_, other)| *other == generation).map(|(pid, _)| *pid).collect()
    }
}

fn drained(actions: &[Action]) -> Vec<i32> {
    let drained = actions.iter().filter_map(|action| match action {
        Action::Drain { pid, .. } => Some(*pid),
        _ => None,
    });
    drained.collect()
}

fn stopped(actions: &[Action]) -> Vec<i32> {
    let stopped = actions.iter().filter_map(|action| match action {
        Action::Stop { pid } | Action::Cancel { pid } => Some(*pid),
        _ => None,
    });
    stopped.collect()
}

fn forks(actions: &[Action]) -> Vec<Generation> {
    let forks = actions.iter().filter_map(|action| match action {
        Action::Fork { generation, .. } => Some(*generation),
        _ => None,
    });
    forks.collect()
}

fn gave_up(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Log(Notice::GivenUp { .. })))
}

fn killed(actions: &[Action], pid: i32, signal: Sent) -> bool {
    actions.contains(&Action::Send { pid, signal })
}

#[test]
fn the_server_is_ready_when_its_first_worker_is() {
    let mut rig = Rig::new(policy(3));
    assert_eq!(forks(&rig.event(Event::Tick)), [1, 1, 1]);
    assert_eq!(rig.event(Event::Ready { pid: 2 }), [Action::Notify(Notification::Ready)]);
    assert_eq!(rig.event(Event::Ready { pid: 1 }), []);
    assert_eq!(rig.event(Event::Ready { pid: 1 }), [], "said twice");
}

#[test]
fn a_reload_drains_one_old_worker_for_each_new_one_that_is_ready() {
    let mut rig = Rig::serving(policy(3));
    let actions = rig.signal(Signal::Hup);
    assert_eq!(forks(&actions), [2, 2, 2]);
    assert!(drained(&actions).is_empty());
    assert_eq!(drained(&rig.event(Event::Ready { pid: 5 })), [1]);
    assert_eq!(drained(&rig.event(Event::Ready { pid: 4 })), [2]);
    let last = rig.event(Event::Ready { pid: 6 });
    assert_eq!(drained(&last), [3]);
    assert!(last.contains(&Action::Keep { generation: 2 }) && last.contains(&Action::Notify(Notification::Ready)));
}

#[test]
fn a_generation_that_cannot_become_ready_is_given_up_and_the_old_one_serves_on() {
    let exits: [(&str, &[Status]); 5] = [
        ("the application is missing", &[Status::Code(4)]),
        ("it cannot be imported", &[Status::Code(3)]),
        ("it exits", &[Status::Code(1), Status::Code(1), Status::Code(0)]),
        ("it crashes", &[Status::Signal(11), Status::Signal(11), Status::Signal(6)]),
        ("it hangs", &[]),
    ];
    for (case, exits) in exits {
        let mut rig = Rig::serving(policy(2));
        let mut actions = rig.signal(Signal::Hup);
        for (position, status) in exits.iter().enumerate() {
            assert!(!gave_up(&actions), "{case}: too early");
            let pid = rig.of(2)[0];
            actions.extend(rig.exit(pid, *status));
            if position + 1 < exits.len() {
                actions.extend(rig.pass(SECOND));
            }
        }
        if exits.is_empty() {
            actions.extend(rig.pass(63 * SECOND));
            let pid = rig.of(2)[0];
            assert!(killed(&actions, pid, Sent::Abort) && killed(&actions, pid, Sent::Kill), "{case}");
            actions.extend(rig.exit(pid, Status::Signal(9)));
        }
        assert!(gave_up(&actions), "{case}");
        assert!(drained(&actions).is_empty(), "{case}");
        assert!(actions.contains(&Action::Keep { generation: 1 }), "{case}");
        assert!(!actions.iter().any(|action| matches!(action, Action::Log(Notice::Reloaded { .. }))), "{case}");
        for pid in rig.of(2) {
            rig.exit(pid, Status::Code(0));
        }
        assert_eq!(rig.of(1), [1, 2], "{case}");
        assert_eq!(forks(&rig.exit(1, Status::Code(1))), [1], "{case}: it is still at full strength");
    }
}

#[test]
fn the_old_generation_is_kept_at_full_strength_until_the_new_one_is_proven() {
    let mut rig = Rig::serving(policy(2));
    rig.signal(Signal::Hup);
    assert_eq!(forks(&rig.exit(1, Status::Signal(9))), [1]);
    let actions = rig.event(Event::Ready { pid: 3 });
    assert_eq!(stopped(&actions), [5], "what boots of the old generation is needed no more");
    assert_eq!(drained(&actions), [0; 0], "and the old worker that serves still is");
    assert_eq!(drained(&rig.event(Event::Ready { pid: 4 })), [2]);
}

#[test]
fn a_second_hup_supersedes_the_first() {
    let mut rig = Rig::serving(policy(2));
    rig.signal(Signal::Hup);
    rig.pass(5 * SECOND);
    let actions = rig.signal(Signal::Hup);
    assert_eq!(forks(&actions), [3, 3]);
    assert_eq!(stopped(&actions), [3, 4]);
    assert!(drained(&actions).is_empty());
    assert!(!gave_up(&rig.exit(3, Status::Code(3))), "the superseded generation is of no interest");
    assert_eq!(drained(&rig.event(Event::Ready { pid: 5 })), [1]);
}

#[test]
fn settings_that_cannot_be_loaded_change_nothing() {
    let mut rig = Rig::serving(policy(2));
    rig.settings.push_back(None);
    let actions = rig.signal(Signal::Hup);
    assert!(forks(&actions).is_empty() && drained(&actions).is_empty() && stopped(&actions).is_empty());
    assert_eq!(actions.last(), Some(&Action::Notify(Notification::Ready)));
}

#[test]
fn a_storm_of_hups_makes_two_reloads_the_second_after_the_last_hup() {
    let mut rig = Rig::serving(policy(2));
    let mut actions = Vec::new();
    for _ in 0..10_000 {
        actions.extend(rig.signal(Signal::Hup));
        actions.extend(rig.pass(Duration::from_micros(10)));
    }
    let loads =
        |actions: &[Action]| actions.iter().filter(|action| matches!(action, Action::LoadSettings { .. })).count();
    assert_eq!(loads(&actions), 1);
    assert_eq!(loads(&rig.pass(SECOND)), 1);
    assert_eq!(loads(&rig.pass(60 * SECOND)), 0);
}

#[test]
fn only_a_server_that_never_had_a_ready_worker_ends_when_one_cannot_boot() {
    for code in [3, 4] {
        let mut rig = Rig::new(policy(2));
        rig.event(Event::Tick);
        assert_eq!(stopped(&rig.exit(1, Status::Code(code))), [2]);
        let end = rig.exit(2, Status::Code(0));
        assert_eq!(end.last(), Some(&Action::Exit(code)));
        assert!(end.contains(&Action::Log(Notice::Reason { code })));

        let mut rig = Rig::new(policy(2));
        rig.event(Event::Tick);
        rig.event(Event::Ready { pid: 2 });
        assert_eq!(stopped(&rig.exit(1, Status::Code(code))), [0; 0]);
        assert_eq!(forks(&rig.pass(SECOND)), [1]);
    }
}

#[test]
fn a_crash_loop_boots_ten_times_in_ten_seconds_at_most_and_ever_less() {
    for (workers, before_ready) in [(1, true), (2, true), (4, true), (8, true), (1, false), (4, false)] {
        let mut rig = Rig::new(policy(workers));
        rig.event(Event::Tick);
        let end = rig.now + 600 * SECOND;
        while rig.now < end {
            while let Some((pid, _)) = rig.workers.first().copied() {
                if !before_ready {
                    rig.event(Event::Ready { pid });
                }
                rig.exit(pid, Status::Code(1));
            }
            let Some(due) = rig.state.deadline() else { break };
            rig.now = due;
            rig.event(Event::Tick);
        }
        let in_window = |begin: &Moment| {
            rig.boots.iter().filter(|boot| *begin <= **boot && boot.since(*begin) < 10 * SECOND).count()
        };
        let most = rig.boots.iter().map(in_window).max().unwrap();
        assert!(most <= 10, "{workers} workers: {most} boots");
        let (first, last) = (rig.boots[0], *rig.boots.last().unwrap());
        assert!(last.since(first) > 500 * SECOND, "it goes on");
        if before_ready {
            let late = rig.boots.iter().filter(|boot| boot.since(first) > 300 * SECOND).count();
            assert!(late <= workers * 14, "{workers} workers: {late} boots in the last five minutes");
        }
    }
}

#[test]
fn a_worker_that_has_served_or_was_killed_from_outside_is_replaced_at_once() {
    let mut rig = Rig::serving(policy(2));
    assert_eq!(forks(&rig.exit(1, Status::Signal(11))), [1]);
    for pid in 3..100 {
        rig.event(Event::Ready { pid });
        rig.now = rig.now + Duration::from_millis(50);
        assert_eq!(forks(&rig.exit(pid, Status::Signal(9))), [1]);
    }
    rig.event(Event::Ready { pid: 100 });
    assert_eq!(forks(&rig.exit(100, Status::Signal(11))), [0; 0], "a crash soon after its start is another matter");
    assert_eq!(forks(&rig.pass(Duration::from_millis(120))), [1]);
}

#[test]
fn after_forks_have_failed_full_strength_is_back_within_a_second() {
    let mut rig = Rig::serving(policy(4));
    rig.failing_forks = u32::MAX;
    rig.exit(1, Status::Signal(9));
    rig.exit(2, Status::Signal(9));
    for _ in 0..100 {
        assert!(drained(&rig.pass(Duration::from_millis(77))).is_empty());
    }
    rig.failing_forks = 0;
    assert_eq!(forks(&rig.pass(SECOND)), [1, 1]);
    assert_eq!(rig.workers.len(), 4);
}

#[test]
fn failing_forks_are_logged_now_and_then() {
    let mut rig = Rig::new(policy(4));
    rig.failing_forks = u32::MAX;
    let mut actions = rig.event(Event::Tick);
    actions.extend(rig.pass(60 * SECOND));
    let lines = actions.iter().filter(|action| matches!(action, Action::Log(_))).count();
    assert!((2..=7).contains(&lines), "{lines} lines in a minute");
}

#[test]
fn workers_are_added_and_taken_away_one_for_each_signal() {
    let mut rig = Rig::serving(policy(2));
    assert_eq!(forks(&rig.event(Event::Signal(Signal::Ttin, 3))), [1, 1, 1]);
    assert_eq!(stopped(&rig.signal(Signal::Ttou)), [5], "who still boots goes first");
    rig.all_ready();
    assert_eq!(drained(&rig.event(Event::Signal(Signal::Ttou, 100))), [1, 2, 3], "one is left");
    assert_eq!(forks(&rig.signal(Signal::Hup)), [2, 2], "a reload goes back to the setting");
    let actions = rig.event(Event::Signal(Signal::Ttin, u32::MAX));
    assert_eq!(forks(&actions).len(), MAX_WORKERS - 2);
}

#[test]
fn winch_stops_the_workers_of_a_daemon_only() {
    let mut rig = Rig::serving(Policy { daemon: false, ..policy(2) });
    assert_eq!(drained(&rig.signal(Signal::Winch)), [0; 0]);

    for (signal, workers) in [(Signal::Ttin, 1), (Signal::Hup, 2)] {
        let mut rig = Rig::serving(policy(2));
        assert_eq!(drained(&rig.signal(Signal::Winch)), [1, 2]);
        rig.exit(1, Status::Code(0));
        rig.exit(2, Status::Code(0));
        assert_eq!(forks(&rig.pass(60 * SECOND)), [0; 0]);
        assert_eq!(forks(&rig.signal(signal)).len(), workers);
    }
}

#[test]
fn a_graceful_stop_empties_the_queue_and_kills_who_takes_too_long() {
    let mut rig = Rig::serving(policy(2));
    rig.event(Event::Signal(Signal::Ttin, 1));
    let actions = rig.signal(Signal::Term);
    let expected = [
        Action::Log(Notice::Handling(Signal::Term)),
        Action::Notify(Notification::Stopping),
        Action::StopIncoming,
        Action::Drain { pid: 1, queue: true },
        Action::Drain { pid: 2, queue: true },
        Action::Cancel { pid: 3 },
    ];
    assert_eq!(actions, expected);
    rig.exit(3, Status::Code(0));
    assert!(!killed(&rig.pass(9 * SECOND), 1, Sent::Kill));
    rig.exit(2, Status::Code(0));
    assert!(killed(&rig.pass(SECOND), 1, Sent::Kill));
    assert_eq!(rig.exit(1, Status::Signal(9)).last(), Some(&Action::Exit(0)));
}

#[test]
fn a_second_signal_makes_a_stop_quick() {
    for signal in [Signal::Term, Signal::Int, Signal::Quit] {
        let mut rig = Rig::serving(policy(2));
        rig.signal(Signal::Term);
        assert_eq!(stopped(&rig.signal(signal)), [1, 2]);
        let actions = rig.pass(2 * SECOND);
        assert!(killed(&actions, 1, Sent::Kill) && killed(&actions, 2, Sent::Kill));
    }
}

#[test]
fn nothing_is_begun_once_a_stop_has_begun() {
    let mut rig = Rig::serving(policy(2));
    rig.signal(Signal::Term);
    for signal in [Signal::Hup, Signal::Ttin, Signal::Ttou, Signal::Usr2, Signal::Winch] {
        assert_eq!(rig.signal(signal), [Action::Log(Notice::Handling(signal))]);
    }
    assert_eq!(forks(&rig.exit(1, Status::Signal(11))), [0; 0]);
}

#[test]
fn a_worker_that_is_in_one_call_for_too_long_is_aborted_then_killed_and_replaced_at_once() {
    let mut rig = Rig::serving(policy(1));
    rig.pass(7 * SECOND);
    rig.in_call_since = Some(rig.now);
    let begin = rig.now;
    assert!(
        rig.pass(30 * SECOND - Duration::from_nanos(1)).iter().all(|action| matches!(action, Action::Inspect { .. }))
    );
    let actions = rig.pass(Duration::from_nanos(1));
    assert_eq!(rig.now.since(begin), 30 * SECOND);
    assert!(killed(&actions, 1, Sent::Abort));
    assert!(actions.contains(&Action::Log(Notice::Overdue { pid: 1 })));
    assert_eq!(forks(&actions), [1]);
    assert!(killed(&rig.pass(2 * SECOND), 1, Sent::Kill));
}

#[test]
fn a_worker_that_is_stopped_by_job_control_is_overdue_after_the_timeout() {
    let mut rig = Rig::serving(policy(1));
    rig.event(Event::Halted { pid: 1 });
    rig.pass(20 * SECOND);
    rig.event(Event::Continued { pid: 1 });
    assert!(!killed(&rig.pass(20 * SECOND), 1, Sent::Abort));
    rig.event(Event::Halted { pid: 1 });
    assert!(killed(&rig.pass(33 * SECOND), 1, Sent::Kill));
}

#[test]
fn an_idle_arbiter_sleeps() {
    let mut rig = Rig::serving(policy(4));
    rig.pass(60 * SECOND);
    let mut wakes = 0;
    let end = rig.now + 3600 * SECOND;
    while let Some(due) = rig.state.deadline().filter(|due| *due <= end) {
        rig.now = due;
        rig.event(Event::Tick);
        wakes += 1;
    }
    assert!(wakes <= 3600 / 30, "{wakes} wakes in an hour");
    let rig = Rig::serving(Policy { timeout: None, ..policy(4) });
    assert_eq!(rig.state.deadline(), None);
}

#[test]
fn workers_are_excused_when_the_arbiter_itself_has_stood_still() {
    let mut rig = Rig::serving(policy(1));
    rig.pass(SECOND);
    rig.in_call_since = Some(rig.now);
    rig.now = rig.now + 100 * SECOND;
    assert!(!killed(&rig.event(Event::Tick), 1, Sent::Abort));
    rig.in_call_since = None;
    assert!(!killed(&rig.pass(10 * SECOND), 1, Sent::Abort), "the call has ended meanwhile");

    rig.in_call_since = Some(rig.now);
    rig.now = rig.now + 100 * SECOND;
    assert!(!killed(&rig.event(Event::Tick), 1, Sent::Abort));
    assert!(killed(&rig.pass(2 * SECOND), 1, Sent::Abort), "it has not");
}

#[test]
fn what_a_worker_writes_into_the_scoreboard_does_no_harm() {
    let mut rig = Rig::serving(policy(1));
    rig.in_call_since = Some(Moment::from_nanos(u64::MAX));
    assert!(!killed(&rig.pass(3600 * SECOND), 1, Sent::Abort));
}

#[test]
fn a_worker_whose_channel_is_closed_ends_or_is_killed() {
    let mut rig = Rig::serving(policy(1));
    rig.event(Event::ChannelClosed { pid: 1 });
    let actions = rig.pass(2 * SECOND);
    assert!(killed(&actions, 1, Sent::Kill));
    assert_eq!(forks(&rig.exit(1, Status::Signal(9))), [1]);
}

#[test]
fn one_upgrade_at_a_time_and_one_that_fails_changes_nothing() {
    let mut rig = Rig::serving(policy(2));
    assert!(rig.signal(Signal::Usr2).contains(&Action::Upgrade));
    assert!(!rig.signal(Signal::Usr2).contains(&Action::Upgrade));
    let actions = rig.pass(65 * SECOND);
    assert!(killed(&actions, 1000, Sent::Quit) && killed(&actions, 1000, Sent::Kill));
    assert!(rig.exit(1000, Status::Signal(9)).contains(&Action::EndUpgrade));
    assert_eq!(rig.of(1), [1, 2]);
    assert!(rig.signal(Signal::Usr2).contains(&Action::Upgrade));
    assert!(killed(&rig.event(Event::UpgradeLost), 1000, Sent::Quit), "it will never be ready");
}

#[test]
fn a_stop_leaves_the_sockets_to_the_successor() {
    let mut rig = Rig::serving(policy(1));
    rig.signal(Signal::Usr2);
    rig.event(Event::UpgradeReady);
    let actions = rig.signal(Signal::Term);
    assert!(actions.contains(&Action::Notify(Notification::Successor(1000))));
    assert!(actions.contains(&Action::Drain { pid: 1, queue: false }));
    assert!(!actions.contains(&Action::StopIncoming));
    assert_eq!(rig.exit(1, Status::Code(0)).last(), Some(&Action::Exit(0)));
}

#[test]
fn paused_workers_come_back_when_the_successor_goes() {
    let mut rig = Rig::serving(policy(2));
    rig.signal(Signal::Usr2);
    rig.event(Event::UpgradeReady);
    rig.signal(Signal::Winch);
    rig.exit(1, Status::Code(0));
    rig.exit(2, Status::Code(0));
    assert_eq!(forks(&rig.exit(1000, Status::Code(0))), [1, 1]);
}

#[test]
fn a_successor_upgrades_only_once_it_is_promoted() {
    let mut rig = Rig::new(policy(1));
    rig.state = State::new(policy(1), true, 1);
    rig.event(Event::Tick);
    rig.all_ready();
    assert!(rig.signal(Signal::Usr2).contains(&Action::Log(Notice::UpgradeTooEarly)));
    assert_eq!(rig.event(Event::PredecessorGone), [Action::Log(Notice::Promoted), Action::Promote]);
    assert!(rig.signal(Signal::Usr2).contains(&Action::Upgrade));
}

#[test]
fn a_successor_that_cannot_boot_gives_up_as_its_predecessor_serves_on() {
    let mut rig = Rig::new(policy(2));
    rig.state = State::new(policy(2), true, 1);
    rig.event(Event::Tick);
    for pid in [1, 2] {
        assert_eq!(stopped(&rig.exit(pid, Status::Code(1))), [0; 0]);
    }
    rig.pass(SECOND);
    assert_eq!(stopped(&rig.exit(3, Status::Code(1))), [4]);
    assert_eq!(rig.exit(4, Status::Code(0)).last(), Some(&Action::Exit(3)));
}

#[test]
fn the_last_worker_that_serves_a_dropped_address_empties_its_queue() {
    let mut rig = Rig::serving(policy(2));
    let generation = 2;
    let mut actions = Vec::new();
    rig.state.step(rig.now, Event::Signal(Signal::Hup, 1), &mut actions);
    rig.event(Event::SettingsLoaded { generation, policy: policy(2), rebound: true });
    assert!(rig.event(Event::Ready { pid: 3 }).contains(&Action::Drain { pid: 1, queue: false }));
    let actions = rig.event(Event::Ready { pid: 4 });
    let place = |wanted: Action| actions.iter().position(|action| *action == wanted);
    let (kept, drained) = (place(Action::Keep { generation }), place(Action::Drain { pid: 2, queue: true }));
    assert!(kept.is_some() && kept < drained, "{actions:?}");
}

#[test]
fn strangers_are_ignored() {
    let mut rig = Rig::serving(policy(1));
    for status in [Status::Code(0), Status::Code(3), Status::Signal(9)] {
        assert_eq!(rig.event(Event::Exited { pid: 4711, status }), []);
    }
}

mod limits;
