//! The command line: what it prints, what it refuses, and with which exit code.

use crate::support::server::Finished;
use crate::support::{Address, Directory, Server, client};

#[track_caller]
fn run(args: &[&str]) -> Finished {
    Server::command().args(args).run()
}

#[test]
fn version_and_help_go_to_standard_output() {
    let version = run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout, format!("ferricorn (version {})\n", env!("CARGO_PKG_VERSION")));
    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for option in ["--bind", "--workers", "--graceful-timeout", "--access-logfile", "--check-config"] {
        assert!(help.stdout.contains(option), "{option} is not in the help:\n{}", help.stdout);
    }
}

#[test]
fn mistakes_end_with_gunicorns_exit_codes_and_say_what_is_wrong() {
    let directory = Directory::new();
    let site = format!("files://{}", directory.path().display());
    let unknown = directory.write("unknown.toml", "wrokers = 3\n").display().to_string();
    let broken = directory.write("broken.toml", "workers = [\n").display().to_string();
    let kind = directory.write("kind.toml", "workers = \"several\"\n").display().to_string();
    let missing = directory.join("missing.toml").display().to_string();
    let gone = format!("files://{}", directory.join("gone").display());
    let cases: &[(&[&str], &[i32], &str)] = &[
        (&["--wrokers", "2", &site], &[2], "--workers"),
        (&["--workers"], &[2], "--workers"),
        (&["--workers", "-1", &site], &[1, 2], "workers"),
        (&["--workers", "many", &site], &[2], "workers"),
        (&["--timeout", "soon", &site], &[2], "timeout"),
        (&["--bind", "127.0.0.1:99999", &site], &[1, 2], "99999"),
        (&[], &[1], "No application"),
        (&["-c", &missing, &site], &[1], "missing.toml"),
        (&["-c", &unknown, &site], &[1], "workers"),
        (&["-c", &broken, &site], &[1], "broken.toml"),
        (&["-c", &kind, &site], &[1], "workers"),
        (&["--bind", "unix:/nonexistent/directory/socket", &site], &[1], "/nonexistent/directory/socket"),
        (&["--bind", "127.0.0.1:0", "--chdir", "/nonexistent", &site], &[1], "/nonexistent"),
        (&["--bind", "127.0.0.1:0", &gone], &[1], "gone"),
        (&["--bind", "127.0.0.1:0", "--user", "nobody-of-that-name", &site], &[1], "nobody-of-that-name"),
    ];
    let mut wrong = Vec::new();
    for (args, codes, text) in cases {
        let end = run(args);
        if !end.code.is_some_and(|code| codes.contains(&code)) || !end.stderr.contains(text) {
            wrong.push(format!(
                "{args:?} ended with {:?}, not {codes:?}; expected {text:?} in: {}",
                end.code, end.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_application_that_python_would_have_to_load_is_refused_with_the_way_out() {
    let end = run(&["--bind", "127.0.0.1:0", "site.wsgi:application"]);
    assert!(matches!(end.code, Some(1 | 4)), "{end:?}");
    assert!(end.stderr.contains("pip install ferricorn"), "{end:?}");
}

#[test]
fn check_config_says_by_its_exit_code_whether_the_server_would_start() {
    let directory = Directory::new();
    let site = format!("files://{}", directory.path().display());
    assert_eq!(run(&["--check-config", &site]).code, Some(0));
    let gone = format!("files://{}", directory.join("gone").display());
    assert_eq!(run(&["--check-config", &gone]).code, Some(1));
}

#[test]
fn settings_come_from_environment_file_variable_and_command_line_in_this_order() {
    let directory = Directory::new();
    let site = format!("files://{}", directory.path().display());
    let file = directory.write("ferricorn.toml", "workers = 3\ntimeout = 33\nkeepalive = 9\n").display().to_string();
    let builder = Server::command()
        .env("WEB_CONCURRENCY", "2")
        .env("PORT", "20001")
        .env("FERRICORN_CMD_ARGS", "--timeout 44 --keep-alive 11 --graceful-timeout 12")
        .args(&["--print-config", "--keep-alive", "13", "-c", &file, &site]);
    let end = builder.run();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let value = |name: &str| {
        let line = end.stdout.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name} in\n{}", end.stdout)).trim().to_owned()
    };
    assert_eq!(value("workers"), "3");
    assert_eq!(value("timeout"), "44");
    assert_eq!(value("keepalive"), "13");
    assert_eq!(value("graceful_timeout"), "12");
    assert!(value("bind").contains("0.0.0.0:20001"), "{}", value("bind"));
    let names: Vec<_> =
        end.stdout.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim()).collect();
    assert!(names.is_sorted(), "{names:?}");
}

#[test]
fn a_settings_file_in_the_working_directory_is_read_unasked() {
    let directory = Directory::new();
    directory.write("ferricorn.toml", "workers = 3\n");
    let server = Server::files(directory.path()).wrapper(&[
        "sh",
        "-c",
        &format!("cd {} && exec \"$0\" \"$@\"", directory.path().display()),
    ]);
    server.start().wait_workers(3);
}

#[test]
fn a_rust_program_of_one_line_has_the_whole_command_line() {
    let hello = crate::support::server::example("hello");
    let mut server = Server::command().program(hello).args(&["-w", "2", "--access-logfile", "-"]);
    let address = Address::tcp(crate::support::address::free_port());
    server = server.bound_to(address.clone()).args(&["-b", &address.bind()]);
    let mut server = server.start();
    assert_eq!(client::get(&address, "/").text(), "Hello, World!");
    server.wait_workers(2);
    server.stop();
    assert!(server.stdout().contains("\"GET / HTTP/1.1\" 200 13"), "{}", server.stdout());
}

#[test]
fn a_first_generation_that_never_boots_ends_the_server_with_the_reason() {
    let cases = [("error", 3, "told to fail at boot"), ("application", 4, "told that there is no application")];
    for (failure, code, text) in cases {
        let end = Server::probe().env("BOOT_FAIL", failure).args(&["-w", "2"]).run();
        assert_eq!(end.code, Some(code), "{failure}:\n{}", end.stderr);
        assert!(end.stderr.contains(text), "{failure}:\n{}", end.stderr);
    }
    let panicking = Server::probe().env("BOOT_FAIL", "panic").run();
    assert_eq!(panicking.code, Some(3), "{}", panicking.stderr);
    assert!(panicking.stderr.contains("told to panic at boot"), "{}", panicking.stderr);
}

#[test]
fn the_readme_the_guide_and_the_examples_speak_of_options_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    // That of the Python package, which has all of them.
    let help = std::fs::read_to_string(root.join("docs/reference/help.txt")).expect("text");
    let files = |directory: &str| {
        let entries = std::fs::read_dir(root.join(directory)).expect(directory);
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    let mut unknown = Vec::new();
    for path in [files("examples"), files("docs/guide"), vec![root.join("README.md")]].concat() {
        let text = std::fs::read_to_string(&path).expect("text");
        // Lines about other programs are about their options.
        let others = ["systemctl", "systemd-tmpfiles", "gzip", "brotli", "zstd"];
        for line in text.lines().filter(|line| !others.iter().any(|other| line.contains(other))) {
            for (at, _) in line.match_indices("--") {
                let before = line[..at].chars().next_back().unwrap_or(' ');
                let option: String =
                    line[at..].chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '-').collect();
                let is_option = option.len() > 3 && !before.is_ascii_alphanumeric() && before != '-';
                if is_option && !help.contains(&format!("{option} ")) && !help.contains(&format!("{option}\n")) {
                    unknown.push(format!("{option} in {}", path.display()));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}
