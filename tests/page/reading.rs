//! Messages as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::browser::{Page, Reader};
use crate::rig::{Line, Room};
use serde_json::json;

/// The texts of all messages, in order.
const TEXTS: &str =
    "[...document.querySelectorAll('.message .text')].map((text) => text.textContent)";

fn last_is(text: &str) -> String {
    format!("document.querySelector('#messages > li:last-child .text')?.textContent === {text:?}")
}

#[test]
fn two_pages_talk() {
    let room = Room::start();
    let one = Page::open_as(&room.url(), &Reader::first());
    let two = Page::open_as(&room.url(), &Reader::first());
    for page in [&one, &two] {
        page.wait("connected", "document.querySelector('[data-state=connected]')");
    }
    let name = |page: &Page| page.eval("document.querySelector('#you').textContent");
    one.insert("hello from one");
    one.press("Enter", 0);
    two.wait("the other's message", &last_is("hello from one"));
    let seen = two.eval(
        "(() => { const row = said('.message')[0];
           return [row.className, row.querySelector('.sender').textContent, row.querySelector('time').dateTime.slice(0, 2)]; })()",
    );
    assert_eq!(seen, json!(["message", name(&one), "20"]));

    one.wait("one's own message", &last_is("hello from one"));
    assert_eq!(
        one.eval("[said('.message')[0].className, said('.message')[0].querySelector('.sender bdi').textContent]"),
        json!(["message mine", "You"])
    );
    assert_eq!(one.eval("document.querySelectorAll('#unsent > *').length"), 0);
    two.insert("and back");
    two.press("Enter", 0);
    one.wait("the answer", &last_is("and back"));
    assert_eq!(one.eval("document.querySelectorAll('#messages > .day').length"), 1);

    let left = format!("\u{2068}{}\u{2069} left", name(&two).as_str().expect("a name"));
    drop(two);
    one.wait(
        "the notice",
        &format!("[...document.querySelectorAll('.notice p')].at(-1).textContent === '{left}'"),
    );
}

#[test]
fn senders_are_told_apart() {
    let room = Room::start();
    let page = Page::open(&room.url());
    for (id, rows) in [(5, 3), (6, 6)] {
        // A notice between two messages would part them, so the one before has to be gone.
        room.join(id).say("one");
        page.wait("two messages and a notice", &format!("said('li').length === {rows}"));
    }
    let hues =
        page.eval("said('.message').map((row) => Number(row.style.getPropertyValue('--hue')))");
    let hue = |index: usize| hues[index].as_f64().expect("a hue");
    assert_eq!(hue(0), hue(1));
    assert!((hue(0) - hue(2)).abs() > 60.0, "{hues}");
    // The second message of a sender stands with the first, but still says to a screen reader who
    // speaks.
    assert_eq!(
        page.eval("said('.message').map((row) => row.querySelector('.sender').textContent).join()"),
        "#5,#5,#6,#6"
    );
    assert_eq!(page.eval("said('.grouped').length"), 2);
}

#[test]
fn somebody_with_my_number_is_not_me() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let mut client = room.join(5);
    page.insert("it is me");
    page.press("Enter", 0);
    let heard = client.hear();
    let number = heard.strip_prefix("Client #").and_then(|rest| rest.split(' ').next());
    let number = number.expect("a number").parse().expect("a number");
    room.join(number).say("I am you");
    page.wait("the message", &last_is("I am you").replace(":last-child", ":nth-last-child(2)"));
    assert_eq!(page.eval("document.querySelectorAll('#messages > .mine').length"), 1);
}

#[test]
fn a_new_day_is_told() {
    let room = Room::start();
    let line = Line::to(room.address);
    let page = Page::open(&line.url());
    let mut client = room.join_saying(5, "today");
    page.wait("the message", &last_is("today"));
    // The server's clock is behind, which the page learns when it joins.
    page.eval("(() => { const now = Date.now; Date.now = () => now() + 86_400_000; })()");
    line.cut();
    page.wait("lost", "document.querySelector('[data-state=lost]')");
    page.eval("document.querySelector('#try-now').click()");
    page.wait("connected again", "document.querySelector('[data-state=connected]')");
    client.say("tomorrow");
    page.wait("the message", &last_is("tomorrow"));
    let rows = page.eval("said('li').map((row) => row.className)");
    assert_eq!(rows, json!(["message", "day", "message"]));
    let days = page.eval("[...document.querySelectorAll('.day')].map((day) => day.textContent)");
    assert_ne!(days[0], days[1]);
}

#[test]
fn links_code_and_lines() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let mut client = room.join(5);
    for (text, links) in [
        ("see https://example.com/a?b=c#d.", vec!["https://example.com/a?b=c#d"]),
        ("(http://192.168.1.5:8000/x_(y))", vec!["http://192.168.1.5:8000/x_(y)"]),
        ("請看https://example.com，謝謝", vec!["https://example.com"]),
        ("https://zh.wikipedia.org/wiki/臺灣", vec!["https://zh.wikipedia.org/wiki/臺灣"]),
        (
            "http://[::1]:8000/ and HTTPS://EXAMPLE.COM",
            vec!["http://[::1]:8000/", "HTTPS://EXAMPLE.COM"],
        ),
        ("javascript:alert(1) data:text/html,x ftp://example.com file:///etc", vec![]),
        ("http:// https://", vec![]),
        ("`http://in.code/` stays code", vec![]),
        ("a\n\tb  c\n\n```\nfn main() {\n    x\n}\n```\nend", vec![]),
    ] {
        client.say(text);
        page.wait("the message", &last_is(text));
        let found = page.eval(
            "[...document.querySelectorAll('#messages > li:last-child a')].map((link) => [link.textContent, link.getAttribute('href'), link.rel, link.target])",
        );
        let expected: Vec<_> =
            links.iter().map(|link| json!([link, link, "noopener noreferrer", "_blank"])).collect();
        assert_eq!(found, json!(expected), "{text}");
    }
    let row = "document.querySelector('#messages > li:last-child .text')";
    assert_eq!(
        page.eval(&format!("{row}.querySelector('code.block').textContent")),
        "```\nfn main() {\n    x\n}\n```\n"
    );
    // Three lines of code are seen as three, without the fences, and scroll by keyboard.
    let block = page.eval(&format!(
        "(() => {{ const block = {row}.querySelector('.block'), style = getComputedStyle(block);
           return [Math.round((block.clientHeight - parseFloat(style.paddingTop) * 2) / parseFloat(style.lineHeight)), block.innerText.includes('`'), block.tabIndex]; }})()"
    ));
    assert_eq!(block, json!([3, false, 0]));
    // The button copies the code alone.
    page.eval(
        "document.addEventListener('copy', () => { window.copied = getSelection().toString(); })",
    );
    page.click("#messages > li:last-child .copy");
    page.wait("it is copied", "window.copied");
    assert_eq!(page.eval("copied.trimEnd()"), "fn main() {\n    x\n}");
    assert_eq!(
        page.eval("document.querySelector('#messages > li:last-child .copy').ariaLabel"),
        "Copied"
    );
}

#[test]
fn the_reader_stays_where_they_are() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let mut client = room.join(5);
    client.say_all((0..1_200).map(|n| format!("number {n}")));
    page.wait("the last message", &last_is("number 1199"));
    page.wait("the end", "document.querySelector('#log').scrollTop + document.querySelector('#log').clientHeight >= document.querySelector('#log').scrollHeight - 1");
    assert_eq!(page.eval("document.querySelector('#jump').hidden"), true);

    // Somewhere in the middle, by the keyboard.
    page.eval("document.querySelector('#log').focus()");
    for _ in 0..20 {
        page.press("PageUp", 0);
    }
    page.wait("the button", "!document.querySelector('#jump').hidden");
    page.wait("scrolling has ended", "(window.still = window.top0 === document.querySelector('#log').scrollTop && (window.still ?? 0) + 1, window.top0 = document.querySelector('#log').scrollTop, window.still > 10)");
    let place = "(() => { const log = document.querySelector('#log').getBoundingClientRect();
        const row = document.elementFromPoint(log.x + 60, log.y + 60).closest('li');
        return [row.textContent, Math.round(row.getBoundingClientRect().y - log.y)]; })()";
    let before = page.eval(place);
    client.say_all((0..50).map(|n| format!("later {n}")));
    page.wait("the last message", &last_is("later 49"));
    let after = page.eval(place);
    assert_eq!(after[0], before[0], "the reader was moved");
    // Browsers round to the screen's pixels.
    let moved = after[1].as_i64().zip(before[1].as_i64()).map(|(after, before)| after - before);
    assert!(moved.is_some_and(|pixels| pixels.abs() <= 1), "the reader was moved: {moved:?}");
    assert_eq!(page.eval("document.querySelector('#jump').textContent"), "50 new");
    assert_eq!(page.eval("document.querySelector('#messages').children.length"), 1_000);
    assert_eq!(page.eval("document.querySelector('#messages').firstChild.className"), "day");

    page.click("#jump");
    page.wait("the end", "document.querySelector('#jump').hidden");
    client.say("and on");
    page.wait("the newest in view", &format!("{} && document.querySelector('#messages > li:last-child').getBoundingClientRect().bottom <= document.querySelector('#composer').getBoundingClientRect().top", last_is("and on")));
}

#[test]
fn a_reader_can_scroll_away_from_a_flood_and_come_back() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let mut client = room.join(5);
    let stop = Stop::default();
    let stopped = stop.0.clone();
    let talker = std::thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            client.say_all((0..20).map(|n| format!("message {n}")));
        }
    });
    page.wait("messages", "said('.message').length > 100");
    page.eval("document.querySelector('#log').focus()");
    page.press("PageUp", 0);
    page.wait("the count of new ones", "document.querySelector('#jump').textContent.endsWith(' new') && !document.querySelector('#jump').hidden");
    page.press("End", 0);
    page.wait("the end", "document.querySelector('#jump').hidden");
    drop(stop);
    talker.join().expect("everything was said");
}

/// Ends a flood when it is dropped, also when the test fails: the server waits for whoever talks.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn ten_thousand_messages_leave_the_page_responsive() {
    // On a busy machine the browser may fall behind, which is not what this is about.
    let room = Room::start_with(|config| config.limits.max_queue = 16 << 20);
    let page = Page::open(&room.url());
    let mut client = room.join(5);
    page.wait("connected", "document.querySelector('[data-state=connected]')");
    // The processor's time, not the clock's: other tests may run meanwhile.
    page.call("Performance.enable", json!({ "timeDomain": "threadTicks" }));
    let talker = std::thread::spawn(move || {
        client.say_all((0..10_000).map(|n| format!("message {n} with a https://example.com/{n}")));
        client
    });
    page.wait("messages", "said('.message').length > 100");
    page.insert("typed meanwhile");
    page.wait(
        "what was typed",
        "document.querySelector('#messageText').value === 'typed meanwhile'",
    );
    let _client = talker.join().expect("everything was said");
    page.wait("the last message", &last_is("message 9999 with a https://example.com/9999"));
    assert_eq!(page.eval("document.querySelector('#messages').children.length"), 1_000);
    let metrics = page.call("Performance.getMetrics", json!({}));
    let metrics = metrics["metrics"].as_array().expect("a list");
    let busy = metrics.iter().find(|metric| metric["name"] == "TaskDuration").expect("a metric");
    let seconds = busy["value"].as_f64().expect("a number");
    // It is some four seconds, and more where another program has the other half of the core.
    assert!(seconds < 8.0, "of ten seconds, the page would be busy for {seconds}");
}

#[test]
fn what_is_very_long_scrolls_in_its_own_box() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let text = "word ".repeat(2_000);
    room.join(5).say(&text);
    page.wait("the message", &format!("{TEXTS}.includes({text:?})"));
    assert_eq!(
        page.eval("(() => { const text = document.querySelector('.text[tabindex]'); return text.scrollHeight > text.clientHeight && text.clientHeight < innerHeight; })()"),
        true
    );
}

#[test]
fn what_comes_while_the_reader_is_at_the_end_of_a_small_window_is_seen() {
    let room = Room::start();
    let phone = Reader { width: 320, height: 568, phone: true, ..Reader::default() };
    let page = Page::open_as(&room.url(), &phone);
    let mut client = room.join(5);
    client.say_all((0..30).map(|n| format!("number {n}")));
    page.wait("the messages", &last_is("number 29"));
    // The keyboard takes half of the window.
    page.resize(&Reader { height: 280, ..phone });
    page.wait("the newest above the text field", "document.querySelector('#messages > li:last-child').getBoundingClientRect().bottom <= document.querySelector('#composer').getBoundingClientRect().top && document.querySelector('#composer').getBoundingClientRect().bottom <= 280");
}

#[test]
fn a_link_leads_where_its_text_says_or_there_is_none() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let mut client = room.join(5);
    let (none, http) = (None, Some("http://"));
    for (text, scheme) in [
        ("http://my_host:8000/", Some("")),
        ("http://[fd00:0::1]:8000/x", Some("")),
        ("http://bücher.de/x", none),
        ("http://exam\u{ad}ple.com/", none),
        ("http://bank。example/", none),
        ("http://bank.example\\x.example/", none),
        ("http://bank.example%2eexample/", none),
        ("http://0x7f.1/", none),
        ("http://2130706433/", none),
        ("http://example.com:80x/", none),
        ("http://example.com:99999/", none),
        ("http://admin:admin@192.168.1.1/", none),
        ("http://admin:@192.168.1.1/", none),
        ("http://boat.local@192.168.1.1/", none),
        ("https://bank.example@evil.example/", none),
        ("https://bank.example＠evil.example/", none),
        ("ftp://192.168.1.5/x", none),
        ("anna@boat.local", none),
        ("192.168.1.5", http),
        ("192.168.1.5:8000/x", http),
        ("10.1.2.3/", http),
        ("10.1.2", none),
        ("10.1.2.3.4", none),
        ("192.168.1.500", none),
        ("boat.local", http),
        ("my-boat.local:8000/charts?north=1#here", http),
        ("boat.localhost", none),
        ("localhost:8000", http),
        ("[fd00::1]:8000", http),
        ("[fe80::1]/x", http),
        ("[12:30:45]", none),
    ] {
        for said in [text.to_string(), format!("see {text}, please"), format!("（{text}）")] {
            client.say(&said);
            page.wait("the message", &last_is(&said));
            let links = page.eval(
                "[...document.querySelectorAll('#messages > li:last-child a')].map((link) => [link.textContent, link.getAttribute('href')])",
            );
            let expected: Vec<_> =
                scheme.iter().map(|scheme| json!([text, format!("{scheme}{text}")])).collect();
            assert_eq!(links, json!(expected), "{said}");
        }
    }
}

#[test]
fn the_scroll_bar_stands_at_the_edge() {
    let room = Room::start();
    for width in [390, 900, 2_560] {
        let page = Page::open_as(&room.url(), &Reader { width, ..Reader::default() });
        let bar = page.eval(
            "(() => { const log = document.querySelector('#log'), box = log.getBoundingClientRect();
               return [box.left, box.right - document.querySelector('main').getBoundingClientRect().right, log.clientWidth < log.offsetWidth, document.querySelector('#messages').offsetWidth <= 832]; })()",
        );
        assert_eq!(bar, json!([0, 0, true, true]), "{width}");
    }
}

#[test]
fn a_finger_at_the_end_of_the_log_moves_nothing_else() {
    let room = Room::start();
    let phone = Reader { width: 390, height: 844, phone: true, ..Reader::default() };
    let page = Page::open_as(&room.url(), &phone);
    for y in [400.0, 20.0, 820.0] {
        page.drag(200.0, y, -300);
        let places = page.eval(
            "[scrollY, document.scrollingElement.scrollHeight - innerHeight, visualViewport.offsetTop,
              document.querySelector('header').getBoundingClientRect().top]",
        );
        assert_eq!(places, json!([0, 0, 0, 0]), "from {y}");
    }
    page.drag(200.0, 400.0, 300);
    page.wait("the log scrolls", "!document.querySelector('#jump').hidden");
}
