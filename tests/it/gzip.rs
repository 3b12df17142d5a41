use std::io::Read;

use flate2::read::GzDecoder;

use crate::support::{Response, TestServer, get};

const TAKES_GZIP: &str = "Accept-Encoding: gzip, deflate, br, zstd\r\n";

/// The paths of all files that the room's page loads, itself first.
fn paths(server: &TestServer) -> Vec<String> {
    let page = server.ask(get("/", ""));
    let mut paths = vec!["/".to_string()];
    for attribute in ["src=\"", "href=\""] {
        for rest in page.text().split(attribute).skip(1) {
            let name = rest.split('"').next().unwrap_or_default();
            let path = format!("/{name}");
            if name.starts_with("assets/") && !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    assert!(paths.len() > 5, "{paths:?}");
    paths
}

#[track_caller]
fn is_compressed(response: &Response) -> Vec<u8> {
    assert_eq!(response.field("Content-Encoding"), Some("gzip"), "{}", response.head);
    response.is_complete();
    let mut plain = Vec::new();
    // It also checks the sum at the end.
    GzDecoder::new(&*response.body).read_to_end(&mut plain).expect("gzip");
    plain
}

#[test]
fn whoever_takes_gzip_gets_the_same_bytes_compressed() {
    let server = TestServer::start();
    for path in paths(&server).iter().map(String::as_str).chain(["/echo"]) {
        let plain = server.ask(get(path, ""));
        let compressed = server.ask(get(path, TAKES_GZIP));
        assert_eq!((plain.status, compressed.status), (200, 200), "{path}");
        assert_eq!(plain.field("Content-Encoding"), None, "{path}");
        assert_eq!(is_compressed(&compressed), plain.body, "{path}");
        for name in ["Content-Type", "Cache-Control", "Content-Security-Policy", "Connection"] {
            assert_eq!(plain.field(name), compressed.field(name), "{path}");
        }
        // Caches keep the two apart.
        for response in [&plain, &compressed] {
            assert_eq!(response.field("Vary"), Some("Accept-Encoding"), "{path}");
        }
        assert_ne!(plain.field("ETag"), compressed.field("ETag"), "{path}");
    }
}

/// RFC 9110 section 12.5.3.
#[test]
fn gzip_is_sent_to_those_who_ask_for_it() {
    let server = TestServer::start();
    let page = server.ask(get("/", ""));
    for (fields, is_gzip) in [
        ("Accept-Encoding: gzip\r\n", true),
        ("accept-encoding: br;q=1.0, GZIP;q=0.5\r\n", true),
        ("Accept-Encoding: *\r\n", true),
        ("Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", true),
        ("Accept-Encoding:\r\n", false),
        ("Accept-Encoding: identity\r\n", false),
        ("Accept-Encoding: gzip;q=0, *\r\n", false),
        ("Accept-Encoding: gzip;q=0.0, br\r\n", false),
        ("Accept-Encoding: *;q=0\r\n", false),
        ("Accept-Encoding: identity, gzip;q=0.1\r\n", false),
        ("Accept-Encoding: gzip;q=nonsense\r\n", false),
        ("TE: gzip\r\n", false),
    ] {
        let response = server.ask(get("/", fields));
        assert_eq!(response.status, 200, "{fields}");
        let body = if is_gzip { is_compressed(&response) } else { response.body.clone() };
        assert_eq!(response.field("Content-Encoding").is_some(), is_gzip, "{fields}");
        assert_eq!(body, page.body, "{fields}");
    }
    let odd = b"GET / HTTP/1.1\r\nHost: a.local\r\nAccept-Encoding: gzip\xff\r\n\r\n";
    let response = server.ask(odd);
    assert_eq!((response.status, response.body), (200, page.body));
}

#[test]
fn head_and_304_belong_to_their_encoding() {
    let server = TestServer::start();
    for path in &paths(&server)[..2] {
        let (plain, compressed) = (server.ask(get(path, "")), server.ask(get(path, TAKES_GZIP)));
        for (whole, fields) in [(&plain, ""), (&compressed, TAKES_GZIP)] {
            let head = server.ask(get(path, fields).replacen("GET", "HEAD", 1));
            assert_eq!((head.status, &*head.body), (200, &b""[..]), "{path}");
            for name in ["Content-Length", "Content-Encoding", "ETag", "Vary"] {
                assert_eq!(head.field(name), whole.field(name), "{path}");
            }
            let tag = whole.field("ETag").expect("a tag");
            let known = server.ask(get(path, &format!("{fields}If-None-Match: {tag}\r\n")));
            assert_eq!((known.status, &*known.body), (304, &b""[..]), "{path}");
            for name in ["ETag", "Vary", "Cache-Control"] {
                assert_eq!(known.field(name), whole.field(name), "{path}");
            }
        }
        // What one has in the other encoding is not what would be sent.
        let tag = plain.field("ETag").expect("a tag");
        let other = server.ask(get(path, &format!("{TAKES_GZIP}If-None-Match: {tag}\r\n")));
        assert_eq!((other.status, other.body), (200, compressed.body), "{path}");
    }
}

/// The bound is written into the page, which then goes out as it is.
#[test]
fn another_bound_of_a_message_is_in_the_page_for_everybody() {
    let server = TestServer::with(|config| config.limits.max_message = 1234);
    let page = server.ask(get("/", TAKES_GZIP));
    assert!(page.text().contains("data-max-message=\"1234\""), "{}", page.text());
    assert_eq!(page.field("Vary"), Some("Accept-Encoding"));
    page.is_complete();
    is_compressed(&server.ask(get(&paths(&server)[1], TAKES_GZIP)));
}

/// On a slow line it is the bytes that count.
#[test]
fn the_room_is_loaded_with_25_kb() {
    let server = TestServer::start();
    let sizes = paths(&server).into_iter().map(|path| {
        let response = server.ask(get(&path, TAKES_GZIP));
        response.head.len() + response.body.len()
    });
    let bytes: usize = sizes.sum();
    assert!(bytes <= 25_000, "it takes {bytes}");
}

/// Refusals, invitations and metrics are short or for programs.
#[test]
fn other_answers_are_not_compressed() {
    let server = TestServer::start();
    for path in ["/no.thing", "/ws/1", "/invite?http://a.example/", "/metrics", "/healthz"] {
        let response = server.ask(get(path, TAKES_GZIP));
        assert_eq!(response.field("Content-Encoding"), None, "{path}");
        response.is_complete();
        assert!(!response.text().is_empty(), "{path}");
    }
}
