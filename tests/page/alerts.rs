//! What a reader who is elsewhere gets to know.

use crate::browser::{Page, Reader};
use crate::rig::Room;
use serde_json::json;

#[test]
fn a_hidden_tab_counts_in_its_title_and_on_its_icon() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.wait("connected", "document.querySelector('[data-state=connected]')");
    let cover = page.hide();
    let mut client = room.join(5);
    client.say("two");
    client.say("three");
    page.wait("the count", "document.title === '(3) roomd'");
    page.wait(
        "the icon",
        "decodeURIComponent(document.querySelector('link[rel=icon]').href).includes('>3</text>')",
    );
    page.wait("the log too", "said('.message').length === 3");
    page.show(&cover);
    page.wait("no count", "document.title === 'roomd'");
    assert_eq!(page.eval("decodeURIComponent(document.querySelector('link[rel=icon]').href).includes('</text>') === false"), true);
}

#[test]
fn the_echo_keeps_its_title() {
    let room = Room::start();
    let page = Page::open(&room.echo_url());
    let cover = page.hide();
    page.show(&cover);
    assert_eq!(page.eval("document.title"), "roomd: connection test");
}

#[test]
fn sounds_and_notifications_come_when_they_are_wanted() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.grant("notifications");
    // What the browser would play and show is counted.
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        json!({ "source": "window.sounds = 0; const { start } = AudioScheduledSourceNode.prototype;
            OscillatorNode.prototype.start = function () { sounds += 1; start.call(this); };
            window.shown = [];
            const Real = Notification;
            window.Notification = class { constructor(title, { body }) { shown.push(`${title}: ${body}`); } static get permission() { return Real.permission; } static requestPermission() { return Real.requestPermission(); } };" }),
    );
    page.reload();
    page.click("#you");
    page.wait("the dialog", "document.querySelector('#settings').open");
    page.click("#sound");
    page.click("#notify");
    page.wait(
        "the wishes",
        "document.querySelector('#sound').checked && document.querySelector('#notify').checked",
    );
    page.click("#settings footer button:last-child");
    page.wait("it is saved", "!document.querySelector('#settings').open");
    // They are kept, and a browser lets a page sound once it was touched.
    page.reload();
    page.click("#messageText");
    // What is said before the alerts are there is judged when they are, and the page is hidden by then.
    page.wait("the alerts", "document.querySelector('#unfinished') === null");
    let mut client = room.join_saying(5, "seen");
    page.wait("the message", "said('.message')[0]");
    assert_eq!(page.eval("shown"), json!([]));
    let cover = page.hide();
    client.say("where are you?");
    page.wait("the notification", "shown.length");
    assert_eq!(page.eval("shown"), json!(["#5: where are you?"]));
    assert_eq!(page.eval("sounds"), 1);
    page.show(&cover);
}

#[test]
fn why_there_are_no_notifications_is_told() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let hint = "document.querySelector('#notify-hint').textContent";
    // Localhost is a secure context, but headless browsers say no.
    page.click("#you");
    page.wait("the hint", &format!("Notification.permission !== 'denied' || {hint} === 'This browser does not let this page notify.'"));
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        json!({ "source": "Object.defineProperty(window, 'isSecureContext', { value: false })" }),
    );
    page.reload();
    page.click("#you");
    page.wait(
        "the hint",
        &format!("{hint}.startsWith('Browsers allow notifications only over https')"),
    );
    assert_eq!(page.eval("document.querySelector('#notify').disabled"), true);
}

#[test]
fn a_setting_that_cannot_be_kept_says_so_and_holds_meanwhile() {
    let room = Room::start();
    let page = Page::open_as("about:blank", &Reader::first());
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        json!({ "source": "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied', 'SecurityError'); } });" }),
    );
    page.go(&room.url());
    let hint = "document.querySelector('#kept-hint').textContent";
    for is_wanted in [false, true] {
        page.wait("the dialogs", "document.querySelector('#unfinished') === null");
        page.click("#you");
        page.wait("the dialog", "document.querySelector('#settings').open");
        page.wait("it is said", &format!("{hint}.startsWith('This browser keeps no settings')"));
        assert_eq!(page.eval("document.querySelector('#sound').checked"), is_wanted);
        if !is_wanted {
            page.click("#sound");
        }
        page.click("#settings footer button:last-child");
        page.wait("it is closed", "!document.querySelector('#settings').open");
    }
    let page = Page::open_as(&room.url(), &Reader::first());
    page.click("#you");
    page.wait("the dialog", "document.querySelector('#settings').open");
    assert_eq!(page.eval(hint), "");
}

#[test]
fn the_connection_is_tested_without_leaving() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.click("#you");
    page.wait("the dialog", "document.querySelector('#settings').open");
    // The conversation stays where it is while the connection is tested elsewhere.
    page.click("#settings a");
    page.wait("another tab is in front", "document.hidden");
    assert_eq!(page.eval("document.querySelectorAll('.message').length >= 240"), true);
}

#[test]
fn a_mention_lights_up_and_sounds() {
    let room = Room::start();
    let page = Page::open_as(&room.url(), &Reader::first());
    page.wait("it is asked for a name", "!document.querySelector('#naming').hidden");
    page.click("#new-name");
    page.insert("Ana");
    page.press("Enter", 0);
    page.wait("the name", "document.querySelector('#you').textContent === 'Ana'");
    page.wait("the dialogs", "document.querySelector('#unfinished') === null");
    page.click("#you");
    page.click("#sound");
    page.click("#settings footer button:last-child");
    page.eval(
        "(() => { window.sounds = 0; const { start } = AudioScheduledSourceNode.prototype;
            OscillatorNode.prototype.start = function () { sounds += 1; start.call(this); }; })()",
    );
    page.click("#messageText");
    let mut client = room.join(5);
    for (text, is_mention) in [
        ("Ana, look", true),
        ("who has seen ANA?", true),
        ("a banana", false),
        ("Anabel", false),
        ("(ana)", true),
        ("安Ana安", true),
    ] {
        client.say(text);
        page.wait(
            "the message",
            &format!("[...document.querySelectorAll('.text')].at(-1)?.textContent === {text:?}"),
        );
        assert_eq!(
            page.eval("[...document.querySelectorAll('.message')].at(-1).matches('.mention')"),
            is_mention,
            "{text}"
        );
    }
    assert_eq!(page.eval("sounds > 0"), true);
}
