//! The main paths, in each browser.

use crate::rig::Room;
use crate::tab::Tab;
use serde_json::json;

/// Opens a page whose log is full.
type Open = fn(&str) -> Box<dyn Tab>;

macro_rules! in_each {
    ($($test:ident)+) => {
        $(mod $test {
            #[test]
            fn chromium() {
                super::$test(|url| Box::new(crate::browser::Page::open(url)));
            }
        })+
    };
}

in_each! {
    the_window_keeps_its_parts_in_place
}

fn the_window_keeps_its_parts_in_place(open: Open) {
    let room = Room::start();
    let page = open(&room.url());
    let log = "document.querySelector('#log')";
    page.wait("a scroll bar", &format!("{log}.offsetWidth > {log}.clientWidth"));
    let places = "[document.scrollingElement.scrollHeight - innerHeight, scrollY,
         document.querySelector('header').getBoundingClientRect().top,
         innerHeight - document.querySelector('main').getBoundingClientRect().bottom].map(Math.round)";
    assert_eq!(page.eval(places), json!([0, 0, 0, 0]));
    let at_end = format!("{log}.scrollHeight - {log}.clientHeight - {log}.scrollTop < 2");
    let away = "!document.querySelector('#jump').hidden";
    // What comes after it shows that the browser has done it.
    for x in [450.0] {
        page.wait("the end", &at_end);
        page.wheel(x, 320.0, 3);
        page.wheel(x, 320.0, -3);
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
