//! How a text gets from the keyboard to the room.

use crate::browser::{Page, Reader};
use crate::rig::{Line, Room};
use crate::tab::Tab;
use serde_json::json;

const VALUE: &str = "document.querySelector('#messageText').value";
const CONNECTED: &str = "document.querySelector('[data-state=connected]')";

fn page(room: &Room) -> Page {
    page_of(room, &Reader::default())
}

fn page_of(room: &Room, reader: &Reader) -> Page {
    let page = Page::open_as(&room.url(), reader);
    page.wait("connected", CONNECTED);
    page.wait("the focus", "document.activeElement.id === 'messageText'");
    page
}

#[test]
fn enter_sends_and_shift_enter_makes_a_line() {
    let room = Room::start();
    let page = page(&room);
    let mut client = room.join(5);
    page.insert("  one");
    page.press("Enter", 8);
    page.insert("two ");
    assert_eq!(page.eval(VALUE), "  one\ntwo ");
    page.press("Enter", 0);
    let heard = client.hear();
    assert!(heard.ends_with(" says:   one\ntwo "), "{heard:?}");
    page.wait("an empty field", &format!("{VALUE} === ''"));
    // Nothing is sent by an Enter with nothing to send.
    page.press("Enter", 0);
    page.insert("three");
    page.press("Enter", 0);
    let heard = client.hear();
    assert!(heard.ends_with(" says: three"), "{heard:?}");
}

#[test]
fn an_input_methods_enter_takes_the_word_and_sends_nothing() {
    let room = Room::start();
    let page = page(&room);
    let mut client = room.join(5);
    page.eval(
        "addEventListener('keydown', (event) => (window.composing = event.isComposing), true)",
    );
    page.call(
        "Input.imeSetComposition",
        json!({ "text": "ㄋㄧˇ", "selectionStart": 3, "selectionEnd": 3 }),
    );
    // The key makes no character, since the input method takes it.
    page.call(
        "Input.dispatchKeyEvent",
        json!({ "type": "rawKeyDown", "key": "Enter", "windowsVirtualKeyCode": 13 }),
    );
    assert_eq!(page.eval("composing"), true);
    assert_eq!(page.eval(VALUE), "ㄋㄧˇ");
    page.insert("你");
    assert_eq!(page.eval(VALUE), "你");
    // Safari ends the composition before the key: only its code tells.
    page.eval(
        "document.querySelector('#messageText').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', keyCode: 229, bubbles: true, cancelable: true }))",
    );
    page.insert("好");
    page.press("Enter", 0);
    let heard = client.hear();
    assert!(heard.ends_with(" says: 你好"), "{heard:?}");
}

#[test]
fn a_text_too_long_says_so_in_bytes() {
    let room = Room::start_with(|config| config.limits.max_message = 30);
    let page = page_of(&room, &Reader::first());
    let mut client = room.join(5);
    // 30 bytes in 10 characters fit, one more does not.
    page.insert("一二三四五六七八九十");
    assert_eq!(page.eval("document.querySelector('#hint').textContent"), "");
    page.insert("é");
    assert_eq!(
        page.eval("[document.querySelector('#hint').textContent, document.querySelector('#excess').textContent]"),
        json!(["Too long to send: a message can have 30 bytes.", "2 bytes too many"])
    );
    assert_eq!(page.eval("document.querySelector('#messageText').ariaInvalid"), "true");
    page.press("Enter", 0);
    assert_eq!(page.eval(VALUE), "一二三四五六七八九十é");
    page.press("Backspace", 0);
    assert_eq!(page.eval("document.querySelector('#hint').textContent"), "");
    page.press("Enter", 0);
    let heard = client.hear();
    assert!(heard.ends_with(" says: 一二三四五六七八九十"), "{heard:?}");
    page.wait("still connected", CONNECTED);
}

#[test]
fn a_draft_outlives_a_reload() {
    let room = Room::start();
    let page = page(&room);
    let number = page.eval("document.querySelector('#you').textContent");
    page.insert("half a te");
    page.reload();
    assert_eq!(page.eval(VALUE), "half a te");
    assert_eq!(page.eval("document.querySelector('#you').textContent"), number);
}

#[test]
fn the_server_stops_and_starts_again_while_a_text_is_half_written() {
    let room = Room::start();
    let address = room.address;
    let page = page(&room);
    page.insert("half ");
    drop(room);
    page.wait("the loss", "['closed', 'lost', 'refused'].includes(document.querySelector('#connection').dataset.state)");
    page.insert("a text");
    page.press("Enter", 0);
    page.wait(
        "the hint",
        "document.querySelector('#hint').textContent.startsWith('Not connected')",
    );
    assert_eq!(page.eval(VALUE), "half a text");
    assert_eq!(page.eval("document.querySelector('#composer button').ariaDisabled"), "true");

    let room = Room::start_at(address);
    page.wait("connected again", CONNECTED);
    assert_eq!(page.eval("[document.querySelector('#hint').textContent, document.querySelector('#composer button').ariaDisabled].join()"), ",false");
    assert_eq!(page.eval(VALUE), "half a text");
    let mut client = room.join(5);
    page.press("Enter", 0);
    let heard = client.hear();
    assert!(heard.ends_with(" says: half a text"), "{heard:?}");
    page.wait("the gap is told", "said('.gap')[0]?.textContent === 'Messages may be missing'");
}

#[test]
fn what_was_sent_into_a_dead_line_is_sent_again() {
    let room = Room::start();
    let line = Line::to(room.address);
    let page = Page::open(&line.url());
    page.wait("connected", CONNECTED);
    line.hang(true);
    page.insert("into the dark");
    page.press("Enter", 0);
    page.wait("it is there at once", "document.querySelector('#unsent .text')");
    page.wait(
        "it is on its way",
        "document.querySelector('#unsent .state')?.textContent === 'Sending…'",
    );
    // No answer to an own text proves that the line is dead, before the system notices.
    page.wait("the loss is noticed", "document.querySelector('[data-state=lost]')");
    assert_eq!(page.eval("document.querySelector('#unsent .text').textContent"), "into the dark");
    let mut client = room.join(5);
    line.cut();
    line.hang(false);
    page.reload();
    client.hear_until(" says: into the dark");
    page.wait("it is proven", "document.querySelector('#unsent').children.length === 0 && document.querySelector('.mine .text')?.textContent === 'into the dark'");
    client.say("the next");
    assert_eq!(page.eval("document.querySelectorAll('.mine').length"), 1);
}

#[test]
fn the_arrow_brings_back_what_was_said_last() {
    let room = Room::start();
    let page = page(&room);
    let up = json!({ "type": "rawKeyDown", "key": "ArrowUp", "code": "ArrowUp", "windowsVirtualKeyCode": 38 });
    page.call("Input.dispatchKeyEvent", up.clone());
    assert_eq!(page.eval(VALUE), "");
    page.insert("said before");
    page.press("Enter", 0);
    page.wait("an empty field", &format!("{VALUE} === ''"));
    page.call("Input.dispatchKeyEvent", up.clone());
    assert_eq!(page.eval(VALUE), "said before");
    page.insert(", and more");
    page.call("Input.dispatchKeyEvent", up);
    assert_eq!(page.eval(VALUE), "said before, and more");
}

#[test]
fn on_a_phone_enter_makes_a_line_and_the_button_sends() {
    let room = Room::start();
    let phone = Reader { width: 390, height: 844, phone: true, ..Reader::default() };
    let page = Page::open_as(&room.url(), &phone);
    let mut client = room.join(5);
    assert_eq!(page.eval("matchMedia('(pointer: coarse)').matches"), true);
    page.click("#messageText");
    page.insert("One sentence.");
    // An iPhone's keyboard presses Shift by itself after a sentence.
    page.press("Enter", 8);
    page.insert("Another.");
    page.press("Enter", 0);
    page.insert("A third.");
    assert_eq!(page.eval(VALUE), "One sentence.\nAnother.\nA third.");
    page.click("#composer button");
    let heard = client.hear();
    assert!(heard.ends_with(" says: One sentence.\nAnother.\nA third."), "{heard:?}");
    assert_eq!(page.eval("document.activeElement.id"), "messageText", "the keyboard stays");
    // With a keyboard there is a key for it.
    page.insert("fourth");
    page.press("Enter", 2);
    let heard = client.hear();
    assert!(heard.ends_with(" says: fourth"), "{heard:?}");
    // What was jumped to is not covered by the keyboard.
    page.eval("document.querySelector('#log').scrollTop = 0");
    page.wait("the button", "!document.querySelector('#jump').hidden");
    page.click("#jump");
    page.wait("the end", "document.querySelector('#jump').hidden");
    assert_eq!(page.eval("document.activeElement.id"), "log");
}

#[test]
fn who_types_after_a_jump_types_a_message() {
    let room = Room::start();
    let page = page(&room);
    let mut client = room.join(5);
    page.eval("document.querySelector('#log').focus()");
    page.press("PageUp", 0);
    page.wait("away from the end", "!document.querySelector('#jump').hidden");
    client.say("new");
    page.wait("the count", "document.querySelector('#jump').textContent === '1 new'");
    Tab::settle(&page);
    page.click("#jump");
    page.wait("the end", "document.querySelector('#jump').hidden");
    page.insert("an answer");
    page.press("Enter", 0);
    let heard = client.hear();
    assert!(heard.ends_with(" says: an answer"), "{heard:?}");
}

#[test]
fn the_button_looks_ready_when_it_is() {
    let room = Room::start_with(|config| config.limits.max_message = 30);
    let page = page_of(&room, &Reader::first());
    let ready = "document.querySelector('#composer button').ariaDisabled === 'false'";
    let colour = "getComputedStyle(document.querySelector('#composer button')).backgroundColor";
    let unready = page.eval(colour);
    assert_eq!(page.eval(ready), false, "with no text");
    page.insert("a text");
    assert_eq!(page.eval(ready), true);
    assert_ne!(page.eval(colour), unready);
    page.insert(" that is too long for this room");
    assert_eq!(page.eval(ready), false, "with too long a text");
    assert_eq!(page.eval(colour), unready);
}
