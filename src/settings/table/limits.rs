//! Limits.

use super::entry::{Differs, G, K, Lacks, M, Same, Setting, setting};
use crate::settings::kinds::{Bytes, BytesOrAny, Count};

pub(super) static ENTRIES: &[Setting] = &[
    setting!(
        limit_request_line: BytesOrAny,
        ["--limit-request-line"],
        Differs("The default is 8190 instead of 4094, as RFC 9112 asks for 8000 at least, and there is no cap at 8190."),
        "Bytes of the request line at most. Over it the answer is 414. 0 leaves only `limit_request_head`."
    ),
    setting!(
        limit_request_fields: Count<0, 32768>,
        ["--limit-request-fields"],
        Same,
        "Header fields of a request at most. Over it the answer is 431. 0 is the most that can be set, 32768."
    ),
    setting!(
        limit_request_field_size: BytesOrAny,
        ["--limit-request-field-size", "--limit-request-field_size"],
        Differs("The option can be written without its odd underscore."),
        "Bytes of a header field at most, name and value. Over it the answer is 431. 0 leaves only \
         `limit_request_head`."
    ),
    setting!(
        limit_request_head: Bytes<{ K }, { 16 * M }>,
        ["--limit-request-head"],
        Lacks,
        "Bytes of a request's head at most: the request line and all fields. Over it the answer is 431."
    ),
    setting!(
        limit_request_body: BytesOrAny,
        ["--limit-request-body"],
        Lacks,
        "Bytes of a request's body at most. Over it the answer is 413. 0 is no limit."
    ),
    setting!(
        body_memory: Bytes<0, { G }>,
        ["--body-memory"],
        Lacks,
        "Bytes of a request's body that are kept in memory. A larger one goes to an unlinked file in `worker_tmp_dir`."
    ),
    setting!(
        body_disk: Bytes<0, { i64::MAX as u64 }>,
        ["--body-disk"],
        Lacks,
        "Bytes of request bodies that a worker keeps in files at once. Over it the answer is 503. The files are in \
         `worker_tmp_dir`; where that is in memory, this is memory, too."
    ),
    setting!(
        peer_connections: Count<0, { M }>,
        ["--peer-connections"],
        Lacks,
        "How many connections one address may have in a worker; more are closed. 0 is no limit. A /64 of IPv6 is one \
         address. Loopback addresses and the proxies in `forwarded_allow_ips` and `proxy_allow_ips` have no limit, and \
         unix sockets have no addresses."
    ),
    setting!(
        keepalive_requests: Count<0, { i64::MAX as u64 }>,
        ["--keep-alive-requests"],
        Lacks,
        "Requests that are served on one connection before it is closed. 0 is no limit."
    ),
];
