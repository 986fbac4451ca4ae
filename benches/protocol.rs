//! What the protocol itself costs: heads, bodies and responses, without sockets.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ferricorn::protocol::http1::Http1;
use ferricorn::protocol::{Event, Head, Length, Limits, Progress};

const WRK: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n";

const BROWSER: &[u8] = b"GET /articles/2024/an-article?page=2&sort=asc HTTP/1.1\r\n\
Host: www.example.com\r\n\
Connection: keep-alive\r\n\
Cache-Control: max-age=0\r\n\
sec-ch-ua: \"Chromium\";v=\"124\", \"Google Chrome\";v=\"124\", \"Not-A.Brand\";v=\"99\"\r\n\
sec-ch-ua-platform: \"Linux\"\r\n\
Upgrade-Insecure-Requests: 1\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Referer: https://www.example.com/articles/\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; csrftoken=fedcba9876543210; theme=dark\r\n\r\n";

const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: 5\r\n\r\nhello";
const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";
const FIELDS: [(&[u8], &[u8]); 1] = [(b"Content-Type", b"text/plain; charset=utf-8")];

fn receive(http: &mut Http1, head: &mut Head, mut input: &[u8]) -> usize {
    let limits = Limits::default();
    let mut events = 0;
    loop {
        let Ok(Progress { consumed, event }) = http.next_event(input, &limits, head) else { return 0 };
        events += 1;
        input = input.get(consumed..).unwrap_or_default();
        if matches!(event, Event::End | Event::NeedMore) {
            return events;
        }
    }
}

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive");
    for (name, input) in [("wrk", WRK), ("browser", BROWSER), ("post", POST)] {
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(name, |bencher| {
            let mut head = Head::default();
            bencher.iter(|| receive(&mut Http1::new(), &mut head, black_box(input)));
        });
    }
    group.bench_function("httparse alone, browser", |bencher| {
        bencher.iter(|| {
            let mut fields = [httparse::EMPTY_HEADER; 16];
            httparse::Request::new(&mut fields).parse(black_box(BROWSER)).is_ok()
        });
    });
    group.bench_function("httparse alone, wrk", |bencher| {
        bencher.iter(|| {
            let mut fields = [httparse::EMPTY_HEADER; 16];
            httparse::Request::new(&mut fields).parse(black_box(WRK)).is_ok()
        });
    });
    group.finish();
}

fn exchanges(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange");
    group.bench_function("wrk, hello", |bencher| {
        let (mut http, mut head, mut out) = (Http1::new(), Head::default(), Vec::with_capacity(4096));
        bencher.iter(|| {
            out.clear();
            receive(&mut http, &mut head, black_box(WRK));
            let _ = http.respond(200, None, FIELDS.into_iter(), Length::Known(13), DATE, &mut out);
            http.body(b"Hello, World!", &mut out);
            http.finish(&mut out)
        });
    });
    group.finish();
}

fn chunks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunked");
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice();
    for (name, chunk, count) in [("one byte each", b"1\r\nx\r\n".to_vec(), 10_000), ("4 KiB each", four_kib(), 16)] {
        let input = [head, &chunk.repeat(count), b"0\r\n\r\n"].concat();
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(name, |bencher| {
            let mut head = Head::default();
            bencher.iter(|| receive(&mut Http1::new(), &mut head, black_box(&input)));
        });
    }
    group.finish();
}

fn four_kib() -> Vec<u8> {
    [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat()
}

criterion_group!(benches, heads, exchanges, chunks);
criterion_main!(benches);
