//! The uwsgi protocol: a packet of variables, the body, and an HTTP response that ends with the connection.
//!
//! ```text
//!   modifier1: u8   size: u16 LE   modifier2: u8   (length: u16 LE, name, length: u16 LE, value)*   body
//! ```

use super::gateway::answer::Style;
use super::gateway::single::{Opened, Opening, Single};
use super::gateway::stranger;
use super::gateway::variables::{self, Pair};
use super::{Error, Head, Limits, Protocol};

/// One uwsgi connection.
pub(super) type Uwsgi = Single<Packet>;

/// A request for a WSGI application.
const WSGI: u8 = 0;
/// The same, with `SCRIPT_NAME` still in front of `PATH_INFO`.
const WSGI_UNDER_SCRIPT_NAME: u8 = 30;
/// A question for a sign of life.
const PING: u8 = 100;

const HEADER_SIZE: usize = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Packet;

impl Opening for Packet {
    const STYLE: Style = Style::StatusLine;
    // `modifier2` is 1.
    const PONG: &'static [u8] = &[PING, 0, 0, 1];

    fn parse(input: &[u8], limits: &Limits, head: &mut Head) -> Result<Opened, Error> {
        let modifier = match input.first() {
            None => return Ok(Opened::NeedMore),
            Some(&modifier @ (WSGI | WSGI_UNDER_SCRIPT_NAME | PING)) => modifier,
            Some(_) => {
                return stranger(input, Protocol::Uwsgi, Error::UwsgiModifier).map_or(Ok(Opened::NeedMore), Err);
            }
        };
        let [_, low, high, _modifier2, rest @ ..] = input else { return Ok(Opened::NeedMore) };
        let size = usize::from(u16::from_le_bytes([*low, *high]));
        if size > limits.head_size {
            return Err(Error::HeadTooLarge);
        }
        let Some(payload) = rest.get(..size) else { return Ok(Opened::NeedMore) };
        if modifier == PING {
            return Ok(Opened::Ping(HEADER_SIZE + size));
        }
        head.bytes.clear();
        head.bytes.extend_from_slice(payload);
        variables::read(Protocol::Uwsgi, pair, modifier == WSGI_UNDER_SCRIPT_NAME, limits, head)?;
        Ok(Opened::Request(HEADER_SIZE + size))
    }
}

/// The pair at that place of a packet.
#[inline]
fn pair(bytes: &[u8], at: usize) -> Option<Pair> {
    let text = |at: usize| {
        let [low, high] = *bytes.get(at..)?.first_chunk()?;
        let (start, length) = (at + 2, usize::from(u16::from_le_bytes([low, high])));
        (start + length <= bytes.len()).then_some(start..start + length)
    };
    let name = text(at)?;
    let value = text(name.end)?;
    Some(Pair { name, next: value.end, value })
}
