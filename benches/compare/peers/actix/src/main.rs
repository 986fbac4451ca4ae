//! actix-web with one worker and its timers off: `peer-actix PORT`.

use std::io;
use std::time::Duration;

use actix_web::http::KeepAlive;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;

async fn hello() -> HttpResponse<Bytes> {
    let mut response = HttpResponse::with_body(actix_web::http::StatusCode::OK, Bytes::from_static(b"Hello, World!"));
    let headers = response.headers_mut();
    headers.append(SERVER, HeaderValue::from_static("benchmark"));
    headers.append(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[actix_web::main]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("usage: peer-actix PORT");
    HttpServer::new(|| App::new().service(web::resource("/").to(hello)))
        .workers(1)
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(Duration::ZERO)
        .tcp_nodelay(true)
        .bind(("127.0.0.1", port))?
        .run()
        .await
}
