//! Settings and workers as they come.

use std::time::Duration;

use super::Quality;
use crate::arbiter::backoff::Random;
use crate::arbiter::decision::Policy;

pub(super) fn some_policy(random: &mut Random, daemon: bool) -> Policy {
    let mut seconds = |most: u64| Duration::from_millis(500 + random.below(most * 1000));
    let (timeout, boot_timeout, graceful_timeout) = (seconds(30), seconds(60), seconds(30));
    let mut some = |duration| (random.below(4) != 0).then_some(duration);
    let (timeout, boot_timeout) = (some(timeout), some(boot_timeout));
    let open = random.below(32) == 0;
    let workers = if open { random.below(6) } else { 1 + random.below(5) } as usize;
    let most = workers + if open { 1 + random.below(5) as usize } else { 0 };
    let mut seldom = |least: u64, most: u64| {
        let duration = Duration::from_millis(least + random.below(most - least));
        (random.below(8) == 0).then_some(duration)
    };
    let lifetime = seldom(20_000, 120_000);
    let shutdown_delay = seldom(1, 20_000).unwrap_or_default();
    let memory_limit = seldom(1, 2).filter(|_| random.below(8) == 0).map(|_| 1000);
    let idle = Duration::from_secs(5);
    let recycle_share = [1, 25, 100][random.below(3) as usize];
    Policy {
        workers,
        most,
        idle,
        timeout,
        boot_timeout,
        graceful_timeout,
        shutdown_delay,
        lifetime,
        memory_limit,
        recycle_share,
        daemon,
        preload: random.below(3) == 0,
    }
}

pub(super) fn some_quality(random: &mut Random) -> Quality {
    match random.below(12) {
        0 => Quality::SlowBoot,
        1 => Quality::Flaky,
        2 => Quality::BootFails(1),
        3 => Quality::BootFails(3),
        4 => Quality::BootFails(4),
        5 => Quality::BootFails(-11),
        6 => Quality::BootHangs,
        7 => Quality::CrashesSoon,
        8 => Quality::HangsSoon,
        _ => Quality::Good,
    }
}
