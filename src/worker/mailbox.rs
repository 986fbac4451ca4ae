//! Answers and wake-ups that come to a worker's engine from elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use crate::app::Response;
use crate::app::reply::{Mailbox, Ticket};

/// Something for one request.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) ticket: Ticket,
    pub(crate) content: Content,
}

/// What a letter says.
#[derive(Debug)]
pub(crate) enum Content {
    /// The answer.
    Answer(Response),
    /// Answer as if the request had been for this target.
    Elsewhere(String),
    /// The source of the body has more to give.
    More,
}

/// The letters that have not been read.
#[derive(Debug)]
pub(crate) struct Letterbox {
    letters: Mutex<Vec<Letter>>,
    bell: mio::Waker,
}

impl Letterbox {
    pub(crate) fn new(bell: mio::Waker) -> Self {
        Self { letters: Mutex::default(), bell }
    }

    fn put(&self, letter: Letter) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.push(letter);
        if letters.len() == 1 {
            // An eventfd refuses only when it has been rung 2^64 times.
            let _ = self.bell.wake();
        }
    }

    /// Wakes whoever waits for readiness.
    pub(crate) fn ring(&self) {
        let _ = self.bell.wake();
    }

    /// Takes all letters.
    pub(crate) fn empty(&self) -> Vec<Letter> {
        std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a body's source wakes its connection with.
    pub(crate) fn waker(self: &Arc<Self>, ticket: Ticket) -> Waker {
        Arc::new(Bell { letterbox: Arc::clone(self), ticket }).into()
    }
}

impl Mailbox for Letterbox {
    fn answer(&self, ticket: Ticket, response: Response) {
        self.put(Letter { ticket, content: Content::Answer(response) });
    }

    fn redirect(&self, ticket: Ticket, target: String) {
        self.put(Letter { ticket, content: Content::Elsewhere(target) });
    }
}

struct Bell {
    letterbox: Arc<Letterbox>,
    ticket: Ticket,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.letterbox.put(Letter { ticket: self.ticket, content: Content::More });
    }
}
