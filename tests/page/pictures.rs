//! Pictures of the page. `make screenshots` keeps them; every other run only sees that they can be
//! made.

use std::path::PathBuf;

use crate::browser::{Page, Reader};
use crate::kit::roomd1::Member;
use crate::rig::{Client, Line, Room};

const CONNECTED: &str = "document.querySelector('[data-state=connected]')";

fn keep(page: &Page, name: &str) {
    let folder = std::env::var_os("SCREENSHOTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&folder).expect("a folder");
    let png = decode_base64(&page.picture());
    assert!(png.starts_with(b"\x89PNG"), "{name} is no PNG");
    std::fs::write(folder.join(name).with_extension("png"), png).expect("a file");
}

pub fn decode_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes().take_while(|digit| *digit != b'=') {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

fn say(page: &Page, text: &str) {
    page.insert(text);
    page.press("Enter", 0);
    page.wait(
        "it was said",
        &format!("[...document.querySelectorAll('#messages .mine .text')].at(-1)?.textContent === {text:?}"),
    );
}

/// The reader takes a name, where the page asks for it.
fn take_name(page: &Page, name: &str) {
    page.wait("connected", CONNECTED);
    page.wait("it is asked for", "!document.querySelector('#naming').hidden");
    page.click("#new-name");
    page.insert(name);
    page.press("Enter", 0);
    page.wait("the name", &format!("document.querySelector('#you').textContent === {name:?}"));
    page.wait("the focus", "document.activeElement.id === 'messageText'");
}

fn saw(page: &Page, text: &str) {
    page.wait(
        "it was said",
        &format!("[...document.querySelectorAll('.text')].at(-1)?.textContent === {text:?}"),
    );
}

/// A conversation as there may be one on a boat.
fn talk(room: &Room, page: &Page) -> ([Member; 2], Client) {
    take_name(page, "Ben");
    let [mut mate, mut cook] =
        [(1, "Ana"), (2, "小明")].map(|(n, name)| Member::named(room.address, "lobby", n, name));
    let tide = "Tide turns at 16:40, wind from the north-west.";
    mate.say(tide);
    saw(page, tide);
    mate.say("Ben, do you take the dinghy?");
    saw(page, "Ben, do you take the dinghy?");
    say(page, "I do. Be at the pier at four.");
    let chart = "The chart is at http://boat.local/charts/north?page=3 (also on the wall).";
    cook.say(chart);
    saw(page, chart);
    say(
        page,
        "Thanks!\nWho has the key to the locker? It is not on its hook, and I need the second pump.",
    );
    cook.say("鑰匙在廚房，左邊的抽屜。");
    saw(page, "鑰匙在廚房，左邊的抽屜。");
    let sensor =
        room.join_saying(2048, "Bilge 12 cm, pump on. House battery 12.6 V: `charge --slow`");
    page.wait("all of it", "document.querySelectorAll('.message').length === 7");
    page.wait("who is here", "document.querySelectorAll('#people li').length === 4");
    ([mate, cook], sensor)
}

#[test]
fn of_the_room_and_of_a_lost_connection() {
    let room = Room::start();
    let reader = Reader { width: 1_000, height: 700, ..Reader::first() };
    let page = Page::open_as(&room.url(), &reader);
    let clients = talk(&room, &page);
    keep(&page, "light");
    page.resize(&Reader { width: 760, height: 690, ..reader });
    drop(clients);
    page.insert("Found it, th");
    page.eval("Math.random = () => 0.9999");
    drop(room);
    page.wait("a wait", "document.querySelector('#retry').textContent === 'Next try in 4 s'");
    keep(&page, "lost");
}

#[test]
fn of_a_gap_and_of_a_text_that_waits() {
    let room = Room::start_with(|config| config.limits.history = 3);
    let line = Line::to(room.address);
    let page = Page::open_as(&line.url(), &Reader { width: 390, height: 640, ..Reader::first() });
    let (members, mut sensor) = talk(&room, &page);
    page.eval("Math.random = () => 1");
    line.hang(true);
    line.cut();
    page.wait("lost", "document.querySelector('[data-state=lost]')");
    sensor.say_all((1..=9).map(|hour| format!("Bilge {} cm", 12 - hour)));
    line.hang(false);
    page.eval("document.querySelector('#try-now').click()");
    page.wait("the gap", "document.querySelector('.gap')");
    line.hang(true);
    page.click("#messageText");
    page.insert("The pump works.");
    page.press("Enter", 0);
    page.wait("it waits", "document.querySelector('#unsent .state')?.textContent");
    keep(&page, "gap");
    drop(members);
}

#[test]
fn of_who_is_here() {
    let room = Room::start();
    let reader = Reader { width: 320, height: 568, ..Reader::first() };
    let page = Page::open_as(&room.url(), &reader);
    let _clients = talk(&room, &page);
    page.click("#here");
    page.wait("the list", "document.querySelector('#people').checkVisibility()");
    page.click("#tags");
    keep(&page, "people");
}

#[test]
fn of_the_dark() {
    let room = Room::start();
    let reader = Reader { width: 760, height: 690, dark: true, ..Reader::first() };
    let page = Page::open_as(&room.url(), &reader);
    let _clients = talk(&room, &page);
    keep(&page, "dark");
}

#[test]
fn of_a_phone() {
    let room = Room::start();
    let reader = Reader { width: 320, height: 568, ..Reader::first() };
    let page = Page::open_as(&room.url(), &reader);
    let _clients = talk(&room, &page);
    keep(&page, "phone");
}

#[test]
fn of_traditional_chinese() {
    let room = Room::start();
    let reader = Reader { languages: "zh-TW", width: 390, height: 640, ..Reader::first() };
    let page = Page::open_as(&room.url(), &reader);
    take_name(&page, "小明");
    let mut guest = Member::named(room.address, "lobby", 7, "阿美");
    guest.say("今晚七點在碼頭集合，記得帶手電筒。");
    saw(&page, "今晚七點在碼頭集合，記得帶手電筒。");
    say(&page, "好，我會帶兩支。");
    guest.say("天氣：https://www.cwa.gov.tw/");
    saw(&page, "天氣：https://www.cwa.gov.tw/");
    guest.leave();
    page.wait(
        "the notice",
        "[...document.querySelectorAll('.notice p')].at(-1).textContent.endsWith('離開了')",
    );
    keep(&page, "zh-Hant");
}

#[test]
fn of_the_echo() {
    let room = Room::start();
    let page =
        Page::open_as(&room.echo_url(), &Reader { width: 760, height: 560, ..Reader::first() });
    page.wait("connected", CONNECTED);
    page.wait("the focus", "document.activeElement.id === 'messageText'");
    for number in 1..40 {
        say(&page, &format!("test {number}"));
    }
    page.wait("all answers", "document.querySelectorAll('.message').length === 78");
    keep(&page, "echo");
}

#[test]
fn of_the_invitation() {
    let room = Room::start();
    let reader = Reader { width: 320, height: 568, ..Reader::first() };
    let url = format!("http://boat.local:{}/", room.address.port());
    let page = Page::open_as(&url, &reader);
    let _clients = talk(&room, &page);
    page.click("#invite");
    page.wait("the dialog", "document.querySelector('#invitation').open");
    keep(&page, "invite");
}
