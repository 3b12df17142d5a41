//! The main paths, in each browser.

use crate::rig::Room;
use crate::tab::Tab;
use serde_json::json;

/// Opens a page whose log is full.
type Open = fn(&str) -> Box<dyn Tab>;

macro_rules! in_each {
    ($($test:ident)+) => {
        $(mod $test {
            use crate::{browser, firefox, webkit};

            #[test]
            fn chromium() {
                super::$test(|url| Box::new(browser::Page::open(url)));
            }

            #[test]
            fn firefox() {
                super::$test(|url| Box::new(firefox::Page::open(url)));
            }

            #[test]
            #[ignore = "for `make test-browsers`"]
            fn oldest_chromium() {
                super::$test(|url| {
                    let reader = browser::Reader::default();
                    Box::new(browser::Page::open_in(browser::oldest(), url, &reader))
                });
            }

            #[test]
            #[ignore = "for `make test-browsers`"]
            fn webkit() {
                super::$test(|url| Box::new(webkit::Page::open(url)));
            }
        })+
    };
}

in_each! {
    the_window_keeps_its_parts_in_place
    what_is_written_is_read
}

fn the_window_keeps_its_parts_in_place(open: Open) {
    let room = Room::start();
    let page = open(&room.url());
    let log = "document.querySelector('#log')";
    let places = "[document.scrollingElement.scrollHeight - innerHeight, scrollY,
         document.querySelector('header').getBoundingClientRect().top,
         innerHeight - document.querySelector('main').getBoundingClientRect().bottom].map(Math.round)";
    assert_eq!(page.eval(places), json!([0, 0, 0, 0]));
    let at_end = format!("{log}.scrollHeight - {log}.clientHeight - {log}.scrollTop < 2");
    let away = "!document.querySelector('#jump').hidden";
    // What comes after it shows that the browser has done it.
    for x in [5, 450, 895] {
        page.wait("the end", &at_end);
        page.wheel(x, 320, 3);
        page.wheel(x, 320, -3);
        page.wait("scrolled up by the wheel", away);
        assert_eq!(page.eval(places), json!([0, 0, 0, 0]), "the wheel at {x}");
        page.eval("document.querySelector('#jump').click()");
    }
    for key in [" ", "PageDown"] {
        for focus in ["document.activeElement.blur()", "document.querySelector('#log').focus()"] {
            page.wait("the end", &at_end);
            page.eval(focus);
            page.press(key, false);
            page.eval("document.querySelector('#log').focus()");
            page.press("PageUp", false);
            page.wait("scrolled up by the key", away);
            assert_eq!(page.eval(places), json!([0, 0, 0, 0]), "{key:?} after {focus}");
            page.eval("document.querySelector('#jump').click()");
        }
    }
}

fn what_is_written_is_read(open: Open) {
    let room = Room::start();
    let page = open(&room.url());
    assert_eq!(page.eval("document.querySelector('#unfinished')"), json!(null));
    let mut client = room.join(5);
    client.say("read http://boat.local/charts, `code` and \u{202e}this");
    page.wait("the message", "said('.message').length === 2");
    assert_eq!(
        page.eval("['a', 'code', '.mark'].map((kind) => said('.message')[1].querySelectorAll(kind).length)"),
        json!([1, 1, 1])
    );
    page.click("#messageText");
    page.insert("one");
    page.press("Enter", true);
    page.insert("two");
    page.press("Enter", false);
    let heard = client.hear();
    assert!(heard.ends_with(" says: one\ntwo"), "{heard:?}");
    page.wait("the own message", "said('.mine').length === 1");
    // Rows have colours, and the sender's is not the text's.
    let colours = page.eval(
        "(() => { const row = said('.message')[0], style = (element) => getComputedStyle(element);
           return [style(row).backgroundColor, style(document.body).backgroundColor, style(row.querySelector('.sender')).color, style(row.querySelector('.text')).color]; })()",
    );
    let colours = colours.as_array().expect("colours");
    assert!(colours[0] != colours[1] && colours[2] != colours[3], "{colours:?}");
}
