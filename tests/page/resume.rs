//! Nothing that was said is lost or doubled, and the reader is told where something may be missing.

use std::net::SocketAddr;

use crate::browser::{Page, Reader};
use crate::kit::folder::Folder;
use crate::kit::program::{Program, roomd};
use crate::rig::{Line, Room};
use crate::tab::Tab;
use rustix::process::Signal;
use serde_json::json;

const CONNECTED: &str = "document.querySelector('[data-state=connected]')";
const LOST: &str = "document.querySelector('[data-state=lost]')";
const GAPS: &str = "[...document.querySelectorAll('.gap')].map((gap) => gap.textContent)";
const TEXTS: &str =
    "[...document.querySelectorAll('#messages .text')].map((text) => text.textContent)";

fn first(url: &str) -> Page {
    let page = Page::open_as(url, &Reader::first());
    page.wait("connected", CONNECTED);
    page
}

fn say(page: &Page, text: &str) {
    page.eval("document.querySelector('#messageText').focus()");
    page.insert(text);
    page.press("Enter", 0);
}

/// The same on a touch screen, where Enter makes a line.
fn tap(page: &Page, text: &str) {
    page.click("#messageText");
    page.insert(text);
    page.click("#composer button");
}

fn is_last(text: &str) -> String {
    format!("{TEXTS}.at(-1) === {text:?}")
}

fn lose(page: &Page, line: &Line) {
    page.eval("Math.random = () => 1");
    line.hang(true);
    line.cut();
    page.wait("lost", LOST);
}

fn come_back(page: &Page, line: &Line) {
    line.hang(false);
    page.eval("document.querySelector('#try-now').click()");
    page.wait("connected again", CONNECTED);
}

#[test]
fn every_screen_shows_the_same_conversation() {
    let folder = Folder::new();
    let start = |address: Option<SocketAddr>| {
        Room::start_with(|config| {
            config.state_dir = Some(folder.path().into());
            config.listen = address.unwrap_or(config.listen);
        })
    };
    let room = start(None);
    let address = room.address;
    let lines = [Line::to(address), Line::to(address)];
    let phone = Reader { width: 390, height: 844, phone: true, ..Reader::first() };
    let [one, two] = [0, 1].map(|index| Page::open_as(&lines[index].url(), &phone));
    for page in [&one, &two] {
        page.wait("connected", CONNECTED);
    }
    let mut script = room.join_saying(7, "from a script");
    tap(&one, "from one");
    two.wait("it", &is_last("from one"));

    // One loses the network, and the others talk on.
    lose(&one, &lines[0]);
    script.say("one is away");
    tap(&two, "so it is");
    script.hear_until(" says: so it is");
    script.say("until now");
    come_back(&one, &lines[0]);
    one.wait("all of it", &is_last("until now"));
    tap(&one, "I am back");
    two.wait("it", &is_last("I am back"));

    // All go through the server's restart. What one of them said into it is sent by itself.
    lines[1].hang(true);
    tap(&two, "and I?");
    two.wait("it is pending", "document.querySelector('#unsent .text')");
    drop(script);
    drop(room);
    one.wait("the loss", "!document.querySelector('[data-state=connected]')");
    lines[1].cut();
    two.wait("the loss", "!document.querySelector('[data-state=connected]')");
    lines[1].hang(false);
    let room = start(Some(address));
    one.wait("it", &is_last("and I?"));
    let mut script = room.join_saying(7, "the script, too");
    tap(&one, "all of us");
    script.hear_until(" says: all of us");

    let said = json!([
        "from a script",
        "from one",
        "one is away",
        "so it is",
        "until now",
        "I am back",
        "and I?",
        "the script, too",
        "all of us"
    ]);
    for page in [&one, &two] {
        page.wait("all of it", &is_last("all of us"));
        assert_eq!(page.eval(TEXTS), said);
        assert_eq!(page.eval(GAPS), json!([]));
        assert_eq!(page.eval("document.querySelectorAll('#unsent > *').length"), 0);
        assert_eq!(page.eval("document.querySelectorAll('.day').length"), 1);
    }
    // And whoever comes now reads the same.
    let third = first(&room.url());
    third.wait("all of it", &is_last("all of us"));
    assert_eq!(third.eval(TEXTS), said);
}

#[test]
fn who_reads_above_stays_there_when_the_page_resumes() {
    let room = Room::start();
    let line = Line::to(room.address);
    let page = Page::open(&line.url());
    let mut client = room.join_saying(5, "before");
    page.wait("it", &is_last("before"));
    page.eval("document.querySelector('#log').scrollTop = 2_000");
    page.wait("away from the end", "!document.querySelector('#jump').hidden");
    Tab::settle(&page);
    let place = "(() => { const log = document.querySelector('#log').getBoundingClientRect();
        const row = document.elementFromPoint(log.x + 60, log.y + 60).closest('li');
        return [row.textContent, Math.round(row.getBoundingClientRect().y - log.y)]; })()";
    let before = page.eval(place);
    lose(&page, &line);
    client.say_all((0..30).map(|n| format!("meanwhile {n}")));
    come_back(&page, &line);
    page.wait("all of it", &is_last("meanwhile 29"));
    assert_eq!(page.eval(place), before);
    assert_eq!(page.eval("document.querySelector('#jump').textContent"), "30 new");
    assert_eq!(
        page.eval(&format!("{TEXTS}.filter((text) => text === 'before').length")),
        1,
        "nothing is shown twice"
    );
}

#[test]
fn what_was_missed_is_counted_in_its_place() {
    let room = Room::start_with(|config| config.limits.history = 5);
    let line = Line::to(room.address);
    let page = first(&line.url());
    let mut client = room.join_saying(5, "before");
    page.wait("it", &is_last("before"));
    lose(&page, &line);
    client.say_all((1..=12).map(|n| format!("meanwhile {n}")));
    come_back(&page, &line);
    page.wait("the rest", &is_last("meanwhile 12"));
    assert_eq!(page.eval(GAPS), json!(["Messages missed: 7"]));
    let rows = page.eval(
        "[...document.querySelectorAll('#messages > :is(.message, .gap)')].map((row) => (row.querySelector('.text') ?? row).textContent)",
    );
    assert_eq!(
        rows,
        json!([
            "before",
            "Messages missed: 7",
            "meanwhile 8",
            "meanwhile 9",
            "meanwhile 10",
            "meanwhile 11",
            "meanwhile 12"
        ])
    );
}

#[test]
fn after_a_restart_messages_may_be_missing_and_own_ones_are_asked_about() {
    let room = Room::start();
    let address = room.address;
    let line = Line::to(address);
    let page = first(&line.url());
    say(&page, "one");
    page.wait("it", &is_last("one"));
    line.hang(true);
    say(&page, "two");
    page.wait("it is there at once", "document.querySelector('#unsent .text')");
    lose(&page, &line);
    drop(room);
    let room = Room::start_at(address);
    come_back(&page, &line);
    page.wait("the gap", &format!("{GAPS}.join() === 'Messages may be missing'"));
    page.wait(
        "it is asked about",
        "document.querySelector('#unsent .state')?.textContent === 'Possibly not sent'",
    );
    let mut client = room.join(5);
    // It survives a reload, since nobody has decided.
    page.reload();
    page.wait("it is asked about", "document.querySelectorAll('#unsent button').length === 2");
    page.click("#unsent button");
    client.hear_until(" says: two");
    page.wait("it is proven", "document.querySelectorAll('#unsent > *').length === 0");
    page.wait("it", &is_last("two"));
    say(&page, "three");
    client.hear_until(" says: three");
}

#[test]
fn with_the_history_on_the_disk_messages_may_be_missing_only_after_a_kill() {
    let folder = Folder::new();
    let start = |listen: &str| {
        Program::of(roomd(&["--state-dir", folder.arg()]).args(["--listen", listen]))
    };
    let mut program = start("127.0.0.1:0");
    let address = program.address.to_string();
    let page = first(&format!("http://{address}/"));
    say(&page, "one");
    page.wait("it", &is_last("one"));
    for (signal, text, gaps) in [
        (Signal::TERM, "two", json!([])),
        (Signal::KILL, "three", json!(["Messages may be missing"])),
        (Signal::TERM, "four", json!(["Messages may be missing"])),
    ] {
        program.signal(signal);
        program.ends();
        page.wait("the loss", "!document.querySelector('[data-state=connected]')");
        program = start(&address);
        page.wait(
            "connected again",
            "document.querySelector('[data-state=connected]') ||
             document.querySelector('#retry').textContent.startsWith('Next') && void document.querySelector('#try-now').click()",
        );
        say(&page, text);
        page.wait("it", &is_last(text));
        page.wait("it is proven", "document.querySelectorAll('#unsent > *').length === 0");
        assert_eq!(page.eval(GAPS), gaps, "after {signal:?}");
    }
    assert_eq!(page.eval(TEXTS), json!(["one", "two", "three", "four"]));
}

#[test]
fn what_can_be_discarded_is_gone() {
    let room = Room::start();
    let page = first(&room.url());
    // As the page of 0.1 left it.
    page.eval("sessionStorage.setItem('/unsent', JSON.stringify([{ id: '5', text: 'of old' }]))");
    page.reload();
    page.wait("it is asked about", "document.querySelectorAll('#unsent button').length === 2");
    page.click("#unsent button:last-of-type");
    page.wait("it is gone", "document.querySelectorAll('#unsent > *').length === 0");
    page.reload();
    page.wait("connected", CONNECTED);
    assert_eq!(page.eval("document.querySelectorAll('#unsent > *').length"), 0);
}

/// What the server says then is tested where senders wait for readers; here it is what the page does.
#[test]
fn a_text_that_waits_for_slow_readers_says_so() {
    let room = Room::start();
    let page = first(&room.url());
    // The server waits with what it is sent.
    page.eval(
        "(() => { const { send } = WebSocket.prototype;
           WebSocket.prototype.send = function (text) {
               if (text.includes('held back')) window.socket = this, window.held = text;
               else send.call(this, text);
           }; })()",
    );
    say(&page, "held back");
    let state = "document.querySelector('#unsent .state')?.textContent";
    page.wait("it is on its way", &format!("{state} === 'Sending…'"));
    page.eval("socket.onmessage({ data: JSON.stringify({ t: 'wait', n: JSON.parse(held).n }) })");
    page.wait("it waits for others", &format!("{state} === 'Waiting for slow readers…'"));
    // The server would say so again.
    page.wait("the wait is over", &format!("{state} === 'Sending…'"));
    page.eval("WebSocket.prototype.send = function () {}, socket.onmessage({ data: JSON.stringify({ t: 'ack', n: JSON.parse(held).n }) })");
    page.wait("it is proven", "document.querySelector('#unsent').children.length === 0");
}

#[test]
fn a_duplicated_tab_is_somebody_else() {
    let room = Room::start();
    let page = first(&room.url());
    say(&page, "from the first");
    page.wait("it", &is_last("from the first"));
    let name = page.eval("document.querySelector('#you').textContent");
    // A tab that a page opens begins with a copy of its session storage, as a duplicated one does.
    page.eval("(window.copy = window.open(location.href), null)");
    page.wait("the copy", "copy.document.querySelector('[data-state=connected]')");
    page.wait(
        "another name",
        &format!("copy.document.querySelector('#you').textContent.length === 8 && copy.document.querySelector('#you').textContent !== {name}"),
    );
    assert_eq!(page.eval("document.querySelector('#connection').dataset.state"), "connected");
    page.eval("copy.close()");
    say(&page, "still the first");
    page.wait("it", &is_last("still the first"));
    // Who only reloads stays who they are.
    page.reload();
    page.wait("the name", &format!("document.querySelector('#you').textContent === {name}"));
}

#[test]
fn a_secret_that_is_used_elsewhere_ends_a_page_until_it_is_wanted() {
    let room = Room::start();
    let (one, two) = (first(&room.url()), Page::open_as("about:blank", &Reader::first()));
    let me = one.eval("sessionStorage.getItem('/me')");
    two.call(
        "Page.addScriptToEvaluateOnNewDocument",
        json!({ "source": format!("if (!sessionStorage.getItem('/me')) sessionStorage.setItem('/me', {me})") }),
    );
    two.go(&room.url());
    two.wait("connected", CONNECTED);
    one.wait(
        "it says so",
        "document.querySelector('#status').textContent.includes('connected elsewhere')",
    );
    assert_eq!(one.eval("document.querySelector('#retry').textContent"), "");
    one.click("#try-now");
    one.wait("connected", CONNECTED);
    assert_eq!(two.eval("document.querySelector('#connection').dataset.state"), "connected");
    say(&one, "both are here");
    two.wait("it", &is_last("both are here"));
}

#[test]
fn who_comes_hears_what_was_said_and_may_ask_for_more() {
    let room = Room::start();
    let mut client = room.join(5);
    client.say_all((1..=300).map(|n| format!("number {n}")));
    let page = first(&room.url());
    page.wait("the last", &is_last("number 300"));
    assert_eq!(page.eval("document.querySelectorAll('.message').length"), 50);
    assert_eq!(page.eval("document.querySelectorAll('.day').length"), 1);
    assert_eq!(page.eval("document.querySelector('#jump').hidden"), true);
    page.eval("document.querySelector('#log').scrollTop = 0");
    page.wait("away from the end", "!document.querySelector('#jump').hidden");
    Tab::settle(&page);
    let place = "[...document.querySelectorAll('.message')].find((row) => row.textContent.includes('number 251')).getBoundingClientRect().top";
    let before = page.eval(place);
    page.click("#earlier");
    page.wait("200 more", "document.querySelectorAll('.message').length === 250");
    assert_eq!(page.eval("document.querySelectorAll('.day').length"), 1);
    let moved =
        page.eval(place).as_f64().zip(before.as_f64()).map(|(after, before)| after - before);
    assert!(moved.is_some_and(|pixels| pixels.abs() <= 1.0), "the reader was moved: {moved:?}");
    page.eval("document.querySelector('#log').scrollTop = 0");
    page.click("#earlier");
    page.wait("all of it", "document.querySelectorAll('.message').length === 301");
    assert_eq!(page.eval("document.querySelector('#earlier').hidden"), true);
    let ordered = page.eval(&format!(
        "{TEXTS}.slice(1).every((text, index) => text === `number ${{index + 1}}`)"
    ));
    assert_eq!(ordered, true);
}

#[test]
fn a_line_says_where_the_unread_begins() {
    let room = Room::start();
    let page = first(&room.url());
    let mut client = room.join_saying(5, "seen");
    page.wait("it", &is_last("seen"));
    let cover = page.hide();
    client.say("unseen");
    client.say("unseen, too");
    page.wait("it", &is_last("unseen, too"));
    page.show(&cover);
    let rows = "[...document.querySelectorAll('#messages > :is(.message, .unread)')].map((row) => (row.querySelector('.text') ?? row).textContent)";
    assert_eq!(page.eval(rows), json!(["seen", "New", "unseen", "unseen, too"]));
    // The next time it is elsewhere, and there is but one.
    let cover = page.hide();
    client.say("later");
    page.wait("it", &is_last("later"));
    page.show(&cover);
    assert_eq!(page.eval(rows), json!(["seen", "unseen", "unseen, too", "New", "later"]));
    // At the next visit, too.
    page.call("Page.navigate", json!({ "url": "about:blank" }));
    page.wait("another page", "location.href === 'about:blank'");
    client.say("while nobody looked");
    page.call("Page.navigate", json!({ "url": room.url() }));
    page.wait("it", &is_last("while nobody looked"));
    assert_eq!(
        page.eval(rows),
        json!(["seen", "unseen", "unseen, too", "later", "New", "while nobody looked"])
    );
}
