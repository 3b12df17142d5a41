//! What a reader who is elsewhere gets to know.

use crate::browser::Page;
use crate::rig::Room;

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
    page.wait("the log too", "document.querySelectorAll('.message').length === 3");
    page.show(&cover);
    page.wait("no count", "document.title === 'roomd'");
    assert_eq!(page.eval("document.querySelector('link[rel=icon]').href.endsWith('.svg')"), true);
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
fn a_number_can_be_chosen() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.wait("connected", "document.querySelector('[data-state=connected]')");
    let mut client = room.join(5);
    page.click("#you");
    page.wait("the dialog", "document.querySelector('#settings').open");
    for (typed, is_right) in [
        ("", false),
        ("seven", false),
        ("1.5", false),
        ("9223372036854775808", false),
        ("-9223372036854775808", true),
    ] {
        page.eval(
            "document.querySelector('#number').focus(), document.querySelector('#number').select()",
        );
        match typed {
            "" => page.press("Backspace", 0),
            _ => page.insert(typed),
        }
        assert_eq!(
            page.eval("document.querySelector('#number').validity.valid"),
            is_right,
            "{typed}"
        );
        page.press("Enter", 0);
        assert_eq!(page.eval("document.querySelector('#settings').open"), !is_right, "{typed}");
    }
    assert!(client.hear().ends_with("left the chat"));
    page.wait("connected again", "document.querySelector('[data-state=connected]')");
    page.eval("document.querySelector('#messageText').focus()");
    page.insert("it is me");
    page.press("Enter", 0);
    assert_eq!(client.hear(), "Client #-9223372036854775808 says: it is me");
    page.wait("mine", "document.querySelector('.mine')");
    page.reload();
    assert_eq!(page.eval("document.querySelector('#you').textContent"), "#-9223372036854775808");
}

#[test]
fn wishes_are_kept_and_notifications_are_honest() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.click("#you");
    page.wait("the dialog", "document.querySelector('#settings').open");
    page.click("#sound");
    page.press("Enter", 0);
    page.wait("it is saved", "!document.querySelector('#settings').open");
    page.reload();
    page.click("#you");
    page.wait("the wish", "document.querySelector('#sound').checked");
    // Localhost is a secure context; headless browsers say no, and the page says that.
    page.wait("the hint", "document.querySelector('#notify-hint').textContent === (Notification.permission === 'denied' ? 'This browser does not let this page notify.' : '')");

    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        serde_json::json!({ "source": "Object.defineProperty(window, 'isSecureContext', { value: false })" }),
    );
    page.reload();
    page.click("#you");
    page.wait("the hint", "document.querySelector('#notify-hint').textContent.startsWith('Browsers allow notifications only over https')");
    assert_eq!(page.eval("document.querySelector('#notify').disabled"), true);
}
