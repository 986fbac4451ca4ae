//! Proxies in front.

use super::entry::{Differs, Same, Setting, setting};
use crate::settings::kinds::{FieldValues, Peers, ProxyMode};

pub(super) static ENTRIES: &[Setting] = &[
    setting!(
        forwarded_allow_ips: Peers,
        ["--forwarded-allow-ips"],
        Same,
        "Addresses and networks of the proxies whose forwarded header fields are believed, with commas between them. `*` \
         believes everybody, nothing believes nobody. Peers on unix sockets always are believed."
    )
    .variable("FORWARDED_ALLOW_IPS"),
    setting!(
        secure_scheme_headers: FieldValues,
        [],
        Same,
        "Header fields, and for each the value with which a believed proxy says that the client came by https."
    ),
    setting!(
        proxy_protocol: ProxyMode,
        ["--proxy-protocol"],
        Differs(
            "A connection that does not begin with it is refused, as the specification asks: a client could send the header \
             itself through a proxy that does not."
        ),
        "The versions of the PROXY header that every connection begins with. `off`, `v1`, `v2` or `auto`; the option alone \
         is `auto`."
    ),
    setting!(
        proxy_allow_ips: Peers,
        ["--proxy-allow-from"],
        Same,
        "Addresses and networks of the peers that may send a PROXY header, with commas between them."
    ),
];
