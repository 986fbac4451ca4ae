//! A timer wheel: many deadlines, most of which are moved before they come.
//!
//! A deadline that moves later costs nothing here: the entry stays where it is, and whoever owns it is asked again when
//! its slot comes round ([`Wheel::arm`] with the new deadline). So a connection that is served a thousand times a second
//! has its keep-alive deadline entered once in its whole length.

use std::time::Duration;

use crate::clock::Moment;

/// Slots of the wheel; a deadline further away than all of them is entered in the last and asked about when it comes.
const SLOTS: usize = 1024;
const WORDS: usize = SLOTS / 64;
const _: () = assert!(WORDS == u16::BITS as usize);

/// Time of one slot: deadlines are kept to this, never early.
const TICK: Duration = Duration::from_millis(128);

/// Deadlines of things known by a number.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<usize>>,
    /// One bit a slot: whether it holds anything.
    occupied: [u64; WORDS],
    /// One bit a word of those: whether it is not zero.
    words: u16,
    /// Everything in slots before this tick has been given out.
    tick: u64,
    count: usize,
}

impl Wheel {
    /// An empty wheel.
    pub(crate) fn new(now: Moment) -> Self {
        Self { slots: vec![Vec::new(); SLOTS], occupied: [0; WORDS], words: 0, tick: tick_of(now), count: 0 }
    }

    /// When [`expired`](Self::expired) would give out a key that was armed for `deadline` now: soon after it, or before
    /// it if it is further away than the wheel reaches.
    pub(crate) fn due(&self, deadline: Moment) -> Moment {
        let tick = self.tick_for(deadline) + 1;
        Moment::from_nanos(tick.saturating_mul(TICK.as_nanos() as u64))
    }

    fn tick_for(&self, deadline: Moment) -> u64 {
        // One tick more, so that it is over when its slot is given out.
        (tick_of(deadline) + 1).clamp(self.tick, self.tick + SLOTS as u64 - 1)
    }

    /// Enters a deadline. `key` is given out by [`expired`](Self::expired) once, when it is [due](Self::due).
    pub(crate) fn arm(&mut self, key: usize, deadline: Moment) {
        let (slot, bit) = place(self.tick_for(deadline));
        if let (Some(entries), Some(word)) = (self.slots.get_mut(slot), self.occupied.get_mut(slot / 64)) {
            entries.push(key);
            *word |= bit;
            self.words |= 1 << (slot / 64);
            self.count += 1;
        }
    }

    /// Moves the keys whose slots have passed to `out`. Whether their deadlines have passed, too, only their owner knows.
    pub(crate) fn expired(&mut self, now: Moment, out: &mut Vec<usize>) {
        let end = tick_of(now);
        if self.count == 0 {
            self.tick = self.tick.max(end);
            return;
        }
        let last = end.min(self.tick + SLOTS as u64);
        while self.tick < last {
            let (slot, bit) = place(self.tick);
            if let (Some(entries), Some(word)) = (self.slots.get_mut(slot), self.occupied.get_mut(slot / 64)) {
                self.count -= entries.len();
                out.append(entries);
                if entries.capacity() > 64 {
                    *entries = Vec::new();
                }
                *word &= !bit;
                if *word == 0 {
                    self.words &= !(1 << (slot / 64));
                }
            }
            self.tick += 1;
        }
        self.tick = self.tick.max(end);
    }

    /// How long it is until a slot with something in it passes; `None` if there is nothing.
    pub(crate) fn next(&self, now: Moment) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let (start, first) = place(self.tick);
        let word = start / 64;
        let bits_of = |word: usize| self.occupied.get(word).copied().unwrap_or(0);
        // In the word with the present slot, from that on; then in the others, all the way round and into that one again.
        let here = bits_of(word) & first.wrapping_neg();
        let slot = if here != 0 {
            word * 64 + here.trailing_zeros() as usize
        } else {
            let others = self.words.rotate_right(word as u32 + 1);
            let found = (word + 1 + others.trailing_zeros() as usize) % WORDS;
            found * 64 + bits_of(found).trailing_zeros() as usize
        };
        let distance = (slot + SLOTS - start) % SLOTS;
        let due = Moment::from_nanos((self.tick + distance as u64 + 1).saturating_mul(TICK.as_nanos() as u64));
        Some(due.since(now))
    }
}

fn tick_of(moment: Moment) -> u64 {
    moment.as_nanos() / TICK.as_nanos() as u64
}

fn place(tick: u64) -> (usize, u64) {
    let slot = (tick % SLOTS as u64) as usize;
    (slot, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::from_nanos(1_000_000_000 + milliseconds * 1_000_000)
    }

    fn expired(wheel: &mut Wheel, milliseconds: u64) -> Vec<usize> {
        let mut out = Vec::new();
        wheel.expired(at(milliseconds), &mut out);
        out
    }

    #[test]
    fn keys_come_out_after_their_deadline_and_within_two_ticks() {
        let mut wheel = Wheel::new(at(0));
        for (key, deadline) in [(1, 10), (2, 100), (3, 1_000), (4, 30_000)] {
            wheel.arm(key, at(deadline));
        }
        let mut seen = Vec::new();
        for now in (0..31_000).step_by(5) {
            seen.extend(expired(&mut wheel, now).into_iter().map(|key| (key, now)));
        }
        for ((key, now), deadline) in seen.iter().zip([10, 100, 1_000, 30_000]) {
            assert!((deadline..deadline + 265).contains(now), "{key} came at {now}, its deadline was {deadline}");
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_comes_early_to_be_armed_again() {
        let mut wheel = Wheel::new(at(0));
        wheel.arm(7, at(200_000));
        assert_eq!(expired(&mut wheel, 120_000), Vec::<usize>::new());
        assert_eq!(expired(&mut wheel, 140_000), [7]);
        wheel.arm(7, at(200_000));
        assert_eq!(expired(&mut wheel, 199_999), Vec::<usize>::new());
        assert_eq!(expired(&mut wheel, 200_300), [7]);
    }

    #[test]
    fn waiting_for_what_next_says_is_waiting_long_enough() {
        let mut wheel = Wheel::new(at(0));
        assert_eq!(wheel.next(at(0)), None);
        for deadline in [3_u64, 128, 129, 4_000, 120_000] {
            let start = 50_000 * deadline;
            expired(&mut wheel, start);
            wheel.arm(1, at(start + deadline));
            let mut now = at(start);
            let mut out = Vec::new();
            for _ in 0..3 {
                let Some(wait) = wheel.next(now) else { break };
                now = now + wait;
                wheel.expired(now, &mut out);
            }
            assert_eq!(out, [1], "deadline in {deadline} ms");
            assert!(now >= at(start + deadline));
            assert!(now.since(at(start + deadline)) < Duration::from_millis(400));
        }
    }

    #[test]
    fn the_next_is_the_nearest_wherever_the_wheel_stands() {
        let tick = TICK.as_millis() as u64;
        for stands in [0, 1, 62, 63, 64, 500, 1022, 1023, 1024, 2047] {
            let now = at(stands * tick);
            for ahead in 0..SLOTS as u64 - 2 {
                let deadline = at((stands + ahead) * tick);
                let mut wheel = Wheel::new(now);
                // All the others are further away.
                wheel.arm(1, at((stands + SLOTS as u64 - 2) * tick));
                wheel.arm(2, deadline);
                assert_eq!(wheel.next(now), Some(wheel.due(deadline).since(now)), "{ahead} slots from {stands}");
            }
        }
    }

    #[test]
    fn a_clock_that_stood_still_for_long_gives_everything_out_once() {
        let mut wheel = Wheel::new(at(0));
        wheel.arm(1, at(1_000));
        wheel.arm(2, at(31_000));
        assert_eq!(expired(&mut wheel, 1_000_000_000), [1, 2]);
        assert_eq!(expired(&mut wheel, 2_000_000_000), Vec::<usize>::new());
        wheel.arm(3, at(2_000_000_100));
        assert_eq!(expired(&mut wheel, 2_000_000_500), [3]);
    }
}
