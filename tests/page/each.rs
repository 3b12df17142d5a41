//! The main paths, in each browser.

use crate::rig::{Line, Room};
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
    a_turned_window_keeps_the_readers_place
    the_text_field_grows_with_its_text
    half_an_emoji_and_a_blank_text
    a_cut_line_comes_back_and_nothing_is_lost
    a_name_and_a_room
    an_invitation_and_the_echo
    hostile_texts_are_texts
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
        page.settle();
        page.click("#jump");
        page.wait("the focus is where one writes", "document.activeElement.id === 'messageText'");
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
            page.settle();
            page.click("#jump");
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

fn a_turned_window_keeps_the_readers_place(open: Open) {
    let room = Room::start();
    let page = open(&room.url());
    let first = "(() => { const top = document.querySelector('#log').getBoundingClientRect().top;
        return [...document.querySelectorAll('#messages > li')].findIndex((row) => row.getBoundingClientRect().bottom > top); })()";
    page.resize(500, 640);
    page.wait("the new width", "innerWidth === 500");
    page.settle();
    for from_end in [300, 4_000, 9_000] {
        page.eval(&format!("(document.querySelector('#log').scrollTop = document.querySelector('#log').scrollHeight - 640 - {from_end}, null)"));
        page.wait("away from the end", "!document.querySelector('#jump').hidden");
        page.settle();
        let before = page.eval(first);
        for (width, height) in [(844, 390), (500, 640), (1_200, 640), (500, 640)] {
            page.resize(width, height);
            page.wait("the new width", &format!("innerWidth === {width}"));
            page.settle();
            let now = page.eval(first);
            assert_eq!(now, before, "at {width} x {height}, {from_end} from the end");
        }
    }
    // A reader at the end stays at the end.
    page.click("#jump");
    page.resize(844, 390);
    page.wait("the new width", "innerWidth === 844");
    page.settle();
    assert_eq!(page.eval("document.querySelector('#jump').hidden"), true);
}

fn the_text_field_grows_with_its_text(open: Open) {
    let room = Room::start();
    let page = open(&room.url());
    let height = |text: &str| {
        page.eval(&format!(
            "(() => {{ const field = document.querySelector('#messageText'); field.value = {text:?}; field.dispatchEvent(new Event('input')); return field.offsetHeight; }})()"
        ))
        .as_f64()
        .expect("a height")
    };
    let one = height("one");
    assert!(one < 50.0, "{one}");
    let four = height("one\ntwo\nthree\nfour");
    assert!((60.0..90.0).contains(&(four - one)), "{one} {four}");
    let wrapped = height(&"as long as four lines ".repeat(20));
    assert!(wrapped > four - 1.0, "{four} {wrapped}");
    let many = height(&"line\n".repeat(60));
    assert!((200.0..240.0).contains(&many), "{many}");
    assert_eq!(height("one"), one);
    page.wait(
        "the log has its room",
        "innerHeight - document.querySelector('main').getBoundingClientRect().bottom < 1",
    );
}

fn half_an_emoji_and_a_blank_text(open: Open) {
    let room = Room::start();
    let page = open(&room.url());
    let mut client = room.join(5);
    let ready =
        "document.querySelector('#composer button').getAttribute('aria-disabled') === 'false'";
    let fill = |text: &str| {
        page.eval(&format!(
            "(() => {{ const field = document.querySelector('#messageText'); field.focus(); field.value = {text}; field.dispatchEvent(new Event('input')); }})()"
        ));
    };
    for blank in ["''", "' \\n '", "'\\u200b\\u3164'"] {
        fill(blank);
        assert_eq!(page.eval(ready), false, "{blank}");
        page.press("Enter", false);
    }
    fill("'half \\ud83d of one'");
    assert_eq!(page.eval(ready), true);
    page.press("Enter", false);
    let heard = client.hear();
    assert!(heard.ends_with(" says: half \u{fffd} of one"), "{heard:?}");
    page.wait("it came back", "said('.mine').length === 1");
    page.wait("nothing is kept", "sessionStorage.getItem('/unsent') === '[]'");
    assert_eq!(page.eval(ready), false);
}

fn a_cut_line_comes_back_and_nothing_is_lost(open: Open) {
    let room = Room::start();
    let line = Line::to(room.address);
    let page = open(&line.url());
    let mut client = room.join(5);
    page.wait("the client", "said('.message').length === 1");
    page.click("#messageText");
    page.insert("half a text");
    line.hang(true);
    line.cut();
    page.wait("the loss", "document.querySelector('[data-state=lost]')");
    client.say_all((0..30).map(|n| format!("meanwhile {n}")));
    line.hang(false);
    page.wait("what was said", "said('.message').length === 31");
    page.press("Enter", false);
    client.hear_until(" says: half a text");
    page.wait("the own message", "said('.mine').length === 1");
    assert_eq!(page.eval("document.querySelectorAll('.gap').length"), 0);
    assert_eq!(
        page.eval("said('.message')[30].querySelector('.text').textContent"),
        "meanwhile 29"
    );
    // What is said into a line that is dead already is said once.
    line.hang(true);
    page.insert("into the dark");
    page.press("Enter", false);
    page.wait("it is pending", "document.querySelector('#unsent .text')");
    line.cut();
    line.hang(false);
    client.hear_until(" says: into the dark");
    page.wait("it is proven", "document.querySelector('#unsent').children.length === 0");
    page.wait("it stands in the log", "said('.mine').length === 2");
    client.say("the end");
    page.wait(
        "the end",
        "[...document.querySelectorAll('.text')].at(-1).textContent === 'the end'",
    );
    assert_eq!(page.eval("said('.mine').length"), 2);
}

fn a_name_and_a_room(open: Open) {
    let room = Room::start_with(|config| {
        config.rooms = vec![("lab".into(), Some("Engine room".into()))];
    });
    let page = open(&room.url());
    page.click("#new-name");
    page.insert("Ana");
    page.press("Enter", false);
    page.wait("the name", "document.querySelector('#you').textContent === 'Ana'");
    assert_eq!(page.eval("document.querySelector('#naming').hidden"), true);
    page.click("#room");
    page.wait("the rooms", "document.querySelectorAll('#rooms a').length === 2");
    page.click("#rooms li:last-child a");
    page.wait(
        "another room",
        "location.pathname === '/lab' && document.querySelector('[data-state=connected]')",
    );
    page.wait("its title", "document.title === 'Engine room · lab · roomd'");
    assert_eq!(page.eval("document.querySelector('#you').textContent"), "Ana");
}

fn an_invitation_and_the_echo(open: Open) {
    let room = Room::start();
    let page = open(&room.url());
    page.click("#invite");
    page.wait("the dialog", "document.querySelector('#invitation').open");
    page.wait(
        "whom to ask",
        "document.querySelector('#invite-hint').textContent.startsWith('Only this computer')",
    );
    page.click("#invitation footer button");
    page.wait("no dialog", "!document.querySelector('#invitation').open");
    page.go(&room.echo_url());
    page.wait("connected", "document.querySelector('[data-state=connected]')");
    page.wait("a bar in the plot", "document.querySelector('#answered').getAttribute('d')");
    page.click("#messageText");
    page.insert("hello");
    page.press("Enter", false);
    page.wait(
        "the answer",
        "[...document.querySelectorAll('.text')].at(-1)?.textContent === 'Message text was: hello'",
    );
}

fn hostile_texts_are_texts(open: Open) {
    let room = Room::start();
    let page = open(&room.url());
    let mut client = room.join(5);
    for text in [
        "<img src=x onerror='window.owned = 1'><script>window.owned = 1</script>",
        "javascript:window.owned=1 \u{202e}txt.exe\u{2066} שלום",
        "\u{200b}\u{2060}",
        &"x".repeat(60_000),
        &format!("a{}", "\u{301}".repeat(20_000)),
        &"\n".repeat(20_000),
    ] {
        client.say(text);
        page.wait(
            "the message",
            &format!("[...document.querySelectorAll('.text')].at(-1).textContent === {text:?}"),
        );
    }
    assert_eq!(page.eval("window.owned ?? null"), json!(null));
    assert_eq!(page.eval("document.querySelectorAll('#log :is(img, script)').length"), 0);
    let overflow = page.eval(
        "(() => { const log = document.querySelector('#log');
           return [document.documentElement.scrollWidth > innerWidth, log.scrollWidth > log.clientWidth,
             [...document.querySelectorAll('.message')].some((row) => row.offsetHeight > 700)]; })()",
    );
    assert_eq!(overflow, json!([false, false, false]));
}
