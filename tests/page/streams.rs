//! What scripts in a browser can do over HTTP: an EventSource of the own page, and nothing from elsewhere.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crossbeam_channel::{Receiver, unbounded};
use serde_json::json;

use crate::browser::Page;
use crate::kit::peer::{Peer, get};
use crate::rig::Room;

#[track_caller]
fn publish(address: SocketAddr, text: &str) {
    let length = text.len();
    let request =
        format!("POST /lab HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{text}");
    assert_eq!(Peer::ask(address, request).status, 201);
}

#[test]
fn an_event_source_goes_on_after_a_restart() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.eval(
        "(() => {
            window.heard = []; window.hellos = 0;
            window.source = new EventSource('lab/sse');
            source.onmessage = (event) => heard.push(JSON.parse(event.data).text);
            source.addEventListener('hello', () => hellos++);
        })()",
    );
    page.wait("the first hello", "hellos === 1");
    publish(room.address, "one");
    page.wait("a message", "heard.length === 1");
    let address = room.address;
    drop(room);
    let room = Room::start_at(address);
    // Before the browser comes again, which it does with the last id: this one it has not heard.
    publish(room.address, "two");
    page.wait("what was said meanwhile", "hellos >= 2 && heard.length === 2");
    publish(room.address, "three");
    page.wait("what is said now", "heard.length === 3");
    assert_eq!(page.eval("heard"), json!(["one", "two", "three"]));
}

/// A page of another site, on another port of this machine: at `/` an ordinary one, at `/quiet` one that tells
/// nobody where it is. `asked` are the heads of requests for it.
struct Elsewhere {
    port: u16,
    asked: Receiver<String>,
}

impl Elsewhere {
    fn start() -> Elsewhere {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (heads, asked) = unbounded();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut bytes = [0; 4096];
                let len = stream.read(&mut bytes).unwrap_or(0);
                let head = String::from_utf8_lossy(&bytes[..len]).into_owned();
                let policy = if head.starts_with("GET /quiet ") { "no-referrer" } else { "" };
                let body = "<!doctype html><title>elsewhere</title>";
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
                     Referrer-Policy: {policy}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                if heads.send(head).is_err() {
                    return;
                }
            }
        });
        Elsewhere { port, asked }
    }
}

/// Everything by which a page could publish in a room at `target`, or read what is said there; what it has got.
fn attempts(target: &str) -> String {
    format!(
        "(async () => {{
            const seen = [];
            const note = (name) => (value) => seen.push(name + ' ' + value);
            const post = {{ method: 'POST', body: 'forged', headers: {{ 'Content-Type': 'text/plain' }} }};
            await fetch('{target}', post).then(note('fetch'), () => 0);
            await fetch('{target}', {{ ...post, mode: 'no-cors' }}).then((r) => r.text()).then((t) => t && note('no-cors')(t), () => 0);
            await fetch('{target}', {{ method: 'PUT', body: 'forged' }}).then(note('put'), () => 0);
            await fetch('{target}/json?poll=1').then((r) => r.text()).then(note('read'), () => 0);
            await fetch('{target}/text?poll=1', {{ mode: 'no-cors' }}).then((r) => r.text()).then((t) => t && note('read no-cors')(t), () => 0);
            navigator.sendBeacon('{target}', 'forged');
            const frame = document.createElement('iframe');
            frame.name = 'frame';
            document.body.append(frame);
            const form = document.createElement('form');
            Object.assign(form, {{ method: 'post', action: '{target}', enctype: 'text/plain', target: 'frame' }});
            const field = document.createElement('input');
            [field.name, field.value] = ['forged', 'form'];
            form.append(field);
            document.body.append(form);
            const sent = new Promise((done) => frame.addEventListener('load', done));
            form.submit();
            await sent;
            try {{ note('frame')(frame.contentDocument.body.textContent); }} catch {{}}
            for (const path of ['', '/text?poll=1', '/json?poll=1']) {{
                const image = new Image();
                await new Promise((done) => {{
                    image.onload = () => {{ note('image')(path); done(); }};
                    image.onerror = done;
                    image.src = '{target}' + path;
                }});
                const script = document.createElement('script');
                await new Promise((done) => {{
                    script.onload = () => {{ note('script')(path); done(); }};
                    script.onerror = done;
                    script.src = '{target}' + (path || '?poll=1');
                    document.body.append(script);
                }});
            }}
            const source = new EventSource('{target}/sse?since=all');
            await new Promise((done) => {{
                source.onmessage = (event) => {{ note('sse')(event.data); done(); }};
                source.onerror = done;
            }});
            source.close();
            for (const protocols of [['roomd.1'], []]) {{
                const socket = new WebSocket('{target}/ws'.replace('http', 'ws') + (protocols.length ? '' : '/7'), protocols);
                await new Promise((done) => {{
                    socket.onopen = () => {{ note('ws')('open'); done(); }};
                    socket.onerror = done;
                }});
            }}
            return seen;
        }})()"
    )
}

/// How many requests were refused since they came from elsewhere.
fn refused(room: &Room) -> u64 {
    let metrics = Peer::ask(room.address, get("/metrics", ""));
    let name = "roomd_refusals_total{status=\"403\",reason=\"origin\"} ";
    let count = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
    count.unwrap_or(0)
}

/// The page at `elsewhere` gets nothing from a room at `target`, and says nothing there. Of four requests of which
/// it sees nothing, so many are refused at least.
#[track_caller]
fn is_kept_out(page: &Page, room: &Room, elsewhere: &str, target: &str, refusals: u64) {
    page.call("Page.navigate", json!({ "url": elsewhere }));
    page.wait("the foreign page", "document.title === 'elsewhere'");
    assert_eq!(page.eval(&attempts(target)), json!([]), "{elsewhere} has got something");
    // Neither these three images nor what is fetched blindly shows anything of a room in any case. They are refused
    // so that they do not open streams.
    let images = format!(
        "Promise.all(['', '/text', '/json?1'].map((path) => new Promise((done) => {{
            const image = new Image();
            image.onload = image.onerror = done;
            image.src = '{target}' + path;
        }}))).then(() => fetch('{target}/text?poll=1', {{ mode: 'no-cors' }})).then(() => 0, () => 0)"
    );
    let before = refused(room);
    page.eval(&images);
    assert!(refused(room) >= before + refusals, "{elsewhere} has opened a stream");
    // A beacon may still be on its way.
    publish(room.address, "last");
    let said = Peer::ask(room.address, get("/lab/text?poll=1", ""));
    let texts: Vec<_> = said.text().lines().filter_map(|line| line.split_once(": ")).collect();
    assert!(
        texts.iter().all(|(_, text)| ["secret", "last"].contains(text)),
        "{elsewhere} has published: {}",
        said.text()
    );
}

#[test]
fn a_page_of_another_site_neither_publishes_nor_reads() {
    let room = Room::start();
    let page = Page::open(&room.url());
    publish(room.address, "secret");
    let elsewhere = Elsewhere::start();
    // By another name as well, so that it is another site and not only another origin.
    for path in ["", "quiet"] {
        let url = format!("http://localhost:{}/{path}", elsewhere.port);
        is_kept_out(&page, &room, &url, &format!("http://{}/lab", room.address), 4);
    }
}

/// On plain HTTP, and not on this machine, browsers do not say from which site a request comes.
#[test]
fn nor_does_it_where_the_browser_does_not_say_so() {
    let room = Room::start();
    let page = Page::open(&room.url());
    publish(room.address, "secret");
    let elsewhere = Elsewhere::start();
    let target = format!("http://boat.local:{}/lab", room.address.port());
    // What is fetched blindly by a page that does not say where it is looks like a program's request.
    for (path, refusals) in [("", 4), ("quiet", 3)] {
        let url = format!("http://elsewhere.example:{}/{path}", elsewhere.port);
        is_kept_out(&page, &room, &url, &target, refusals);
    }
    let heads: Vec<_> = elsewhere.asked.try_iter().collect();
    assert!(heads.iter().any(|head| head.starts_with("GET /quiet ")), "{heads:?}");
    assert!(
        !heads.iter().any(|head| head.contains("Sec-Fetch")),
        "this browser says so: {heads:?}"
    );
}
