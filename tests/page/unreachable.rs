//! Rooms that several servers share, while the engine between them is away.

use rustix::process::Signal;
use serde_json::json;

use crate::redis::{KEEPS, Redis};
use crate::rig::Room;
use crate::tab::Tab;
use crate::{browser, firefox};

const CONNECTED: &str = "document.querySelector('[data-state=connected]')";
const AWAY: &str = "document.querySelector('[data-state=away]')";
const SAID: &str = "document.querySelector('#status').textContent";
const WORDS: &str = "The room cannot be reached. Messages wait.";
const EMPTY: &str = "getComputedStyle(document.querySelector('#messages'), '::before').content";
const OWN: &str = "said('.mine').map((row) => row.querySelector('.text').textContent)";

/// Takes the engine away.
type Goes = fn(&mut Redis);

/// Has it back.
type Returns = fn(&mut Redis);

/// It is gone, and is started with what is on its disk.
const KILLED: (Goes, Returns) = (Redis::kill, Redis::start_again);

/// It holds its connections, and answers nothing until it goes on.
const STOPPED: (Goes, Returns) = (|it| it.signal(Signal::STOP), |it| it.signal(Signal::CONT));

#[test]
fn chromium() {
    is_told(|url| Box::new(browser::Page::open(url)), KILLED);
}

#[test]
fn chromium_of_an_engine_that_hangs() {
    is_told(|url| Box::new(browser::Page::open(url)), STOPPED);
}

#[test]
fn firefox() {
    is_told(|url| Box::new(firefox::Page::open(url)), KILLED);
}

/// The page says that the room cannot be reached, keeps what is written, and takes that back afterwards.
fn is_told(open: impl Fn(&str) -> Box<dyn Tab>, (goes, returns): (Goes, Returns)) {
    let mut redis = Redis::with(KEEPS);
    let room = Room::start_with(|config| config.engine = Some(redis.url()));
    let page = open(&room.url());
    let mut client = room.join(5);
    page.wait("the client", "said('.message').length === 1");
    assert_eq!(page.eval(SAID), "Connected");

    goes(&mut redis);
    page.wait("it is told", AWAY);
    assert_eq!(page.eval(SAID), WORDS);
    assert_eq!(page.eval("document.querySelector('#try-now').hidden"), true);
    page.click("#messageText");
    page.insert("while it is away");
    page.press("Enter", false);
    page.wait("it is pending", "document.querySelector('#unsent .text')");
    page.wait(
        "it is being sent, and waits for no reader",
        "document.querySelector('#unsent .state').textContent === 'Sending…'",
    );
    returns(&mut redis);
    page.wait("it is taken back", CONNECTED);
    client.hear_until(" says: while it is away");
    page.wait("it is proven", "document.querySelector('#unsent').children.length === 0");
    page.wait("it stands in the log", &format!("{OWN}.length === 1"));

    goes(&mut redis);
    page.wait("it is told", AWAY);
    // An echo needs no engine.
    page.go(&room.echo_url());
    page.wait("connected", CONNECTED);
    // Whoever comes meanwhile is refused, in the same words, and keeps what is typed.
    page.go(&room.url());
    page.wait("it is refused", "document.querySelector('[data-state=away]') && retry.textContent");
    assert_eq!(page.eval(SAID), WORDS);
    assert_eq!(page.eval("document.querySelector('#try-now').hidden"), false);
    page.click("#messageText");
    page.insert("typed before it was let in");
    page.press("Enter", false);
    page.wait("it is told why not", "hint.textContent.startsWith('Not connected.')");
    assert_eq!(page.eval("messageText.value"), "typed before it was let in");
    returns(&mut redis);
    page.wait("let in", CONNECTED);
    page.wait("what was said before", &format!("{OWN}.length === 1"));
    page.press("Enter", false);
    client.hear_until(" says: typed before it was let in");
    client.say("the end");
    page.wait(
        "the end",
        "[...document.querySelectorAll('.text')].at(-1)?.textContent === 'the end'",
    );
    assert_eq!(page.eval(OWN), json!(["while it is away", "typed before it was let in"]));
    assert_eq!(page.eval("faults"), json!([]));
}

/// The page's `hello` waits in `held`, for as long as it takes, and why its connections were closed is in `codes`.
const HELD: &str = "window.held = []; window.codes = [];
    const timer = setTimeout;
    window.setTimeout = (action, time) => time < 10_000 ? timer(action, time) : 0;
    const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function (text) {
        held.push(() => send.call(this, text));
        this.addEventListener('close', ({ code }) => codes.push(code));
    };";

#[test]
fn who_was_connected_and_is_not_in_the_room_yet() {
    let mut redis = Redis::with(KEEPS);
    let room = Room::start_with(|config| config.engine = Some(redis.url()));
    let other = browser::Page::open(&room.url());
    other.wait("connected", CONNECTED);
    let page = browser::Page::open_as("about:blank", &browser::Reader::first());
    page.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": HELD }));
    page.call("Page.navigate", json!({ "url": room.url() }));
    page.wait("its hello", "held.length");
    redis.kill();
    other.wait("it is told", AWAY);
    page.eval("held[0]()");
    page.wait("it is told", AWAY);
    assert_eq!(page.eval(SAID), WORDS);
    assert_eq!(page.eval("codes[0]"), 1013);
    assert_eq!(page.eval(EMPTY), "\"\"", "it does not know whether anything has been said");
    redis.start_again();
    page.wait("another hello", "held.length > 1");
    page.eval("held.slice(1).forEach((say) => say())");
    page.wait("let in", CONNECTED);
    page.wait("what was said before", "document.querySelectorAll('.message').length > 0");
}
