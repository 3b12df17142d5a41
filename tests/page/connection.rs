//! The connection's state is always shown and always true.

use crate::browser::{Page, Reader};
use crate::rig::{Line, Room};
use serde_json::json;

const CONNECTED: &str = "document.querySelector('[data-state=connected]')";
const LOST: &str = "document.querySelector('[data-state=lost]')";

#[test]
fn a_stopping_server_says_so_and_the_page_counts_down() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.wait("connected", CONNECTED);
    assert_eq!(page.eval("document.querySelector('#status').textContent"), "Connected");
    // The wait is random; this time it is long.
    page.eval("Math.random = () => 0.9999");
    drop(room);
    page.wait("closed", "document.querySelector('[data-state=closed]')");
    let shown = page.eval("document.querySelector('#status').textContent");
    assert!(shown.as_str().expect("a text").starts_with("Closed by the server: "), "{shown}");
    page.wait("lost after a try", LOST);
    page.wait("the seconds", "document.querySelector('#retry').textContent === 'Next try in 4 s'");
    page.wait("they go down", "document.querySelector('#retry').textContent === 'Next try in 3 s'");
    assert_eq!(page.eval("document.querySelector('#try-now').hidden"), false);
}

#[test]
fn a_person_can_try_now_and_the_network_and_the_tab_do() {
    let room = Room::start();
    let line = Line::to(room.address);
    let page = Page::open(&line.url());
    page.wait("connected", CONNECTED);
    page.eval("Math.random = () => 1");
    for comes_back in [
        "document.querySelector('#try-now').click()",
        "dispatchEvent(new Event('online'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
    ] {
        // Tries that fail make the next wait long.
        line.hang(true);
        line.cut();
        page.wait("lost", LOST);
        line.hang(false);
        page.eval(comes_back);
        page.wait("connected again", CONNECTED);
    }
}

#[test]
fn behind_a_proxy_on_a_sub_path() {
    let room = Room::start();
    let line = Line::to(room.address);
    let page = Page::open(&line.url());
    page.wait("connected", CONNECTED);
    let url = format!("ws://{}{}lobby/ws", line.address, crate::rig::SUB_PATH);
    let created = page.events("Network.webSocketCreated");
    assert!(created[0]["params"]["url"].as_str().expect("a text").starts_with(&url), "{created:?}");
    page.go(&format!("{}echo", line.url()));
    page.wait("connected", CONNECTED);
    let created = page.events("Network.webSocketCreated");
    assert_eq!(
        created[0]["params"]["url"],
        format!("ws://{}{}ws", line.address, crate::rig::SUB_PATH)
    );
}

/// The page notes what it sends.
const NOTED: &str = "(() => { window.sent = []; const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function (text) { sent.push(text); send.call(this, text); }; })()";

const ASKED: &str = "sent.some((text) => text.includes('\"ping\"'))";

#[test]
fn a_silent_line_is_asked_and_a_dead_one_is_left() {
    let room = Room::start();
    let line = Line::to(room.address);
    let page = Page::open(&line.url());
    page.wait("connected", CONNECTED);
    page.eval(NOTED);
    let later = |seconds: u32| {
        page.eval(&format!(
            "(() => {{ const now = Date.now; Date.now = () => now() + {seconds}_000; }})()"
        ));
    };
    // Half a minute of silence is a reason to ask, and an answer is enough.
    later(30);
    page.wait("it asked", ASKED);
    assert_eq!(page.eval("document.querySelector('#status').textContent"), "Connected");
    assert_eq!(page.events("Network.webSocketClosed").len(), 0);
    // No answer means that the line is dead.
    line.hang(true);
    later(30);
    page.wait("lost", LOST);
}

#[test]
fn a_full_server_refuses_with_its_reason() {
    let room = Room::start_with(|config| config.limits.max_clients = Some(1));
    let client = room.join(5);
    let page = Page::open_as(&room.url(), &Reader::first());
    page.wait("refused", "document.querySelector('[data-state=refused]')");
    let shown = page.eval("document.querySelector('#status').textContent");
    assert!(shown.as_str().expect("a text").contains("all places are taken"), "{shown}");
    drop(client);
    page.wait("connected", CONNECTED);
}

#[test]
fn attempts_wait_longer_until_one_has_held() {
    let room = Room::start();
    let line = Line::to(room.address);
    let page = Page::open(&line.url());
    page.wait("connected", CONNECTED);
    page.eval("Math.random = () => 0.9999");
    // It connects each time, but never holds.
    for seconds in [1, 2, 4] {
        line.cut();
        page.wait(
            "the wait",
            &format!("document.querySelector('#retry').textContent === 'Next try in {seconds} s'"),
        );
        page.wait("connected", CONNECTED);
    }
}

#[test]
fn the_back_button_brings_the_page_back_into_the_room() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.wait("connected", CONNECTED);
    let mut client = room.join(5);
    page.go(&room.echo_url());
    page.wait("connected to the echo", CONNECTED);
    assert!(client.hear().ends_with("left the chat"));
    page.eval("history.back()");
    page.wait(
        "in the room",
        &format!("document.documentElement.dataset.page === 'room' && {CONNECTED}"),
    );
    client.say("still here?");
    page.wait(
        "the message",
        "document.querySelector('#messages > li:last-child .text')?.textContent === 'still here?'",
    );
}

#[test]
fn the_echo_measures() {
    let room = Room::start();
    let page = Page::open(&room.echo_url());
    page.wait("a bar in the plot", "document.querySelector('#answered').getAttribute('d')");
    page.wait("the focus", "document.activeElement.id === 'messageText'");
    page.insert("hello there");
    page.press("Enter", 0);
    page.wait("the answer", "said('.message').length === 2");
    assert_eq!(
        page.eval("[...document.querySelectorAll('.text')].map((text) => text.textContent)"),
        json!(["hello there", "Message text was: hello there"])
    );
    for fact in [
        "/^Came back after [\\d.]+ ms$/.test(document.querySelectorAll('.sender')[1].textContent)",
        "['last', 'median', 'worst'].every((id) => /^[\\d.]+ ms$/.test(document.getElementById(id).textContent))",
        "document.querySelector('#unanswered').textContent === '0'",
        "/^0 to \\d+ ms/.test(document.querySelector('#scale').textContent)",
    ] {
        assert_eq!(page.eval(fact), true, "{fact}");
    }
}

/// Lets the page's clocks go on by `later` milliseconds at once.
const CLOCKS: &str = "(() => { window.later = 0;
    for (const clock of [Date, performance]) { const now = clock.now.bind(clock); clock.now = () => now() + later; } })()";

#[test]
fn a_page_that_rested_keeps_its_connection_and_hears_what_came_meanwhile() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let mut client = room.join(5);
    page.wait("the client", "said('.message').length === 1");
    page.eval(NOTED);
    page.eval(CLOCKS);
    // It does nothing for a second, and two minutes pass.
    std::thread::scope(|scope| {
        scope.spawn(|| page.eval("(() => { const end = Date.now() + 1_000; while (Date.now() < end); later = 120_000; })()"));
        client.say_all((0..300).map(|n| format!("meanwhile {n}")));
    });
    page.wait("all of it", "said('.message').length === 301");
    page.wait("it asked", ASKED);
    client.say("still here?");
    page.wait("what comes then", "said('.message').length === 302");
    assert_eq!(page.events("Network.webSocketClosed").len(), 0);
    assert_eq!(page.eval("said('.notice').length"), 0);
}

/// All that was said, once and in order, and nothing of a gap.
fn hears_all(page: &Page, count: usize) {
    let texts = "said('.message').map((row) => row.querySelector('.text').textContent).filter((text) => text.startsWith('meanwhile'))";
    page.wait("all of it", &format!("{texts}.length >= {count}"));
    let expected: Vec<_> = (0..count).map(|n| format!("meanwhile {n}")).collect();
    assert_eq!(page.eval(texts), json!(expected));
    assert_eq!(page.eval("document.querySelectorAll('.gap').length"), 0);
}

#[test]
fn a_frozen_tab_hears_what_it_missed() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let mut client = room.join(5);
    page.wait("the client", "said('.message').length === 1");
    page.eval(CLOCKS);
    // Chromium closes the connection of a frozen tab to which much is said.
    page.call("Page.setWebLifecycleState", json!({ "state": "frozen" }));
    client.say_all((0..300).map(|n| format!("meanwhile {n}")));
    page.eval("later = 3_600_000");
    page.call("Page.setWebLifecycleState", json!({ "state": "active" }));
    hears_all(&page, 300);
}

#[test]
fn the_back_button_brings_what_was_said_meanwhile() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let mut client = room.join(5);
    page.wait("the client", "said('.message').length === 1");
    page.go(&room.echo_url());
    client.say_all((0..30).map(|n| format!("meanwhile {n}")));
    page.eval("history.back()");
    page.wait(
        "in the room",
        &format!("document.documentElement.dataset.page === 'room' && {CONNECTED}"),
    );
    if page.eval("filled") == 0 {
        panic!("the browser has not kept the page");
    }
    hears_all(&page, 30);
}

#[test]
fn the_echo_leaves_out_its_first_answer() {
    let room = Room::start();
    let page = Page::open_as("about:blank", &Reader::first());
    // The first answer takes a minute.
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        json!({ "source": "const now = performance.now.bind(performance); let late = 0; performance.now = () => now() + late;
            const { send } = WebSocket.prototype;
            WebSocket.prototype.send = function (text) { send.call(this, text); setTimeout(() => { late = 60_000; }); };" }),
    );
    page.go(&room.echo_url());
    page.wait("a bar in the plot", "document.querySelector('#answered').getAttribute('d')");
    let worst = page.eval("parseFloat(document.querySelector('#worst').textContent)");
    assert!(worst.as_f64().expect("a number") < 10_000.0, "{worst}");
}
