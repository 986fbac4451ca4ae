//! What is promised of templates.

use super::*;

impl Rig {
    /// Everything that templates were asked for comes to be, and they are asked for more.
    fn born(&mut self) -> Vec<Action> {
        let mut done = Vec::new();
        while let Some((nr, generation)) = self.orders.pop() {
            let pid = self.next_pid;
            self.next_pid += 1;
            self.workers.push((pid, generation));
            done.extend(self.event(Event::Forked { nr, pid }));
        }
        done
    }

    /// With all workers ready, and their template, which is process 1.
    fn preloaded(workers: usize) -> Self {
        let mut rig = Self::new(Policy { preload: true, ..policy(workers) });
        rig.event(Event::Tick);
        rig.event(Event::TemplateReady { pid: 1 });
        rig.born();
        rig.all_ready();
        rig.pass(60 * SECOND);
        rig
    }

    fn template_exit(&mut self, pid: i32, status: Status) -> Vec<Action> {
        self.templates.retain(|(other, _)| *other != pid);
        self.event(Event::Exited { pid, status })
    }
}

fn template_forks(actions: &[Action]) -> Vec<Generation> {
    let forks = actions.iter().filter_map(|action| match action {
        Action::ForkTemplate { generation } => Some(*generation),
        _ => None,
    });
    forks.collect()
}

fn asked(actions: &[Action]) -> Vec<i32> {
    let asked = actions.iter().filter_map(|action| match action {
        Action::Ask { template, .. } => Some(*template),
        _ => None,
    });
    asked.collect()
}

#[test]
fn a_template_is_asked_for_workers_once_it_is_ready_and_for_one_at_a_time() {
    let mut rig = Rig::new(Policy { preload: true, ..policy(3) });
    let actions = rig.event(Event::Tick);
    assert_eq!((template_forks(&actions), forks(&actions), asked(&actions)), (vec![1], vec![], vec![]));
    assert_eq!(asked(&rig.event(Event::TemplateReady { pid: 1 })), [1]);
    assert_eq!(asked(&rig.pass(SECOND)), [0; 0]);
    assert_eq!(asked(&rig.born()), [1, 1]);
    assert_eq!(rig.workers.len(), 3);
    assert!(rig.orders.is_empty());
}

#[test]
fn a_reload_has_its_own_template_and_lets_the_old_one_go_when_it_is_proven() {
    let mut rig = Rig::preloaded(2);
    let old = rig.of(1);
    let actions = rig.signal(Signal::Hup);
    assert_eq!(template_forks(&actions), [2]);
    let template = rig.templates[1].0;
    assert!(stopped(&rig.event(Event::TemplateReady { pid: template })).is_empty(), "the old one is needed still");
    // Killed before the new generation is proven, workers of the old one come from the old template.
    assert_eq!(asked(&rig.exit(old[0], Status::Signal(9))), [1]);
    rig.born();
    let new = rig.of(2);
    assert!(stopped(&rig.event(Event::Ready { pid: new[0] })).contains(&1));
    assert_eq!(stopped(&rig.event(Event::Ready { pid: new[1] })), [0; 0]);
}

#[test]
fn a_generation_whose_template_cannot_load_is_given_up() {
    for (case, statuses) in [
        ("it says so", &[Status::Code(3)] as &[_]),
        ("it crashes", &[Status::Signal(11), Status::Code(1), Status::Signal(9)]),
    ] {
        let mut rig = Rig::preloaded(2);
        let mut actions = rig.signal(Signal::Hup);
        for status in statuses {
            assert!(!gave_up(&actions), "{case}: too early");
            let template = rig.templates[1].0;
            actions.extend(rig.template_exit(template, *status));
            if rig.templates.len() == 1 {
                actions.extend(rig.pass(SECOND));
            }
        }
        assert!(gave_up(&actions) && actions.contains(&Action::Keep { generation: 1 }), "{case}");
        assert!(drained(&actions).is_empty() && stopped(&actions).is_empty(), "{case}");
        let worker = rig.of(1)[0];
        assert_eq!(asked(&rig.exit(worker, Status::Signal(9))), [1], "{case}: it is at full strength");
    }
    let mut rig = Rig::new(Policy { preload: true, ..policy(2) });
    rig.event(Event::Tick);
    assert_eq!(rig.template_exit(1, Status::Code(4)).last(), Some(&Action::Exit(4)), "the first one");
}

#[test]
fn a_template_that_dies_is_replaced_at_once_and_one_that_crashes_later_and_later() {
    let mut rig = Rig::preloaded(2);
    let actions = rig.template_exit(1, Status::Signal(9));
    assert_eq!((template_forks(&actions), stopped(&actions), drained(&actions)), (vec![1], vec![], vec![]));
    rig.boots.clear();
    let end = rig.now + 60 * SECOND;
    while rig.now < end {
        if let Some((pid, _)) = rig.templates.first().copied() {
            rig.event(Event::TemplateReady { pid });
            rig.template_exit(pid, Status::Signal(11));
        }
        rig.now = rig.state.deadline().unwrap_or(end);
        rig.event(Event::Tick);
    }
    assert!((10..=24).contains(&rig.boots.len()), "{} templates in a minute", rig.boots.len());
}

#[test]
fn a_worker_that_is_not_born_is_asked_for_again_and_not_for_ever_at_once() {
    let mut rig = Rig::preloaded(1);
    let worker = rig.of(1)[0];
    let mut times = asked(&rig.exit(worker, Status::Signal(9))).len();
    for _ in 0..100 {
        if let Some((nr, _)) = rig.orders.pop() {
            times += asked(&rig.event(Event::Unborn { nr })).len();
        }
        times += asked(&rig.pass(SECOND)).len();
    }
    assert!((5..=20).contains(&times), "{times} times in a hundred seconds");
}

#[test]
fn a_template_that_does_not_fork_is_aborted_killed_and_replaced() {
    let mut rig = Rig::preloaded(1);
    let worker = rig.of(1)[0];
    rig.exit(worker, Status::Signal(9));
    let actions = rig.pass(11 * SECOND);
    assert!(killed(&actions, 1, Sent::Abort) && killed(&actions, 1, Sent::Kill));
    assert_eq!(template_forks(&actions), [1]);
    let template = rig.templates[1].0;
    rig.template_exit(1, Status::Signal(9));
    assert_eq!(asked(&rig.event(Event::TemplateReady { pid: template })), [0; 0], "the first answer is still to come");
    let (nr, _) = rig.orders.pop().unwrap();
    assert_eq!(asked(&rig.event(Event::Unborn { nr })), [template]);
}

#[test]
fn a_stop_waits_for_templates_and_for_whom_they_were_asked() {
    for (signal, gone) in [(Signal::Term, false), (Signal::Quit, true)] {
        let mut rig = Rig::preloaded(2);
        let workers = rig.of(1);
        rig.exit(workers[0], Status::Signal(9));
        let actions = rig.signal(signal);
        assert!(stopped(&actions).contains(&1));
        rig.exit(workers[1], Status::Code(0));
        assert_eq!(rig.template_exit(1, Status::Code(0)), [], "{signal:?}");
        let (nr, _) = rig.orders.pop().unwrap();
        let actions = rig.event(Event::Forked { nr, pid: 50 });
        assert_eq!(stopped(&actions), [50]);
        assert_eq!(actions.contains(&Action::Stop { pid: 50 }), gone);
        assert_eq!(rig.exit(50, Status::Code(0)).last(), Some(&Action::Exit(0)));
    }
}

#[test]
fn who_is_born_after_the_logs_were_reopened_reopens_them() {
    let mut rig = Rig::preloaded(1);
    let worker = rig.of(1)[0];
    rig.exit(worker, Status::Signal(9));
    assert!(rig.signal(Signal::Usr1).contains(&Action::Send { pid: 1, signal: Sent::Reopen }));
    let (nr, _) = rig.orders.pop().unwrap();
    assert!(rig.event(Event::Forked { nr, pid: 50 }).contains(&Action::Send { pid: 50, signal: Sent::Reopen }));
}

#[test]
fn a_paused_server_has_no_template() {
    let mut rig = Rig::preloaded(2);
    assert!(stopped(&rig.signal(Signal::Winch)).contains(&1));
    rig.template_exit(1, Status::Code(0));
    assert_eq!(template_forks(&rig.pass(60 * SECOND)), [0; 0]);
    assert_eq!(template_forks(&rig.signal(Signal::Ttin)), [1]);
}
