use std::thread;

use roomd::AdminListen;

use crate::support::{Peer, Response, TestServer, UPGRADE, get, lossy, says};

/// More than the server reads of a request head.
const HEAD_BYTES: usize = 9000;

/// The page is asked for again with its tag; what belongs to it has another path in another version.
const ASK_AGAIN: &str = "no-cache";
const KEEP: &str = "max-age=31536000, immutable";

/// The fields that every part of the page comes with.
#[track_caller]
fn is_well_served(response: &Response, content_type: &str, keeping: &str) {
    assert_eq!(response.field("Content-Type"), Some(content_type), "{}", response.head);
    assert_eq!(response.field("Connection"), Some("close"));
    assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(response.field("Cache-Control"), Some(keeping));
    // Those of the page hold for what it loads.
    if content_type.starts_with("text/html") {
        assert_eq!(response.field("Referrer-Policy"), Some("no-referrer"));
        let policy = response.field("Content-Security-Policy").expect("a policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    let tag = response.field("ETag").expect("a tag");
    assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
}

#[test]
fn the_page_keeps_the_tutorials_ids() {
    let server = TestServer::start();
    let page = server.ask(get("/", ""));
    assert_eq!(page.status, 200);
    is_well_served(&page, "text/html; charset=utf-8", ASK_AGAIN);
    page.is_complete();
    for part in ["<form", "id=\"messageText\"", "id=\"messages\""] {
        assert!(page.text().contains(part), "the page lacks {part}");
    }
    let echo = server.ask(get("/echo", ""));
    assert_eq!((echo.status, &echo.body), (200, &page.body));
    assert_eq!(server.ask(get("/?from=elsewhere", "")).body, page.body);
}

/// All that the page names is there, and nothing of it is inline or from elsewhere.
#[test]
fn what_belongs_to_the_page_is_served() {
    let server = TestServer::start();
    let page = server.ask(get("/", ""));
    let named: Vec<_> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| page.text().split(attribute).skip(1))
        .map(|rest| rest.split('"').next().unwrap_or_default())
        // The icon is in the page itself.
        .filter(|name| name.contains('.') && !name.starts_with("./") && !name.starts_with("data:"))
        .collect();
    assert!(named.iter().any(|name| name.ends_with(".js")), "{named:?}");
    assert!(named.iter().any(|name| name.ends_with(".css")), "{named:?}");
    for name in named {
        let path = format!("/{}", name.trim_start_matches('/'));
        let response = server.ask(get(&path, ""));
        assert_eq!(response.status, 200, "{path}");
        let content_type = match path.rsplit('.').next() {
            Some("js") => "text/javascript",
            Some("css") => "text/css",
            _ => response.field("Content-Type").expect("a type"),
        };
        is_well_served(&response, content_type, KEEP);
        response.is_complete();
    }
    assert!(!page.text().contains("<style") && !page.text().contains("style=\""));
    assert!(
        page.text()
            .split("<script")
            .skip(1)
            .all(|script| { script.split('>').next().is_some_and(|tag| tag.contains("src=")) })
    );
}

#[test]
fn the_page_knows_how_long_a_message_may_be() {
    let server = TestServer::with(|config| config.limits.max_message = 1234);
    let page = server.ask(get("/", ""));
    assert!(page.text().contains("data-max-message=\"1234\""), "{}", page.text());
    page.is_complete();
}

#[test]
fn head_is_get_without_the_body() {
    let server = TestServer::start();
    for path in ["/", "/echo"] {
        let whole = server.ask(get(path, ""));
        let head = server.ask(get(path, "").replacen("GET", "HEAD", 1));
        assert_eq!(head.status, 200);
        assert!(head.body.is_empty(), "{head:?}");
        for name in ["Content-Type", "Content-Length", "ETag", "Connection"] {
            assert_eq!(head.field(name), whole.field(name), "{name}");
        }
    }
}

/// RFC 9110 section 9.3.2: a client takes a body behind the answer to HEAD for the next answer.
#[test]
fn a_refusal_of_head_has_no_body() {
    let server =
        TestServer::with(|config| config.admin = AdminListen::At(([127, 0, 0, 1], 0).into()));
    let admin = server.admin_address().expect("an address of its own");
    let long = format!("/{}", "x".repeat(HEAD_BYTES));
    for (status, target, host, fields) in [
        (400, "/", "localhost", "Host: other\r\n"),
        (400, "/invite?x", "localhost", ""),
        (400, "/%", "localhost", ""),
        (403, "/", "evil.example", ""),
        (403, "/ws", "localhost", &format!("{UPGRADE}Origin: null\r\n")),
        (404, "/no.thing", "localhost", ""),
        (405, "/ws", "localhost", UPGRADE),
        (431, &*long, "localhost", ""),
    ] {
        let request = format!("HEAD {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        let response = server.ask(&request);
        assert_eq!((response.status, &*response.body), (status, &b""[..]), "{target}");
        assert!(response.field("Content-Length").is_some_and(|len| len != "0"), "{target}");
        if status != 405 {
            let whole = server.ask(request.replacen("HEAD", "GET", 1));
            assert_eq!(whole.field("Content-Length"), response.field("Content-Length"), "{target}");
            whole.is_complete();
        }
    }
    let mut peer = Peer::connect(admin);
    peer.send("HEAD /no.thing HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let response = peer.response();
    assert_eq!((response.status, &*response.body), (404, &b""[..]));
}

/// Load balancers ask in this way whether a server is well.
#[test]
fn options_say_what_may_be_asked() {
    let server = TestServer::start();
    for target in ["*", "/"] {
        let response = server.ask(format!("OPTIONS {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!((response.status, &*response.body), (204, &b""[..]), "{target}");
        assert_eq!(response.field("Allow"), Some("GET, HEAD, OPTIONS"));
        assert_eq!(response.field("Content-Length"), None, "RFC 9110 section 8.6");
    }
    server.ask("GET * HTTP/1.1\r\nHost: localhost\r\n\r\n").refuses(404, "the chat");
}

/// RFC 3986 section 6.2.2.2: what is escaped without need means the same.
#[test]
fn a_path_is_decoded_once() {
    let server = TestServer::start();
    let mut room = server.join(1);
    let mut peer = server.connect();
    peer.send(get("/%77s/%31%32", UPGRADE));
    let mut twelfth = peer.upgraded();
    twelfth.say("here");
    room.hears(&says(12, "here"));
    for (path, status) in [
        ("/ws%2f1", 404),
        ("/ws%2F1", 404),
        ("/%2e%2e/ws", 404),
        ("/ws/%2531", 400),
        ("/%", 400),
        ("/%4", 400),
        ("/%zz", 400),
        ("/ws/1%00", 400),
        ("/%ff", 400),
    ] {
        assert_eq!(server.ask(get(path, "")).status, status, "{path}");
    }
}

/// Whatever the bytes of a field that is looked at, the answer is one, and the page goes on.
#[test]
fn odd_values_in_every_field_get_an_answer() {
    let server = TestServer::start();
    let page = server.ask(get("/", ""));
    for field in FIELDS {
        for value in ODD {
            for path in ["/", "/ws/1", "/invite?http://a/"] {
                let mut peer = server.connect();
                peer.send(format!("GET {path} HTTP/1.1\r\n"));
                if field != &"Host" {
                    peer.send("Host: localhost\r\n");
                }
                peer.send([field.as_bytes(), b": ", value, b"\r\n\r\n"].concat());
                let response = peer.response();
                let statuses = [200, 304, 400, 403, 426, 431];
                assert!(statuses.contains(&response.status), "{field}: {:?}", lossy(value));
                assert!(response.status == 200 || response.body.len() < 1000, "{}", response.head);
            }
        }
    }
    assert_eq!(server.ask(get("/", "")).body, page.body);
}

/// The fields that are looked at, and one that is not.
const FIELDS: &[&str] = &[
    "Host",
    "Origin",
    "If-None-Match",
    "Connection",
    "Upgrade",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Key",
    "Content-Length",
    "Transfer-Encoding",
    "X-Other",
];

const ODD: &[&[u8]] = &[
    b"",
    b" ",
    b"\t",
    b"*",
    b"\"",
    b",",
    b",,,",
    b"\xc3\xa9",
    b"\"\xc3\xa9\"",
    b"\xff\xfe",
    b"\x80",
    b"a\0b",
    b"\x7f",
    b"\x1b[2J",
    b"-1",
    b"0",
    b"99999999999999999999999",
    b"%00",
    b"W/\"",
    b"a\r\n folded",
    &[b'"'; 3000],
    &[b','; 3000],
    &[0xe9; 3000],
];

#[test]
fn a_client_that_has_the_page_gets_304() {
    let server = TestServer::start();
    let page = server.ask(get("/", ""));
    let tag = page.field("ETag").expect("a tag");
    for known in [tag.to_string(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".into()] {
        let response = server.ask(get("/", &format!("If-None-Match: {known}\r\n")));
        assert_eq!(response.status, 304, "{known}");
        assert!(response.body.is_empty(), "{response:?}");
        assert_eq!(response.field("ETag"), Some(tag));
        assert_eq!(response.field("Connection"), Some("close"));
    }
    let response = server.ask(get("/", "If-None-Match: \"another\"\r\n"));
    assert_eq!((response.status, &response.body), (200, &page.body));
}

/// What a client sends is never passed on as it came: a field that tiny_http would act on, or
/// could not read, makes no difference.
#[test]
fn fields_of_the_client_do_not_reach_the_page_side() {
    let server = TestServer::start();
    let page = server.ask(get("/", ""));
    for fields in [
        "Connection: keep-alive\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Expect: 100-continue\r\nContent-Length: 5\r\n",
        "TE: chunked;q=1\r\n",
        "Range: bytes=0-1\r\n",
        UPGRADE,
    ] {
        let response = server.ask(get("/", fields));
        assert_eq!((response.status, &response.body), (200, &page.body), "{fields}");
        assert_eq!(response.field("Connection"), Some("close"), "{fields}");
        response.is_complete();
    }
}

#[test]
fn a_browser_loads_everything_at_once() {
    let server = TestServer::start();
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert_eq!(server.ask(get("/", "")).status, 200));
        }
    });
}

#[test]
fn a_page_gets_the_link_and_the_code_to_invite_others_with() {
    let server = TestServer::start();
    let url = "https://chat.example/deep/room/";
    let path = format!("/invite?{url}");
    let whole = server.ask(get(&path, ""));
    assert_eq!(whole.status, 200, "{}", whole.head);
    assert!(whole.text().starts_with(&format!(r#"{{"url":"{url}","code":"#)), "{}", whole.text());
    assert_eq!(whole.field("Content-Type"), Some("application/json"));
    assert_eq!(whole.field("Cache-Control"), Some("no-store"));
    assert_eq!(whole.field("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(whole.field("Access-Control-Allow-Origin"), None);
    whole.is_complete();
    let head = server.ask(get(&path, "").replacen("GET", "HEAD", 1));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.field("Content-Length"), whole.field("Content-Length"));
    // On loopback, a link to localhost would be of no use to anybody else.
    let own = server.ask(get(&format!("/invite?http://{}/", server.address()), ""));
    let flag = format!(r#"{{"flag":"--listen [::]:{}"}}"#, server.address().port());
    assert_eq!(own.text(), flag);
}

#[test]
fn only_a_page_is_invited_to() {
    let server = TestServer::start();
    for query in ["", "?", "?javascript:alert(1)", "?http://", "?http://a/\"", "?http://a/?b"] {
        let response = server.ask(get(&format!("/invite{query}"), ""));
        response.refuses(400, "/invite?URL");
    }
    let long = format!("/invite?http://a/{}", "x".repeat(200));
    server.ask(get(&long, "")).refuses(400, "/invite?URL");
    let post = server.ask(get("/invite?http://a/", "").replacen("GET", "POST", 1));
    post.refuses(405, "Allow");
    assert_eq!(post.field("Allow"), Some("GET, HEAD"));
    let foreign = "GET /invite?http://a/ HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    server.ask(foreign).refuses(403, "--allow-host");
}
