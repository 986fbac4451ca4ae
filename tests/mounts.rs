//! `--mount`: several applications in one server.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Directory, Server};

fn site() -> Directory {
    let site = Directory::new();
    site.write("static/page.txt", "a page");
    site.write("static/deep/index.html", "deeper");
    site.write("root/page.txt", "a page of the root");
    site.write("spaced/page.txt", "a page in a spaced place");
    let script = site.write(
        "cgi/show",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n%s|%s|%s' \"$SCRIPT_NAME\" \"$PATH_INFO\" \"$QUERY_STRING\"",
    );
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let script = site.write("cgi/to-static", "#!/bin/sh\nprintf 'Location: /static/page.txt\\n\\n'");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    site
}

#[test]
fn the_longest_prefix_on_a_slash_decides_and_is_taken_from_the_path() {
    let site = site();
    let path = site.path().display();
    let mount = |prefix: &str, application: &str| format!("--mount={prefix}={application}");
    let mut server = Server::serving(format!("files://{path}/root"))
        .arg(mount("/static", &format!("files://{path}/static")))
        .arg(mount("/static/bin/", &format!("cgi://{path}/cgi")))
        .arg(mount("/one", &format!("cgi://{path}/cgi/show")))
        .arg(mount("/sp aced", &format!("files://{path}/spaced")))
        .start();
    let mut client = server.connect();
    for (target, status, body) in [
        ("/page.txt", 200, "a page of the root"),
        ("/static/page.txt", 200, "a page"),
        ("/st%61tic/page.txt", 200, "a page"),
        ("/sp%20aced/page.txt", 200, "a page in a spaced place"),
        ("/static/bin/show/x?q", 200, "/static/bin/show|/x|q"),
        ("/static/b%69n/show/x", 200, "/static/bin/show|/x|"),
        ("/one/two%20three", 200, "/one|/two three|"),
        ("/one", 200, "/one||"),
        ("/one/", 200, "/one|/|"),
        ("/onerous", 404, ""),
        ("/static%2Fpage.txt", 404, ""),
        ("/static/../page.txt", 400, ""),
        ("/static/bin/../../page.txt", 404, ""),
        ("/static/deep/", 200, "deeper"),
        // A program may send the client's request to another application.
        ("/static/bin/to-static", 200, "a page"),
    ] {
        let answer = client.get(target);
        assert_eq!(answer.status, status, "{target}");
        if status == 200 {
            assert_eq!(answer.text(), body, "{target}");
        }
    }
    for (target, location) in [("/static/deep", "/static/deep/"), ("/static", "/static/"), ("/st%61tic", "/st%61tic/")]
    {
        let answer = client.get(target);
        assert_eq!((answer.status, answer.field("location")), (301, Some(location)), "{target}");
    }
    server.stop();
}

#[test]
fn nothing_answers_where_nothing_is_mounted() {
    let site = site();
    let path = site.path().display();
    let mut server = Server::command_for_mounts().arg(format!("--mount=/a=files://{path}/static")).start();
    let mut client = server.connect();
    for (target, status) in [("/a/page.txt", 200), ("/page.txt", 404), ("/", 404), ("/b", 404)] {
        assert_eq!(client.get(target).status, status, "{target}");
    }
    server.stop();
    for (mount, problem) in [
        ("a=files://.", "--mount"),
        ("/=files://.", "--mount"),
        ("/a", "--mount"),
        ("/a/../b=files://.", "--mount"),
        ("/a=filse://.", "did you mean `files://.`"),
        ("/a=files:///no/such/place", "cannot serve the directory"),
    ] {
        let finished = Server::command().args(&["--mount", mount]).run();
        assert!(finished.code.is_some_and(|code| code > 0), "{mount}: {}", finished.stderr);
        assert!(finished.stderr.contains(problem), "{mount}: {}", finished.stderr);
    }
}
