//! Invariants: however the output of a program is split, the same head is found in it, or the same fault; a head that is
//! found can be sent, and what follows it is the body to the byte.
#![no_main]

use ferricorn::app::cgi::head::{Answer, Fault, HeadBuffer};
use libfuzzer_sys::fuzz_target;

fn read(pieces: impl Iterator<Item = impl AsRef<[u8]>>) -> Result<Option<(String, Vec<u8>)>, Fault> {
    let (mut buffer, mut answer, mut late) = (HeadBuffer::default(), None, Vec::new());
    for piece in pieces {
        match answer {
            Some(_) => late.extend_from_slice(piece.as_ref()),
            None => answer = buffer.push(piece.as_ref())?,
        }
    }
    Ok(answer.map(|answer| {
        let shown = match &answer {
            Answer::Document(response) => {
                assert!((200..600).contains(&response.status()));
                format!("{} {:?}", response.status(), response.fields().collect::<Vec<_>>())
            }
            Answer::Elsewhere(target) => {
                assert!(target.starts_with('/'));
                target.clone()
            }
        };
        let mut body = buffer.into_body();
        body.append(&mut late);
        (shown, body)
    }))
}

fuzz_target!(|data: &[u8]| {
    let whole = read(std::iter::once(data));
    assert_eq!(read(data.chunks(1)), whole);
    let at = data.first().map_or(0, |&byte| usize::from(byte)).min(data.len());
    let (one, other) = data.split_at(at);
    assert_eq!(read([one, other].iter()), whole);
    if let Ok(Some((_, body))) = whole {
        assert!(data.ends_with(&body));
    }
});
