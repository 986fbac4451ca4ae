//! What is worth a system call on some machines and under some loads, and in vain on others.
//!
//! - After a connection that was accepted, to look for another one: where a web server in front handles requests in batches, or
//!   many clients come at once, there nearly always is one, and a wait for it is saved. Where they come singly, there never is.
//! - When a new connection has nothing to read yet, to let others have the CPU first: a peer on the same CPU was interrupted
//!   between connect and send, and both need not wait for each other. On a CPU of its own it will not be any faster.

/// After so many attempts in vain in a row, most occasions do without.
const LONGEST_PAUSE: u32 = 64;

/// Attempts at one such thing: the fewer, the more of them have failed.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// Occasions that do without from now on.
    pause: u32,
    /// How many did after the last failure.
    paused: u32,
}

impl Attempts {
    /// Whether to make one on this occasion. If one is made, [`note`](Self::note) must be told what it came to.
    pub(crate) fn begin(&mut self) -> bool {
        let begins = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        begins
    }

    /// What the last one came to.
    pub(crate) fn note(&mut self, success: bool) {
        self.paused = if success { 0 } else { (self.paused * 2).clamp(1, LONGEST_PAUSE) };
        self.pause = self.paused;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(occasions: u32, succeeds: impl Fn(u32) -> bool) -> u32 {
        let mut attempts = Attempts::default();
        let mut made = 0;
        for occasion in 0..occasions {
            if attempts.begin() {
                made += 1;
                attempts.note(succeeds(occasion));
            }
        }
        made
    }

    #[test]
    fn what_succeeds_is_always_done_and_what_never_does_seldom() {
        assert_eq!(attempts(1000, |_| true), 1000);
        assert!((10..25).contains(&attempts(1000, |_| false)), "{}", attempts(1000, |_| false));
    }

    #[test]
    fn a_change_is_noticed() {
        assert!(attempts(2000, |occasion| occasion >= 1000) > 930);
    }
}
