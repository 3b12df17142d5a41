//! Names, who is here, and rooms.

use crate::browser::{Page, Reader};
use crate::rig::{Line, Room};
use serde_json::json;

const CONNECTED: &str = "document.querySelector('[data-state=connected]')";
const YOU: &str = "document.querySelector('#you').textContent";
const NOTICES: &str = "[...document.querySelectorAll('.notice:not([hidden]) p')].map((text) => text.textContent.replace(/[\\u2068\\u2069]/g, ''))";
const NAMES: &str =
    "[...document.querySelectorAll('#people li bdi')].map((name) => name.textContent)";

/// A page in a browser of its own, whose reader takes this name.
fn named(url: &str, name: &str) -> Page {
    let page = Page::open_as(url, &Reader { width: 1_100, ..Reader::first() });
    page.wait("it is asked for a name", "!document.querySelector('#naming').hidden");
    page.click("#new-name");
    page.insert(name);
    page.press("Enter", 0);
    page
}

fn is_named(page: &Page, name: &str) {
    page.wait("the name", &format!("{YOU} === {name:?}"));
}

#[test]
fn a_name_is_asked_for_once_and_kept() {
    let room = Room::start();
    let page = Page::open_as(&room.url(), &Reader::first());
    page.wait("it is asked for", "!document.querySelector('#naming').hidden");
    // Nothing blocks who only wants to write.
    page.wait("the focus", "document.activeElement.id === 'messageText'");
    page.click("#later");
    assert_eq!(page.eval("document.querySelector('#naming').hidden"), true);
    page.reload();
    page.wait("connected", CONNECTED);
    assert_eq!(page.eval("document.querySelector('#naming').hidden"), true);
    // By the button there is always a way.
    page.wait("the dialogs", "document.querySelector('#unfinished') === null");
    page.click("#you");
    page.click("#name");
    page.insert("  Ana   Lee ");
    page.press("Enter", 0);
    is_named(&page, "Ana Lee");
    page.reload();
    is_named(&page, "Ana Lee");
    assert_eq!(page.eval("document.querySelector('#naming').hidden"), true);
    page.insert("hello");
    page.press("Enter", 0);
    page.wait("it was said", "said('.mine').length === 1");
}

#[test]
fn a_taken_name_and_a_name_that_cannot_be_had_are_told() {
    let room = Room::start();
    let ana = named(&room.url(), "Ana");
    is_named(&ana, "Ana");
    let other = named(&room.url(), "ana");
    is_named(&other, "ana·2");
    let hint =
        "document.querySelector('#naming-hint').textContent.replace(/[\\u2068\\u2069]/g, '')";
    other.wait("it is told", &format!("{hint} === 'ana is taken. Here you are ana·2.'"));
    // Another can be chosen on the spot.
    other.eval("document.querySelector('#new-name').select()");
    other.insert("Ben");
    other.press("Enter", 0);
    is_named(&other, "Ben");
    ana.wait("the notice", &format!("{NOTICES}.includes('ana·2 is now Ben')"));
    other.wait("the dialogs", "document.querySelector('#unfinished') === null");
    for hostile in ["#42", "\u{202e}neB", "~x", &"W".repeat(400)] {
        other.click("#you");
        other.eval("document.querySelector('#name').select()");
        other.insert(hostile);
        other.press("Enter", 0);
        other.wait("it is refused", &format!("{hint}.startsWith('This name cannot be used: ')"));
        assert_eq!(other.eval(YOU), "Ben", "{hostile}");
        other.eval("document.querySelector('#naming-hint').textContent = ''");
    }
    other.reload();
    is_named(&other, "Ben");
}

#[test]
fn names_are_texts_and_turn_nothing_around() {
    let room = Room::start();
    let page = Page::open_as(&room.url(), &Reader { width: 1_100, ..Reader::first() });
    for name in ["<img src=x onerror=alert(1)>", "שלמה", "W".repeat(32).as_str(), "🏳️‍🌈 小明"]
    {
        let other = named(&room.url(), name);
        is_named(&other, name);
        other.click("#messageText");
        other.insert("hello");
        other.press("Enter", 0);
        page.wait(
            "its message",
            &format!(
                "[...document.querySelectorAll('.sender bdi')].at(-1)?.textContent === {name:?}"
            ),
        );
        page.wait("it is here", &format!("{NAMES}.includes({name:?})"));
        for reader in [&page, &other] {
            let outside = reader.eval(
                "[...document.querySelectorAll('header *, .message, .notice, #people *')].filter((element) => element.checkVisibility() && element.getBoundingClientRect().width > 1)
                   .filter((element) => { const box = element.getBoundingClientRect(); return box.left < 0 || box.right > innerWidth + 0.5; }).map((element) => element.outerHTML)",
            );
            assert_eq!(outside, json!([]), "{name}");
        }
    }
    assert_eq!(page.eval("document.querySelectorAll('#log img, #people img').length"), 0);
    let order = page.eval(
        "(() => { const notice = [...document.querySelectorAll('.notice p')].at(-1), text = notice.firstChild, range = new Range();
           range.selectNodeContents(text); return getComputedStyle(notice).direction; })()",
    );
    assert_eq!(order, "ltr");
}

#[test]
fn who_is_here_is_beside_the_log_or_behind_a_button() {
    let room = Room::start();
    let _clients = [room.join(42), room.join(42), room.join(43)];
    let ana = named(&room.url(), "Ana");
    is_named(&ana, "Ana");
    ana.wait("the list", &format!("{NAMES}.join() === '#42,#42,#43,Ana'"));
    assert_eq!(ana.eval("document.querySelector('#head-count').textContent"), "4 here");
    assert_eq!(ana.eval("document.querySelector('#people .self').closest('li') === null"), false);
    assert_eq!(ana.eval("document.querySelector('#people').checkVisibility()"), true);

    let phone = Reader { width: 390, height: 700, phone: true, ..Reader::first() };
    let page = Page::open_as(&room.url(), &phone);
    page.wait("the count", "document.querySelector('#here').textContent === '5 here'");
    assert_eq!(page.eval("document.querySelector('#people').checkVisibility()"), false);
    assert_eq!(page.eval("document.querySelector('#here').ariaExpanded"), "false");
    page.click("#here");
    page.wait("the list", "document.querySelector('#people').checkVisibility()");
    assert_eq!(page.eval("document.querySelector('#here').ariaExpanded"), "true");
    // Tags are there on demand, here and in the log.
    assert_eq!(page.eval("document.querySelector('.tag').checkVisibility()"), false);
    let pressed = "document.querySelector('#tags').getAttribute('aria-pressed')";
    assert_eq!(page.eval(pressed), "false");
    page.click("#tags");
    assert_eq!(page.eval("document.querySelector('.tag').checkVisibility()"), true);
    assert_eq!(page.eval(pressed), "true");
    // As the names in the log do.
    page.eval("document.querySelector('.sender').click()");
    assert_eq!(page.eval(pressed), "false");
    page.click("#tags");
    assert_eq!(
        page.eval("[...document.querySelectorAll('#people .tag')].map((tag) => tag.textContent).filter(Boolean).every((tag) => /^[a-z2-7]{8}$/.test(tag))"),
        true
    );
    page.press("Escape", 0);
    page.wait("it is closed", "!document.querySelector('#people').checkVisibility()");
    assert_eq!(page.eval("document.activeElement.id"), "here");
}

#[test]
fn those_who_come_and_go_share_a_quiet_notice() {
    let room = Room::start();
    let page = Page::open_as(&room.url(), &Reader::first());
    page.wait("connected", CONNECTED);
    let mut first = room.join(5);
    page.wait("its message", "said('.message').length === 1");
    let clients: Vec<_> = (11..=16).map(|id| room.join(id)).collect();
    // What each said parts the notices; from here on nothing is said.
    page.wait("all are here", "document.querySelector('#head-count').textContent === '8 here'");
    page.wait("all have spoken", "said('.message').length === 7");
    drop(clients);
    page.wait(
        "one notice",
        &format!("/^(#1[1-6], ){{3}}and 3 others left$|^#1[1-6], #1[1-6], #1[1-6] and 3 others left$/.test({NOTICES}.at(-1))"),
    );
    assert_eq!(
        page.eval("[...document.querySelectorAll('.notice')].every((row) => row.getAttribute('aria-live') === 'off')"),
        true
    );
    first.say("still here");
    page.wait("the message", "said('.message').length === 8");
    // Who is back before anything was said was not away.
    let rows = page.eval("document.querySelectorAll('.notice:not([hidden])').length");
    let other = named(&room.url(), "Ana");
    is_named(&other, "Ana");
    first.say("hello Ana");
    page.wait("the message", "said('.message').length === 9");
    other.reload();
    is_named(&other, "Ana");
    first.say("are you back?");
    page.wait("the message", "said('.message').length === 10");
    let after = page.eval("document.querySelectorAll('.notice:not([hidden])').length");
    // The one who came took a tag for a name at first, which was told, too.
    assert_eq!(after.as_u64(), rows.as_u64().map(|rows| rows + 2));
}

/// Timers of ten seconds come when the test lets them.
const PATIENT: &str = "window.later = new Map();
    { const { setTimeout, clearTimeout } = window;
      window.setTimeout = (action, ms, ...rest) => {
          if (ms !== 10_000) return setTimeout(action, ms, ...rest);
          const id = `later ${performance.now()} ${later.size}`;
          later.set(id, action);
          return id;
      };
      window.clearTimeout = (id) => later.delete(id) || clearTimeout(id); }";

#[test]
fn who_is_lost_is_gone_only_after_ten_seconds() {
    let room = Room::start();
    let page = Page::open_as("about:blank", &Reader::first());
    page.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": PATIENT }));
    page.go(&room.url());
    let line = Line::to(room.address);
    let ana = named(&line.url(), "Ana");
    is_named(&ana, "Ana");
    let tutorial = room.join(42);
    page.wait("both", &format!("{NAMES}.join().startsWith('#42,') && {NAMES}.includes('Ana')"));
    page.wait("its message", "said('.message').length === 1");
    page.eval("later.clear()");
    let notices = page.eval(NOTICES);
    let count = page.eval("document.querySelector('#head-count').textContent");
    // Who comes back was never away.
    line.cut();
    page.wait("she is lost", "later.size === 1");
    ana.wait("back", CONNECTED);
    page.wait("she is back", "later.size === 0");
    assert_eq!(page.eval(NOTICES), notices);
    // Two who do not come back; until then they are listed and counted.
    ana.eval("Math.random = () => 1");
    line.hang(true);
    line.cut();
    page.wait("she is lost again", "later.size === 1");
    tutorial.lose();
    page.wait("both are lost", "later.size === 2");
    assert_eq!(page.eval(NOTICES), notices);
    assert_eq!(page.eval(&format!("{NAMES}.length")), 3);
    assert_eq!(page.eval("document.querySelector('#head-count').textContent"), count);
    page.eval("later.forEach((gone) => gone())");
    page.wait("the notice", &format!("{NOTICES}.at(-1) === 'Ana and #42 left'"));
    page.wait("the count", "document.querySelector('#head-count').textContent === '1 here'");
    assert_eq!(page.eval(&format!("{NAMES}.length")), 1);
}

#[test]
fn a_crowd_has_only_a_number() {
    let room = Room::start_with(|config| config.limits.presence = 3);
    let page = Page::open_as(&room.url(), &Reader { width: 1_100, ..Reader::first() });
    page.wait("connected", CONNECTED);
    let clients: Vec<_> = (1..=9).map(|id| room.join(id)).collect();
    page.wait("the number", "document.querySelector('#head-count').textContent === '10 here'");
    page.wait("no names", &format!("{NAMES}.length === 0"));
    drop(clients);
    page.wait("a name again", &format!("{NAMES}.length === 1"));
}

#[test]
fn another_room_is_opened_and_has_its_own_conversation() {
    let room = Room::start_with(|config| {
        config.rooms = vec![
            ("lab".into(), Some("Engine room".into())),
            ("galley".into(), Some("<b>\u{202e}".into())),
        ];
    });
    let page = Page::open_as(&room.url(), &Reader::first());
    page.wait("connected", CONNECTED);
    assert_eq!(page.eval("document.title"), "roomd");
    page.insert("in the lobby");
    page.press("Enter", 0);
    page.wait("it was said", "said('.mine').length === 1");
    page.wait("the dialogs", "document.querySelector('#unfinished') === null");
    page.click("#room");
    page.wait("the list", "document.querySelectorAll('#rooms a').length === 3");
    assert_eq!(
        page.eval("[...document.querySelectorAll('#rooms a')].map((a) => [a.getAttribute('href'), a.textContent, a.ariaCurrent])"),
        json!([["lobby", "roomd", "page"], ["galley", "<b>\u{202e} · galley", null], ["lab", "Engine room · lab", null]])
    );
    for (typed, is_right) in
        [("", false), ("a b", false), ("ä", false), ("../x", false), ("My-Room_2", true)]
    {
        page.eval("document.querySelector('#another').focus(), document.querySelector('#another').select()");
        match typed {
            "" => page.press("Backspace", 0),
            _ => page.insert(typed),
        }
        assert_eq!(
            page.eval("document.querySelector('#another').validity.valid"),
            is_right,
            "{typed}"
        );
    }
    page.press("Enter", 0);
    page.wait("the room", &format!("location.pathname === '/my-room_2' && {CONNECTED}"));
    page.wait("its title", "document.title === 'my-room_2 · roomd'");
    assert_eq!(page.eval("document.querySelectorAll('.message').length"), 0);
    // The invitation is to this room.
    page.wait("the dialogs", "document.querySelector('#unfinished') === null");
    assert_eq!(page.eval("document.querySelector('#room').textContent"), "my-room_2");
    page.eval("history.back()");
    page.wait("back in the lobby", "location.pathname === '/' && document.querySelector('.message .text')?.textContent === 'in the lobby'");
}

#[test]
fn the_invitation_is_to_this_room() {
    let room = Room::start();
    let url = format!("http://boat.local:{}/lab", room.address.port());
    let page = Page::open_as(&url, &Reader::first());
    page.wait("the dialogs", "document.querySelector('#unfinished') === null");
    page.click("#invite");
    page.wait("the dialog", "document.querySelector('#invitation').open");
    assert_eq!(page.eval("document.querySelector('#link').value"), url);
    assert_eq!(page.eval("document.querySelector('#code').alt"), url);
}
