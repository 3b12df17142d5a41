//! Rooms that several servers share, while the engine between them is away.

use serde_json::json;

use crate::redis::Redis;
use crate::rig::Room;
use crate::tab::Tab;
use crate::{browser, firefox};

const CONNECTED: &str = "document.querySelector('[data-state=connected]')";
const AWAY: &str = "document.querySelector('[data-state=away]')";
const SAID: &str = "document.querySelector('#status').textContent";
const OWN: &str = "said('.mine').map((row) => row.querySelector('.text').textContent)";

#[test]
fn chromium() {
    is_told(|url| Box::new(browser::Page::open(url)));
}

#[test]
fn firefox() {
    is_told(|url| Box::new(firefox::Page::open(url)));
}

/// The page says that the room cannot be reached, keeps what is written, and takes that back afterwards.
fn is_told(open: impl Fn(&str) -> Box<dyn Tab>) {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let room = Room::start_with(|config| config.engine = Some(redis.url()));
    let page = open(&room.url());
    let mut client = room.join(5);
    page.wait("the client", "said('.message').length === 1");
    assert_eq!(page.eval(SAID), "Connected");

    redis.kill();
    page.wait("it is told", AWAY);
    assert_eq!(page.eval(SAID), "The room cannot be reached. Messages wait.");
    assert_eq!(page.eval("document.querySelector('#try-now').hidden"), true);
    page.click("#messageText");
    page.insert("while it is away");
    page.press("Enter", false);
    page.wait("it is pending", "document.querySelector('#unsent .text')");
    page.wait(
        "it is being sent, and waits for no reader",
        "document.querySelector('#unsent .state').textContent === 'Sending…'",
    );
    redis.start_again();
    page.wait("it is taken back", CONNECTED);
    client.hear_until(" says: while it is away");
    page.wait("it is proven", "document.querySelector('#unsent').children.length === 0");
    page.wait("it stands in the log", &format!("{OWN}.length === 1"));

    // Whoever comes meanwhile is refused, in the same words.
    redis.kill();
    page.wait("it is told", AWAY);
    page.go(&room.url());
    page.wait("it is refused", "document.querySelector('[data-state=away]') && retry.textContent");
    assert_eq!(page.eval(SAID), "The room cannot be reached. Messages wait.");
    assert_eq!(page.eval("document.querySelector('#try-now').hidden"), false);
    // An echo needs no engine.
    page.go(&room.echo_url());
    page.wait("connected", CONNECTED);
    page.go(&room.url());
    redis.start_again();
    page.wait("let in", CONNECTED);
    page.wait("what was said before", &format!("{OWN}.length === 1"));
    client.say("the end");
    page.wait(
        "the end",
        "[...document.querySelectorAll('.text')].at(-1)?.textContent === 'the end'",
    );
    assert_eq!(page.eval(OWN), json!(["while it is away"]));
    assert_eq!(page.eval("faults"), json!([]));
}
