//! Whether it is worth it to look for another connection after one that was accepted and is gone already.
//!
//! To look in vain costs a system call, to find one saves the wait for it. Where connections come in bursts (a web server in
//! front that has handled a batch of requests) there is nearly always another one; where they come singly there never is.

/// After so many looks in vain in a row, most wakes do without.
const LONGEST_PAUSE: u32 = 64;

/// What the last looks came to.
#[derive(Debug, Default)]
pub(crate) struct AcceptAhead {
    /// Wakes that do without from now on.
    pause: u32,
    /// How many did after the last look in vain.
    paused: u32,
}

impl AcceptAhead {
    /// How many connections the wake that begins may take.
    pub(crate) fn begin(&mut self, most: u32) -> u32 {
        if self.pause > 0 {
            self.pause -= 1;
            return 1;
        }
        most
    }

    /// There was no further connection after so many.
    pub(crate) fn missed(&mut self, taken: u32) {
        // One more than was announced pays for the look.
        self.paused = if taken > 1 { 0 } else { (self.paused * 2).clamp(1, LONGEST_PAUSE) };
        self.pause = self.paused;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// System calls of wakes behind which so many connections lie each: one for the wait, and those that accept.
    fn calls(wakes: u32, queued: u32) -> u32 {
        let mut ahead = AcceptAhead::default();
        let (mut calls, mut left) = (0, 0);
        for _ in 0..wakes {
            left += queued;
            while left > 0 {
                calls += 1;
                let most = ahead.begin(32);
                let taken = left.min(most);
                left -= taken;
                calls += taken;
                if taken < most {
                    calls += 1;
                    ahead.missed(taken);
                }
            }
        }
        calls
    }

    #[test]
    fn connections_that_come_singly_cost_hardly_a_call_more_than_two() {
        assert!(calls(10_000, 1) <= 20_200, "{}", calls(10_000, 1));
    }

    #[test]
    fn connections_that_come_in_bursts_cost_one_call_each_and_two_for_all() {
        assert_eq!(calls(1000, 20), 22_000);
        assert!(calls(1000, 2) <= 4_000, "as much as one wait for each");
    }
}
