//! What scripts in a browser can do over HTTP: an EventSource of the own page, and nothing from elsewhere.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crate::browser::Page;
use crate::kit::peer::{Peer, get};
use crate::rig::Room;
use serde_json::json;

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

/// A page of another site, on another port of this machine.
fn foreign_page() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let body = "<!doctype html><title>elsewhere</title>";
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

#[test]
fn a_page_of_another_site_neither_publishes_nor_reads() {
    let room = Room::start();
    let page = Page::open(&room.url());
    publish(room.address, "secret");
    let elsewhere = foreign_page();
    // By another name as well, so that it is another site and not only another origin.
    page.call("Page.navigate", json!({ "url": format!("http://localhost:{}/", elsewhere.port()) }));
    page.wait("the foreign page", "document.title === 'elsewhere'");
    let target = format!("http://{}/lab", room.address);
    let tried = format!(
        "(async () => {{
            const seen = [];
            const note = (name) => (value) => seen.push(name + ' ' + value);
            const post = {{ method: 'POST', body: 'forged', headers: {{ 'Content-Type': 'text/plain' }} }};
            await fetch('{target}', post).then(note('fetch'), () => 0);
            await fetch('{target}', {{ ...post, mode: 'no-cors' }}).then((r) => r.text()).then((t) => t && note('no-cors')(t), () => 0);
            await fetch('{target}', {{ method: 'PUT', body: 'forged' }}).then(note('put'), () => 0);
            await fetch('{target}/json?poll=1').then((r) => r.text()).then(note('read'), () => 0);
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
            const image = new Image();
            await new Promise((done) => {{
                image.onload = image.onerror = done;
                image.src = '{target}/text?poll=1';
            }});
            const source = new EventSource('{target}/sse?since=all');
            await new Promise((done) => {{
                source.onmessage = (event) => {{ note('sse')(event.data); done(); }};
                source.onerror = done;
            }});
            source.close();
            const socket = new WebSocket('{target}/ws'.replace('http', 'ws'), 'roomd.1');
            await new Promise((done) => {{
                socket.onopen = () => {{ note('ws')('open'); done(); }};
                socket.onerror = done;
            }});
            return seen;
        }})()"
    );
    assert_eq!(page.eval(&tried), json!([]));
    let said = Peer::ask(room.address, get("/lab/text?poll=1", ""));
    assert!(
        said.text().ends_with(": secret\n") && said.text().lines().count() == 1,
        "{}",
        said.text()
    );
}
