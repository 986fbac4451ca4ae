//! Which content coding a client likes best (RFC 9110 §12.5.3).

use std::cmp::Reverse;

/// A content coding that a file may have been stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

impl Coding {
    /// What the file's name has behind that of the original.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// The name of the coding.
    pub(super) const fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// How much a client likes what; thousandths, 0 is not at all, `None` is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    brotli: Option<u16>,
    zstd: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    others: Option<u16>,
}

impl Accepted {
    /// From the values of all fields `Accept-Encoding`. What is malformed in them is passed over.
    pub(super) fn from_fields<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut accepted = Self::default();
        for member in values.flat_map(|value| value.split(|byte| *byte == b',')) {
            let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let weight = match parts.next() {
                None => Some(1000),
                Some(parameter) => weight(parameter),
            };
            let place = match name.to_ascii_lowercase().as_slice() {
                b"br" => &mut accepted.brotli,
                b"zstd" => &mut accepted.zstd,
                b"gzip" | b"x-gzip" => &mut accepted.gzip,
                b"identity" => &mut accepted.identity,
                b"*" => &mut accepted.others,
                _ => continue,
            };
            *place = weight.or(*place);
        }
        accepted
    }

    /// The codings that are better than the plain file, the best one first.
    pub(super) fn codings(&self) -> impl Iterator<Item = Coding> + use<> {
        let least = self.identity.unwrap_or(0).max(1);
        let weight = |own: Option<u16>| own.or(self.others).unwrap_or(0);
        // In our order, which a stable sort keeps among those that the client likes equally.
        let mut ranked = [
            (weight(self.brotli), Coding::Brotli),
            (weight(self.zstd), Coding::Zstd),
            (weight(self.gzip), Coding::Gzip),
        ];
        ranked.sort_by_key(|(weight, _)| Reverse(*weight));
        ranked.into_iter().take_while(move |(weight, _)| *weight >= least).map(|(_, coding)| coding)
    }

    /// Whether the plain file will do.
    pub(super) fn identity(&self) -> bool {
        self.identity.or(self.others) != Some(0)
    }
}

/// `q=` and a number from 0 to 1 with at most three decimals, in thousandths (RFC 9110 §12.4.2).
fn weight(parameter: &[u8]) -> Option<u16> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let (whole, decimals) = match value {
        [whole @ (b'0' | b'1')] => (whole, b"".as_slice()),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let digits = [decimals.first(), decimals.get(1), decimals.get(2)];
    let mut thousandths = u16::from(*whole - b'0');
    for digit in digits {
        let digit = *digit.unwrap_or(&b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths = thousandths * 10 + u16::from(digit - b'0');
    }
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::{Accepted, Coding};

    #[test]
    fn the_clients_weights_come_before_our_order() {
        use Coding::{Brotli, Gzip, Zstd};
        let cases: &[(&[&str], &[Coding], bool)] = &[
            (&[""], &[], true),
            (&["gzip"], &[Gzip], true),
            (&["x-gzip"], &[Gzip], true),
            (&["GZip"], &[Gzip], true),
            (&["gzip, deflate, br, zstd"], &[Brotli, Zstd, Gzip], true),
            (&["gzip", "br"], &[Brotli, Gzip], true),
            (&["br;q=0.5, gzip"], &[Gzip, Brotli], true),
            (&["br ; q=0.5,gzip; q=0.25 "], &[Brotli, Gzip], true),
            (&["gzip;q=0"], &[], true),
            (&["gzip;q=0.000, br;q=0.001"], &[Brotli], true),
            (&["*"], &[Brotli, Zstd, Gzip], true),
            (&["*, br;q=0"], &[Zstd, Gzip], true),
            (&["*;q=0"], &[], false),
            (&["*;q=0, gzip"], &[Gzip], false),
            (&["*;q=0, identity"], &[], true),
            (&["identity;q=0"], &[], false),
            (&["gzip, identity;q=0"], &[Gzip], false),
            (&["gzip;q=0.5, identity"], &[], true),
            (&["gzip;q=0.5, br, identity;q=0.7"], &[Brotli], true),
            (&["gzip, identity"], &[Gzip], true),
            // Malformed members are passed over.
            (&["gzip;q=2, br;q=0.1234, zstd;q=.5"], &[], true),
            (&["gzip;q=1.001, br;q=, zstd;level=9"], &[], true),
            (&[",, ;,;q=1, gzip;q=1.000"], &[Gzip], true),
        ];
        for (values, codings, identity) in cases {
            let accepted = Accepted::from_fields(values.iter().map(|value| value.as_bytes()));
            assert_eq!(accepted.codings().collect::<Vec<_>>(), *codings, "{values:?}");
            assert_eq!(accepted.identity(), *identity, "{values:?}");
        }
    }
}
