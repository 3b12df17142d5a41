//! The button that invites others: a code for their cameras and a link.

use crate::browser::{Page, Reader};
use crate::rig::{Line, Room, SUB_PATH};
use qrcodegen::{QrCode, QrCodeEcc};
use serde_json::json;

/// Which modules of the drawn code are dark, as rows of 0 and 1.
const DRAWN: &str = "document.querySelector('#code').decode().then(() => {
    const code = document.querySelector('#code'), size = Number(code.src.match(/viewBox='0 -.5 ([0-9]+)/)[1]);
    const canvas = new OffscreenCanvas(size * 9, size * 9).getContext('2d');
    canvas.drawImage(code, 0, 0, size * 9, size * 9);
    const isDark = (x, y) => Number(canvas.getImageData(x * 9 + 4, y * 9 + 4, 1, 1).data.join() === '0,0,0,255');
    return Array.from({ length: size }, (_, y) => Array.from({ length: size }, (_, x) => isDark(x, y)).join(''));
})";

const OPEN: &str = "document.querySelector('#invitation').open";

/// The page under a name for which it is no secure context, as on most networks.
fn named(address: std::net::SocketAddr, path: &str) -> String {
    format!("http://boat.local:{}{path}", address.port())
}

/// What a code for this text looks like, with the quiet zone around it.
fn expected(text: &str) -> Vec<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).expect("a code");
    let sides = -4..code.size() + 4;
    let module = |x, y| if code.get_module(x, y) { '1' } else { '0' };
    sides.clone().map(|y| sides.clone().map(|x| module(x, y)).collect()).collect()
}

#[test]
fn the_code_and_the_link_lead_to_this_page() {
    let room = Room::start();
    let line = Line::to(room.address);
    for url in [named(room.address, "/"), named(line.address, SUB_PATH)] {
        let page = Page::open(&format!("{url}?from=elsewhere#here"));
        page.click("#invite");
        page.wait("the dialog", OPEN);
        assert_eq!(page.eval("document.querySelector('#link').value"), url);
        assert_eq!(page.eval("document.querySelector('#code').alt"), url);
        assert_eq!(page.eval(DRAWN), json!(expected(&url)));
        assert_eq!(page.eval("document.querySelector('#invite-hint').textContent"), "");
    }
}

#[test]
fn by_keyboard_the_link_is_copied_and_the_focus_comes_back() {
    let room = Room::start();
    let page = Page::open_as(&named(room.address, "/"), &Reader::first());
    page.wait("connected", "document.querySelector('[data-state=connected]')");
    page.wait("the focus", "document.activeElement.id === 'messageText'");
    assert_eq!(page.eval("isSecureContext"), false);
    let focused = || page.eval("document.activeElement.id || document.activeElement.tagName");
    for id in ["later", "BUTTON", "new-name", "log", "you", "invite"] {
        page.press("Tab", 8);
        assert_eq!(focused(), id);
    }
    page.press("Enter", 0);
    page.wait("the dialog", OPEN);
    assert_eq!(focused(), "link");
    assert_eq!(page.eval("getSelection().toString() === document.activeElement.value"), true);
    page.press("Tab", 0);
    assert_eq!(focused(), "copy");
    page.eval(
        "document.addEventListener('copy', () => { window.copied = getSelection().toString(); })",
    );
    page.press("Enter", 0);
    page.wait("it is said", "document.querySelector('#invite-hint').textContent === 'Copied'");
    assert_eq!(page.eval("copied"), named(room.address, "/"));
    page.press("Escape", 0);
    page.wait("no dialog", &format!("!{OPEN}"));
    assert_eq!(focused(), "invite");
    page.press("Enter", 0);
    page.wait("the dialog", OPEN);
    page.click("#invitation footer button");
    page.wait("no dialog", &format!("!{OPEN}"));
    assert_eq!(focused(), "invite");
}

#[test]
fn a_room_for_this_computer_alone_says_how_to_open_it() {
    let room = Room::start();
    for (languages, start) in [("en", "Only this computer"), ("zh-TW", "只有這台電腦")] {
        let page = Page::open_as(&room.url(), &Reader { languages, ..Reader::default() });
        page.click("#invite");
        page.wait("the dialog", OPEN);
        let said = page.eval("document.querySelector('#invite-hint').textContent");
        let said = said.as_str().expect("a text");
        let flag = format!("--listen [::]:{}", room.address.port());
        assert!(said.starts_with(start) && said.contains(&flag), "{said}");
        assert_eq!(page.eval("document.querySelector('#invited').checkVisibility()"), false);
    }
}

#[test]
fn without_a_server_there_is_no_link() {
    let room = Room::start();
    let page = Page::open(&named(room.address, "/"));
    drop(room);
    page.wait("lost", "document.querySelector('[data-state=lost]')");
    page.click("#invite");
    page.wait("the dialog", OPEN);
    let said = page.eval("document.querySelector('#invite-hint').textContent");
    assert!(said.as_str().expect("a text").starts_with("No network"), "{said}");
    assert_eq!(page.eval("document.querySelector('#invited').checkVisibility()"), false);
}

#[test]
fn the_dialog_fits_and_reads_on_every_screen() {
    let room = Room::start();
    for (width, height, dark) in [(320, 568, false), (320, 260, true), (900, 640, true)] {
        for languages in ["en", "zh-TW"] {
            let reader = Reader { languages, dark, width, height, ..Reader::default() };
            let page = Page::open_as(&named(room.address, "/"), &reader);
            page.click("#invite");
            page.wait("the dialog", OPEN);
            let outside = page.eval(
                "[...document.querySelectorAll('#invitation, #invitation *')].filter((element) => element.checkVisibility() )
                   .filter((element) => { const box = element.getBoundingClientRect(); return box.left < 0 || box.right > innerWidth; }).map((element) => element.outerHTML)",
            );
            assert_eq!(outside, json!([]), "{width} x {height}");
            let small = page.eval(
                "[...document.querySelectorAll('#invitation :is(button, input)')].filter((element) => element.getBoundingClientRect().height < 24).length",
            );
            assert_eq!(small, 0);
        }
    }
}
