//! The header fields that are known by name, and how a name is looked up.

macro_rules! field_ids {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// The header fields known by name; everything else is [`FieldId::Other`].
        ///
        /// The names are looked up once, when a head is parsed, so nobody has to compare them again.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum FieldId {
            /// A name that is not in the table.
            #[default]
            Other,
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl FieldId {
            /// Every known field, in the order of its discriminant.
            pub const ALL: &'static [FieldId] = &[$(FieldId::$variant,)+];

            /// The name in lower case; empty for [`FieldId::Other`].
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Other => "",
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

field_ids! {
    Accept = "accept",
    AcceptCharset = "accept-charset",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    Authorization = "authorization",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentType = "content-type",
    Cookie = "cookie",
    Dnt = "dnt",
    Expect = "expect",
    Forwarded = "forwarded",
    Host = "host",
    IfMatch = "if-match",
    IfModifiedSince = "if-modified-since",
    IfNoneMatch = "if-none-match",
    IfRange = "if-range",
    IfUnmodifiedSince = "if-unmodified-since",
    KeepAlive = "keep-alive",
    Origin = "origin",
    Pragma = "pragma",
    Priority = "priority",
    Proxy = "proxy",
    ProxyConnection = "proxy-connection",
    Range = "range",
    Referer = "referer",
    SecChUa = "sec-ch-ua",
    SecChUaMobile = "sec-ch-ua-mobile",
    SecChUaPlatform = "sec-ch-ua-platform",
    SecFetchDest = "sec-fetch-dest",
    SecFetchMode = "sec-fetch-mode",
    SecFetchSite = "sec-fetch-site",
    SecFetchUser = "sec-fetch-user",
    Te = "te",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UpgradeInsecureRequests = "upgrade-insecure-requests",
    UserAgent = "user-agent",
    Via = "via",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XForwardedProto = "x-forwarded-proto",
    XForwardedProtocol = "x-forwarded-protocol",
    XForwardedSsl = "x-forwarded-ssl",
    XRealIp = "x-real-ip",
    XRequestId = "x-request-id",
    XRequestStart = "x-request-start",
    XRequestedWith = "x-requested-with",
}

impl FieldId {
    /// Its bit in a set of fields.
    #[inline]
    pub const fn bit(self) -> u64 {
        const { assert!(Self::ALL.len() < u64::BITS as usize) }
        1 << self as u32
    }

    /// Those that say what must not be compared with what others have said, by their bits: the time that takes would tell of
    /// a secret.
    pub(crate) const PRIVATE: u64 = Self::Other.bit() | Self::Authorization.bit() | Self::Cookie.bit();

    /// Which field `name` is, in any case; it must consist of token characters.
    ///
    /// One multiplication hash of the length and three letters, and one comparison.
    #[inline]
    pub(crate) fn of(name: &[u8]) -> Self {
        let Some((known, id)) = SLOTS.get(slot_of(name)) else { return Self::Other };
        if same_name(known.as_bytes(), name) { *id } else { Self::Other }
    }
}

/// Whether `name`, a token, is `lower` in any case.
///
/// In a token only letters and digits survive `| 0x20` with a partner, so that the fold cannot make two names equal that
/// are not: the partners of `-` and the digits are control characters.
#[inline]
fn same_name(lower: &[u8], name: &[u8]) -> bool {
    if lower.len() != name.len() {
        return false;
    }
    const FOLD: u64 = u64::MAX / 255 * 0x20;
    let same = |lower: &[u8; 8], name: &[u8; 8]| u64::from_ne_bytes(*lower) == u64::from_ne_bytes(*name) | FOLD;
    let same_half =
        |lower: &[u8; 4], name: &[u8; 4]| u32::from_ne_bytes(*lower) == u32::from_ne_bytes(*name) | FOLD as u32;
    // The last words may overlap those before.
    if let (Some(lower_end), Some(name_end)) = (lower.last_chunk(), name.last_chunk()) {
        let words = lower.as_chunks().0.iter().zip(name.as_chunks().0);
        return same(lower_end, name_end) && words.into_iter().all(|(lower, name)| same(lower, name));
    }
    match (lower.first_chunk(), lower.last_chunk(), name.first_chunk(), name.last_chunk()) {
        (Some(lower), Some(lower_end), Some(name), Some(name_end)) => {
            same_half(lower, name) && same_half(lower_end, name_end)
        }
        _ => lower.iter().zip(name).all(|(lower, name)| *lower == name | 0x20),
    }
}

const SLOT_COUNT: usize = 128;

/// A hash without collisions among the known names; the factors were searched for, and `SLOTS` checks them.
#[inline]
const fn slot_of(name: &[u8]) -> usize {
    let length = name.len();
    if length == 0 {
        return 0;
    }
    let (first, last, fourth_last) = (name[0] | 0x20, name[length - 1] | 0x20, name[length.saturating_sub(4)] | 0x20);
    let hash = length * 128 + first as usize * 23 + last as usize * 80 + fourth_last as usize * 195;
    ((hash & 0xffff) ^ ((hash & 0xffff) >> 7)) & (SLOT_COUNT - 1)
}

static SLOTS: [(&str, FieldId); SLOT_COUNT] = slots();

const fn slots() -> [(&'static str, FieldId); SLOT_COUNT] {
    let mut slots = [("", FieldId::Other); SLOT_COUNT];
    let mut index = 0;
    while index < FieldId::ALL.len() {
        let id = FieldId::ALL[index];
        let slot = slot_of(id.name().as_bytes());
        assert!(slots[slot].0.is_empty(), "two names share a slot: other factors are needed");
        slots[slot] = (id.name(), id);
        index += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for &id in FieldId::ALL {
            assert_eq!(FieldId::of(id.name().as_bytes()), id);
            assert_eq!(FieldId::of(id.name().to_ascii_uppercase().as_bytes()), id);
        }
    }

    #[test]
    fn a_name_that_differs_in_one_byte_is_another_field() {
        for &id in FieldId::ALL {
            for index in 0..id.name().len() {
                for byte in (0u8..=255).filter(|byte| super::super::grammar::is_token(*byte)) {
                    let mut name = id.name().as_bytes().to_vec();
                    name[index] = byte;
                    let expected =
                        FieldId::ALL.iter().copied().find(|id| id.name().as_bytes().eq_ignore_ascii_case(&name));
                    assert_eq!(FieldId::of(&name), expected.unwrap_or_default(), "{}", name.escape_ascii());
                }
            }
        }
        assert_eq!(FieldId::of(b""), FieldId::Other);
        assert_eq!(FieldId::of(b"x-unheard-of"), FieldId::Other);
    }
}
