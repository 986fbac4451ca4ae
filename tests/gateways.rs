//! uwsgi, FastCGI and SCGI, as the web servers speak them that people have.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::faults;
use crate::support::address::free_port;
use crate::support::doors::Door;
use crate::support::gateways::{apache, apache_fcgid, haproxy, lighttpd, nginx, nginx_with};
use crate::support::programs::{self, output, require};
use crate::support::{Address, Client, Directory, SOON, Server, client, poll_until, process};
use crate::upgrade::upgradable;

const PROTOCOLS: [&str; 3] = ["uwsgi", "fastcgi", "scgi"];

fn server(protocol: &str) -> Server {
    Server::probe().speaking(protocol).start()
}

fn unix_server(protocol: &str) -> Server {
    let builder = Server::probe().speaking(protocol);
    let path = builder.directory().join("socket");
    // Apache drops root's rights.
    builder.bind(Address::unix(&path)).args(&["--socket-mode", "0666"]).start()
}

/// What the application sees, less what is the front-end's own business.
fn view(front: &Address, request: &str) -> Vec<String> {
    let mut client = Client::to(front);
    client.send(request).expect("sent");
    let answer = client.answer().expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    const ITS_OWN: [&str; 11] = [
        "protocol ",
        "server ",
        "peer ",
        "field connection: ",
        "field x-forwarded-",
        "field via: ",
        "param REMOTE_USER=",
        "param CONTEXT_",
        "param SERVER_",
        "param LC_",
        "param PATH=",
    ];
    let lines = answer.text();
    lines.lines().filter(|line| !ITS_OWN.iter().any(|own| line.starts_with(own))).map(str::to_owned).collect()
}

const POST: &str = "POST /view/a%20b//c?q=%41&r HTTP/1.1\r\nHost: shop.example:81\r\nContent-Type: text/x\r\n\
                    Content-Length: 5\r\nCookie: a=1\r\nX-Dup: 1\r\nX-Dup: 2\r\nAuthorization: Basic eDp5\r\n\
                    Accept: */*\r\n\r\nhello";

const GET: &str = "GET /view HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Proto: gopher\r\n\r\n";

/// What has to come through whichever way is taken.
fn check_the_common(front: &Address, name: &str, chunked: bool) {
    let mut client = Client::to(front);
    assert_eq!(client.get("/").text(), "hello", "{name}");
    let body = "b".repeat(200_000);
    client
        .send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        .expect("sent");
    assert_eq!(client.answer().expect("an answer").text(), body, "{name}");
    if chunked {
        client
            .send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n")
            .expect("sent");
        assert_eq!(client.answer().expect("an answer").text(), "abcdefgh", "{name}: chunked");
    }
    assert_eq!(client.get("/stream/300").body, vec![b's'; 300_000], "{name}: streamed");
    assert_eq!(client.get("/stream-known/300").body, vec![b's'; 300_000], "{name}: streamed, length known");
    assert_eq!(client.get("/large/500000").body.len(), 500_000, "{name}");
    assert_eq!(client.get("/channel/1").body.len(), 6000, "{name}: from a thread");
    let head = client.ask("HEAD", "/large/77", "").expect("an answer");
    assert_eq!((head.status, head.body.len()), (200, 0), "{name}: HEAD");
    // Some close after a failure.
    for status in [204, 304, 404, 500] {
        let answer = client::get(front, &format!("/status/{status}"));
        assert_eq!(answer.status, status, "{name}");
    }
    assert_eq!(client::get(front, "/early-hints").text(), "after the hints", "{name}");
    assert_eq!(client::get(front, "/later/5").text(), "later", "{name}");
    assert_eq!(client::get(front, "/drop").status, 500, "{name}");
    assert_eq!(client::get(front, "/panic").status, 500, "{name}");
}

#[test]
fn nginx_serves_the_application_by_every_protocol() {
    for protocol in PROTOCOLS {
        for server in [server(protocol), unix_server(protocol)] {
            let (_nginx, front) = nginx(protocol, &server.address);
            check_the_common(&front, &format!("{protocol} at {}", server.address), true);
        }
    }
}

#[test]
fn an_application_sees_the_same_whichever_protocol_nginx_speaks() {
    let http = Server::probe().start();
    let (_nginx, front) = programs::nginx(&http.address);
    // nginx passes a decoded path in the gateway protocols: one without double slashes can be compared.
    let post = POST.replace("//", "/");
    let expected = [view(&front, &post), view(&front, GET)];
    assert!(expected[0].contains(&"field x-dup: 1, 2".to_owned()), "{expected:?}");
    for protocol in PROTOCOLS {
        let server = unix_server(protocol);
        let (_nginx, front) = nginx(protocol, &server.address);
        // Debian's parameters leave the port out of the host.
        let without_port = |lines: Vec<String>| -> Vec<String> {
            lines.into_iter().map(|line| line.replace("shop.example:81", "shop.example")).collect()
        };
        assert_eq!(without_port(view(&front, &post)), without_port(expected[0].clone()), "{protocol}");
        assert_eq!(view(&front, GET), expected[1], "{protocol}");
        let text = client::get(&front, "/view").text();
        assert!(text.contains(&format!("protocol {protocol}\n")), "{text}");
        assert!(text.contains("peer 127.0.0.1:"), "{text}");
        assert!(text.contains(&format!("server Some(\"example.org\") Some(\"{}\")", front.port())), "{text}");
    }
}

#[test]
fn a_script_name_that_nginx_says_is_the_place_of_the_application() {
    let changes = |protocol: &str, params: &[(&str, &str)]| {
        let lines: String =
            params.iter().map(|(name, value)| format!("            {protocol}_param {name} {value};\n")).collect();
        format!("{lines}            {protocol}_pass ferricorn;")
    };
    for (protocol, extra) in [("uwsgi", "uwsgi_modifier1 30;"), ("fastcgi", ""), ("scgi", "")] {
        let server = server(protocol);
        let pass = format!("{protocol}_pass ferricorn;");
        // With modifier 30, uwsgi's PATH_INFO is nginx's own, the whole path.
        let info = if protocol == "uwsgi" { vec![] } else { vec![("PATH_INFO", "/view/x")] };
        let params =
            [vec![("SCRIPT_NAME", "/app"), ("OUR_OWN", "value"), ("UWSGI_FILE", "/etc/passwd")], info].concat();
        let to = format!("{extra}\n{}", changes(protocol, &params));
        let (_nginx, front) = nginx_with(protocol, &server.address, &[(pass.as_str(), to)]);
        let text = client::get(&front, "/app/view/x?q").text();
        for line in [
            "target /app/view/x?q",
            "path /app/view/x",
            "script name \"/app\"",
            "path info \"/view/x\"",
            "param OUR_OWN=value",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{protocol}: no {line:?} in {text}");
        }
        assert!(!text.contains("UWSGI"), "{text}");
    }
}

#[test]
fn nginx_keeps_its_fastcgi_connections_and_streams_a_body_of_unknown_length() {
    let server = server("fastcgi");
    let unbuffered =
        [("fastcgi_keep_conn on;", "fastcgi_keep_conn on;\n            fastcgi_request_buffering off;".to_owned())];
    let (_nginx, front) = nginx_with("fastcgi", &server.address, &unbuffered);
    let ports = || -> Vec<u16> {
        let connected = crate::support::sockets::connected(server.address.port());
        connected.iter().map(|socket| socket.peer_port).filter(|port| *port != server.address.port()).collect()
    };
    let mut client = Client::to(&front);
    client.get("/");
    let before = ports();
    assert!(!before.is_empty());
    for _ in 0..20 {
        client.get("/");
    }
    assert_eq!(ports(), before, "it had to connect again");
    // More than nginx reads at once, or it would know the length.
    let chunks = format!("10000\r\n{}\r\n", "c".repeat(0x10000)).repeat(5);
    client
        .send(format!("POST /view HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"))
        .expect("sent");
    let text = client.answer().expect("an answer").text();
    assert!(text.contains(&format!("\nbody {} ", 5 * 0x10000)), "{text}");
    assert!(!text.contains("field content-length"), "{text}");
}

#[test]
fn apache_serves_the_application_by_every_protocol() {
    for (protocol, scheme) in [("uwsgi", "uwsgi"), ("fastcgi", "fcgi"), ("scgi", "scgi")] {
        for server in [server(protocol), unix_server(protocol)] {
            let (_apache, front) = apache(scheme, &server.address);
            check_the_common(&front, &format!("{protocol} at {}", server.address), protocol == "fastcgi");
            let text = client::get(&front, "/view/a%20b?q=1").text();
            for line in ["target /view/a%20b?q=1", "path /view/a%20b", "query Some(\"q=1\")", "script name \"\""] {
                assert!(text.contains(&format!("{line}\n")), "{protocol}: no {line:?} in {text}");
            }
            assert!(text.contains("peer 127.0.0.1:"), "{text}");
        }
    }
}

#[test]
fn lighttpd_serves_the_application_by_fastcgi_and_scgi() {
    for protocol in ["fastcgi", "scgi"] {
        for server in [server(protocol), unix_server(protocol)] {
            let (_lighttpd, front) = lighttpd(protocol, &server.address);
            check_the_common(&front, &format!("{protocol} at {}", server.address), true);
            let text = client::get(&front, "/view/a%20b?q=1").text();
            for line in ["target /view/a%20b?q=1", "path /view/a%20b", "query Some(\"q=1\")", "script name \"\""] {
                assert!(text.contains(&format!("{line}\n")), "{protocol}: no {line:?} in {text}");
            }
        }
    }
}

#[test]
fn haproxy_serves_the_application_by_fastcgi_and_gets_no_multiplexing() {
    for server in [server("fastcgi"), unix_server("fastcgi")] {
        let multiplexing =
            [("option get-values", "option get-values\n    option mpxs-conns\n    option max-reqs 50".to_owned())];
        for changes in [&[][..], &multiplexing] {
            let (_haproxy, front) = haproxy(&server.address, changes);
            check_the_common(&front, &format!("at {}, {changes:?}", server.address), true);
            let text = client::get(&front, "/view/a%20b?q=1").text();
            for line in ["target /view/a%20b?q=1", "path /view/a%20b", "query Some(\"q=1\")", "script name \"\""] {
                assert!(text.contains(&format!("{line}\n")), "no {line:?} in {text}");
            }
            // Many at once, slow ones among them.
            let mut clients: Vec<_> = (0..20).map(|_| Client::to(&front)).collect();
            for (number, client) in clients.iter_mut().enumerate() {
                let target = if number % 2 == 0 { "/later/50" } else { "/" };
                client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).expect("sent");
            }
            for (number, client) in clients.iter_mut().enumerate() {
                let expected = if number % 2 == 0 { "later" } else { "hello" };
                assert_eq!(client.answer().expect("an answer").text(), expected);
            }
        }
    }
}

#[test]
fn cgi_fcgi_asks_as_a_responder_is_asked() {
    let server = server("fastcgi");
    let mut child = Command::new(require("cgi-fcgi"))
        .args(["-bind", "-connect", &server.address.to_string()])
        .env_clear()
        .envs([
            ("REQUEST_METHOD", "POST"),
            ("SCRIPT_NAME", "/echo"),
            ("CONTENT_LENGTH", "5"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cgi-fcgi");
    child.stdin.take().expect("a pipe").write_all(b"abcde").expect("written");
    let output = child.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("Status: 200 OK\r\n") && text.ends_with("\r\n\r\nabcde"), "{text}");
}

#[test]
fn several_protocols_are_served_at_once_and_the_setting_is_for_binds_without_a_scheme() {
    let [http, uwsgi, scgi] = [free_port(), free_port(), free_port()].map(Address::tcp);
    let server = Server::probe()
        .bound_to(scgi.clone())
        .args(&[
            "--protocol",
            "scgi",
            "-b",
            &scgi.bind(),
            "-b",
            &format!("http://{http}"),
            "-b",
            &format!("uwsgi://{uwsgi}"),
        ])
        .args(&["-w", "2"])
        .start();
    let line = server.wait_for_log("Listening at: ");
    for address in [format!("scgi://{scgi}"), format!("http://{http}"), format!("uwsgi://{uwsgi}")] {
        assert!(line.contains(&address), "{line}");
    }
    assert_eq!(client::get(&http, "/").text(), "hello");
    for (protocol, address) in [("uwsgi", &uwsgi), ("scgi", &scgi)] {
        let (_nginx, front) = nginx(protocol, address);
        assert_eq!(client::get(&front, "/").text(), "hello", "{protocol}");
    }
}

#[test]
fn who_speaks_the_wrong_protocol_is_told_so() {
    for protocol in PROTOCOLS {
        let server = server(protocol);
        let answer = client::get(&server.address, "/");
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("bind http://"), "{}", answer.text());
        server.wait_for_log(&format!("(http-to-{protocol})"));
    }
    let server = Server::probe().start();
    for protocol in PROTOCOLS {
        let bytes = std::fs::read(format!("tests/corpus/gateways/nginx.{protocol}")).expect("what nginx sends");
        let answer = client::exchange(&server.address, &bytes).expect("an answer");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 400") && text.contains(&format!("bind {protocol}://")), "{text}");
        server.wait_for_log(&format!("({protocol}-to-http)"));
    }
}

#[test]
fn only_those_on_the_list_may_speak_for_others() {
    for (allowed, variable, served) in
        [("192.0.2.0/24", "", false), ("127.0.0.0/8", "", true), ("", "192.0.2.1", false), ("", "127.0.0.1", true)]
    {
        let mut builder = Server::probe().speaking("uwsgi");
        if !allowed.is_empty() {
            builder = builder.args(&["--uwsgi-allow-from", allowed]);
        }
        if !variable.is_empty() {
            builder = builder.env("FCGI_WEB_SERVER_ADDRS", variable);
        }
        let server = builder.start();
        let bytes = std::fs::read("tests/corpus/gateways/nginx.uwsgi").expect("what nginx sends");
        let answer = client::exchange(&server.address, &bytes).unwrap_or_default();
        assert_eq!(!answer.is_empty(), served, "{allowed} {variable}: {}", answer.escape_ascii());
        assert_eq!(server.count_log("(uwsgi-forbidden)") > 0, !served, "{}", server.log());
    }
}

#[test]
fn a_uwsgi_ping_is_answered_and_what_would_control_the_server_is_refused() {
    let mut server = server("uwsgi");
    assert_eq!(client::exchange(&server.address, &[100, 0, 0, 0]).expect("an answer"), [100, 0, 0, 1]);
    let old = server.workers();
    for modifier in [5, 22, 97, 98, 110, 111, 173, 200, 255] {
        let answer = client::exchange(&server.address, &[modifier, 0, 0, 15]).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 501 "), "{modifier}: {}", answer.escape_ascii());
    }
    server.wait_for_log_times("(uwsgi-modifier)", 9);
    assert_eq!(server.workers(), old);
    server.stop();
}

#[test]
fn a_request_that_arrives_too_slowly_is_given_up_and_one_that_is_too_large_is_refused() {
    for protocol in PROTOCOLS {
        let server =
            Server::probe().speaking(protocol).args(&["--header-timeout", "1", "--limit-request-body", "2"]).start();
        let bytes = std::fs::read(format!("tests/corpus/gateways/nginx.{protocol}")).expect("what nginx sends");
        let answer = client::exchange(&server.address, &bytes).expect("an answer");
        assert!(
            String::from_utf8_lossy(&answer).contains(" 413 Content Too Large"),
            "{protocol}: {}",
            answer.escape_ascii()
        );
        let mut client = Client::to(&server.address);
        client.send(&bytes[..40]).expect("sent");
        let rest = client.rest().expect("an end");
        let text = String::from_utf8_lossy(&rest);
        // Until its variables are there, FastCGI has nobody to answer to.
        assert!(text.contains("408 Request Timeout") || protocol == "fastcgi", "{protocol}: {text}");
        server.wait_for_log("(head-timeout)");
    }
}

#[test]
fn the_access_log_names_the_client_and_what_it_asked_for() {
    for protocol in PROTOCOLS {
        let builder = Server::probe().speaking(protocol);
        let path = builder.directory().join("access");
        let format = r#"%(h)s "%(r)s" %(s)s %(B)s "%({x-dup}i)s""#;
        let server =
            builder.args(&["--access-logfile", &path.display().to_string(), "--access-logformat", format]).start();
        let bytes = std::fs::read(format!("tests/corpus/gateways/nginx.{protocol}")).expect("what nginx sends");
        client::exchange(&server.address, &bytes).expect("an answer");
        let line =
            poll_until("a line", SOON, || std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n')));
        assert!(line.starts_with("127.0.0.1 \"POST /") && line.contains(" HTTP/1.1\" 404 13 "), "{protocol}: {line}");
    }
}

#[test]
fn a_listening_socket_as_standard_input_makes_it_a_fastcgi_program() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = Address::Tcp(listener.local_addr().expect("its address"));
    let server = Server::probe().bound_to(address.clone()).args(&["-w", "2"]).stdin(listener).start();
    let line = server.wait_for_log("Listening at: ");
    assert!(line.contains(&format!("fastcgi://{address}")), "{line}");
    let (_nginx, front) = nginx("fastcgi", &address);
    assert_eq!(client::get(&front, "/").text(), "hello");
    // Standard input is another one by now.
    let old = server.wait_workers(2);
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&old, 2);
    assert_eq!(client::get(&front, "/").text(), "hello");
}

#[test]
fn a_new_binary_speaks_what_the_old_one_spoke() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let program = Address::Tcp(listener.local_addr().expect("its address"));
    let uwsgi = Address::tcp(free_port());
    // One whose standard input is the socket, which its successor's is not; and one that has bound it.
    let cases = [
        ("fastcgi", upgradable().bound_to(program).stdin(listener)),
        ("uwsgi", upgradable().bind(uwsgi).speaking("uwsgi")),
    ];
    for (protocol, builder) in cases {
        let mut server = builder.start();
        let (_nginx, front) = nginx(protocol, &server.address);
        let old = server.pid;
        server.signal(Signal::SIGUSR2);
        let pidfile = server.directory.join("pid.2");
        let new = poll_until("the new arbiter", SOON, || std::fs::read_to_string(&pidfile).ok()?.trim().parse().ok());
        server.adopt(new);
        poll_until("its workers", SOON, || (process::children(new).len() == 2).then_some(()));
        server.wait_for_log_times(&format!("Listening at: {protocol}://"), 2);
        process::signal(old, Signal::SIGTERM);
        poll_until("the old one to go", SOON, || server.exited());
        assert_eq!(client::get(&front, "/").text(), "hello", "{protocol}");
    }
}

#[test]
fn spawn_fcgi_starts_it() {
    let probe = crate::support::server::example("probe");
    let directory = Directory::new();
    let address = Address::unix(&directory.join("socket"));
    let pid = directory.join("pid");
    let (done, text) = output(
        "spawn-fcgi",
        &[
            "-s",
            &directory.join("socket").display().to_string(),
            "-P",
            &pid.display().to_string(),
            "--",
            &probe.display().to_string(),
        ],
    );
    assert!(done, "{text}");
    let pid: i32 = std::fs::read_to_string(pid).expect("its pid").trim().parse().expect("a number");
    let (_nginx, front) = nginx("fastcgi", &address);
    assert_eq!(client::get(&front, "/").text(), "hello");
    let all = process::tree(pid);
    process::signal(pid, Signal::SIGTERM);
    process::wait_gone(&all, SOON);
}

#[test]
fn apaches_mod_fcgid_starts_it() {
    // Apache gives up root's rights, and may not look into the directory where it was built.
    let programs = Directory::new();
    let program = programs.join("probe");
    std::fs::copy(crate::support::server::example("probe"), &program).expect("a copy");
    let (apache, front) = apache_fcgid(&program, &format!("--workers 1 --chdir {}", programs.path().display()));
    check_the_common(&front, "mod_fcgid", true);
    let text = client::get(&front, "/view/a%20b?q=1").text();
    for line in ["protocol fastcgi", "path /view/a%20b", "query Some(\"q=1\")", "script name \"\""] {
        assert!(text.contains(&format!("{line}\n")), "no {line:?} in {text}");
    }
    // What it has started ends with it.
    let all = process::tree(apache.pid());
    assert!(all.len() > 3, "Apache, its manager of programs, an arbiter, a worker: {all:?}");
    process::signal(apache.pid(), Signal::SIGTERM);
    process::wait_gone(&all[1..], SOON);
}

#[test]
fn reloads_lose_nothing_over_any_protocol() {
    for (protocol, keep) in [("uwsgi", false), ("fastcgi", false), ("fastcgi", true), ("scgi", false)] {
        let outcome = faults::reloads_behind_a_gateway(protocol, keep, 5, Duration::from_millis(300));
        outcome.check();
    }
}

#[test]
fn reloads_lose_nothing_of_clients_that_speak_the_protocols_themselves() {
    for door in Door::GATEWAYS {
        faults::reloads_at_a_door(door, 5, Duration::from_millis(300)).check();
    }
}
