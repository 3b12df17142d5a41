//! Languages, light and dark, sizes, the keyboard, screen readers.

use crate::browser::{Page, Reader};
use crate::rig::Room;
use serde_json::json;

#[test]
fn each_language() {
    let room = Room::start();
    for (languages, lang, send) in [
        ("en-GB,en", "en", "Send"),
        ("zh-TW,zh,en", "zh-Hant", "送出"),
        ("zh-Hant-HK", "zh-Hant", "送出"),
        ("fr,zh-TW,en", "zh-Hant", "送出"),
        ("de,en-US,zh-TW", "en", "Send"),
        ("fr", "en", "Send"),
    ] {
        let page = Page::open_as(&room.url(), &Reader { languages, ..Reader::default() });
        let seen = page.eval("[document.documentElement.lang, document.querySelector('#composer button').textContent]");
        assert_eq!(seen, json!([lang, send]), "{languages}");
    }
}

#[test]
fn no_text_is_missing_in_any_language_and_none_is_outside_the_table() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let table = page.eval("Promise.all(['common.js', 'echo.js'].map((file) => import(document.querySelector('script').src.replace('main.js', file)))).then(([{ table }]) => table)");
    let table = table.as_object().expect("a table");
    for (key, texts) in table {
        let [english, chinese] = texts.as_array().expect("texts").as_slice() else {
            panic!("{key} has not two languages: {texts}")
        };
        let gaps = |text: &serde_json::Value| text.as_str().expect("a text").matches("{}").count();
        assert_eq!(gaps(english), gaps(chinese), "{key}: {texts}");
        assert!(english != "" && chinese != "", "{key}");
    }
    // Every text that the page asks for is there, and every text is asked for.
    let asked = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets"))
        .expect("the assets")
        .map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("text"))
        .collect::<String>();
    for (before, after) in [("data-text=\"", '"'), ("data-label=\"", '"'), ("say('", '\'')] {
        for piece in asked.split(before).skip(1) {
            let key = piece.split(after).next().expect("a key");
            assert!(table.contains_key(key), "{before}{key} is not in the table");
        }
    }
    for key in table.keys() {
        assert!(
            asked.contains(&format!("'{key}'"))
                || asked.contains(&format!("\"{key}\""))
                || ["connecting", "connected", "lost"].contains(&key.as_str()),
            "nobody says {key}"
        );
    }
    // And the document brings no words of its own but its name.
    let html = include_str!("../../assets/index.html");
    let body = html
        .split("<body>")
        .nth(1)
        .expect("a body")
        .split("<div id=\"unfinished\"")
        .next()
        .expect("a body");
    let words: String = body
        .split('<')
        .filter_map(|piece| piece.split_once('>'))
        .map(|(_, text)| text.trim())
        .collect();
    assert_eq!(words, "roomdroomd");
}

/// The contrast of an element's text with the card or the page behind it (WCAG 2).
const CONTRAST: &str = "
    window.canvas ??= new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    window.rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data; };
    window.light = (color) => [...rgb(color)].slice(0, 3).map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)).reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
    window.behind = (element) => { for (; element; element = element.parentElement) { const color = getComputedStyle(element).backgroundColor; if (rgb(color)[3] === 255) return color; } return 'white'; };
    window.contrast = (element) => { const [one, two] = [getComputedStyle(element).color, behind(element)].map(light).sort((a, b) => b - a); return (one + 0.05) / (two + 0.05); };
";

#[test]
fn every_text_reads_in_light_and_dark() {
    let room = Room::start();
    for dark in [false, true] {
        let page = Page::open_as(&room.url(), &Reader { dark, ..Reader::default() });
        page.wait("connected", "document.querySelector('[data-state=connected]')");
        page.insert("mine");
        page.press("Enter", 0);
        page.wait("it is said", "said('.mine').length === 1");
        room.join(5).say("https://example.com `code` \u{202e}");
        page.wait("the messages", "said('.message').length === 3 && said('.notice').length === 2");
        page.eval(CONTRAST);
        assert_eq!(page.eval("light(getComputedStyle(document.body).backgroundColor) < 0.2"), dark);
        let faint = page.eval(
            "[...document.querySelectorAll('h1, p, time, a, code, button, textarea, .sender')]
               .filter((element) => element.checkVisibility() && contrast(element) < 4.5)
               .map((element) => `${element.tagName}.${element.className}: ${contrast(element)}`)",
        );
        assert_eq!(faint, json!([]));
        let faintest = page.eval(
            "(() => { const row = document.querySelector('.message:not(.mine)'), name = row.querySelector('.sender'); let least = 99;
               for (let hue = 0; hue < 360; hue += 1) { row.style.setProperty('--hue', hue); least = Math.min(least, contrast(name)); }
               return least; })()",
        );
        assert!(faintest.as_f64().expect("a number") >= 4.5, "a sender's contrast is {faintest}");
    }
}

#[test]
fn from_a_narrow_phone_to_a_wide_screen() {
    let room = Room::start();
    for (width, height) in [(320, 568), (320, 260), (390, 844), (900, 640), (2_560, 1_440)] {
        for (languages, path) in [("en", ""), ("zh-TW", ""), ("en", "echo"), ("zh-TW", "echo")] {
            let reader =
                Reader { languages, width, height, phone: width < 500, ..Reader::default() };
            let page = Page::open_as(&format!("{}{path}", room.url()), &reader);
            room.join(-9_223_372_036_854_775_808).say(&"unbreakable".repeat(40));
            let outside = page.eval(
                "[document.documentElement.scrollWidth > innerWidth, document.documentElement.scrollHeight > innerHeight,
                  ...[...document.querySelectorAll('header *, #composer *, .message, .notice')].filter((element) => element.checkVisibility() && element.getBoundingClientRect().width > 1)
                    .filter((element) => { const box = element.getBoundingClientRect(); return box.left < 0 || box.right > innerWidth + 0.5; })
                    .map((element) => element.outerHTML)].filter(Boolean)",
            );
            assert_eq!(outside, json!([]), "{width} x {height} {languages} {path}");
            let small = page.eval(
                "[...document.querySelectorAll('button, a:not(.text a), textarea, input')].filter((element) => element.checkVisibility() && element.getBoundingClientRect().height < 24)
                   .map((element) => element.outerHTML)",
            );
            assert_eq!(small, json!([]), "{width} x {height}");
        }
    }
}

#[test]
fn everything_by_keyboard_alone() {
    let room = Room::start();
    let page = Page::open_as(&room.url(), &Reader::first());
    page.wait("connected", "document.querySelector('[data-state=connected]')");
    page.wait("the focus", "document.activeElement.id === 'messageText'");
    page.insert("by hand");
    page.press("Enter", 0);
    page.wait("it was sent", "document.querySelector('.mine')");
    let focused =
        |page: &Page| page.eval("document.activeElement.id || document.activeElement.tagName");
    for id in ["later", "BUTTON", "new-name", "log", "you"] {
        page.press("Tab", 8);
        assert_eq!(focused(&page), id);
    }
    let ring = page.eval("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(ring, "solid", "the focus can be seen");
    page.press("Enter", 0);
    page.wait("the dialog", "document.querySelector('#settings').open");
    assert_eq!(focused(&page), "name");
    page.press("Escape", 0);
    page.wait("no dialog", "!document.querySelector('#settings').open");
    assert_eq!(focused(&page), "you");
    for id in ["log", "new-name", "BUTTON", "later", "messageText", "BUTTON"] {
        page.press("Tab", 0);
        assert_eq!(focused(&page), id);
    }
}

#[test]
fn a_screen_reader_hears_new_messages_and_nothing_twice() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.wait("connected", "document.querySelector('[data-state=connected]')");
    assert_eq!(
        page.eval("[...document.querySelectorAll('[role], [aria-live]:not(.notice)')].map((element) => [element.id, element.role])"),
        json!([
            ["status", "status"],
            ["log", "log"],
            ["naming-hint", "status"],
            ["hint", "status"],
            ["invite-hint", "status"],
            ["kept-hint", "status"]
        ])
    );
    assert_eq!(page.eval("document.querySelector('#log').ariaLabel"), "Messages");
    let address = room.address;
    room.join(5).say("old");
    page.wait("the messages", "said('li').length === 3");
    // What a screen reader would speak: what is added or changed in live regions.
    page.eval(
        "(() => { window.spoken = [];
           new MutationObserver((changes) => { for (const { target, addedNodes } of changes) for (const node of addedNodes) spoken.push(node.textContent); })
             .observe(document.querySelector('#log'), { childList: true, characterData: true, subtree: true });
           window.said = [];
           new MutationObserver(() => said.push(document.querySelector('#status').textContent)).observe(document.querySelector('#status'), { childList: true, characterData: true, subtree: true }); })()",
    );
    drop(room);
    page.wait("lost after a try", "document.querySelector('[data-state=lost]')");
    let room = Room::start_at(address);
    page.wait("connected again", "document.querySelector('[data-state=connected]')");
    room.join(6).say("new");
    page.wait(
        "the new messages",
        "[...document.querySelectorAll('.text')].at(-1).textContent === 'new'",
    );
    let spoken = page.eval("spoken.join('|')");
    let spoken = spoken.as_str().expect("a text");
    assert!(spoken.contains("new") && !spoken.contains("old"), "{spoken}");
    // Tries and seconds are not told one by one.
    let said = page.eval("said.filter((text, index) => text !== said[index - 1])");
    let said = said.as_array().expect("a list");
    assert!(said.len() <= 3 && said.last().expect("something") == "Connected", "{said:?}");
}

#[test]
fn nothing_moves_by_itself() {
    let room = Room::start();
    let page = Page::open(&room.url());
    room.join(5);
    page.wait("a message", "said('.message')[0]");
    assert_eq!(page.eval("document.getAnimations().length"), 0);
    assert_eq!(
        page.eval("getComputedStyle(document.querySelector('#log')).scrollBehavior"),
        "auto"
    );
}

#[test]
fn a_page_that_is_not_whole_says_so() {
    let room = Room::start();
    let shown = "document.querySelector('#unfinished').checkVisibility() && document.querySelector('#unfinished').innerText";
    for file in ["main.js", "log.js", "dialogs.js", "common.js", "style.css"] {
        let page = Page::open_as("about:blank", &Reader::first());
        page.call("Network.setBlockedURLs", json!({ "urls": [format!("*{file}")] }));
        page.call("Page.navigate", json!({ "url": room.url() }));
        page.wait(
            "the page",
            &format!("location.href === {:?} && document.readyState === 'complete'", room.url()),
        );
        if file == "style.css" {
            page.wait("a page that works", "document.querySelector('[data-state=connected]')");
            continue;
        }
        let said = page.eval(shown);
        let said = said.as_str().expect("a text");
        assert!(said.contains("too old") && said.contains("did not arrive"), "{file}: {said}");
        assert!(said.contains("瀏覽器太舊"), "{file}: {said}");
        page.eval("faults.splice(0)");
    }
}

#[test]
fn an_odd_language_is_english() {
    let room = Room::start();
    for languages in ["['en-US@posix']", "['c']", "[]", "undefined"] {
        let page = Page::open_as("about:blank", &Reader::first());
        page.call(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": format!("Object.defineProperty(navigator, 'languages', {{ value: {languages} }})") }),
        );
        page.go(&room.url());
        page.wait("connected", "document.querySelector('[data-state=connected]')");
        assert_eq!(page.eval("document.querySelector('#composer button').textContent"), "Send");
        room.join(5);
        page.wait(
            "a message with its time",
            "/\\d/.test(document.querySelector('.message time').textContent)",
        );
    }
}

#[test]
fn an_empty_room_says_what_will_be_seen() {
    let room = Room::start();
    for (languages, start) in [("en", "Nothing has been said yet."), ("zh-TW", "還沒有人說話")]
    {
        let page = Page::open_as(&room.url(), &Reader { languages, ..Reader::first() });
        let content = "getComputedStyle(document.querySelector('#messages'), '::before').content";
        page.wait(start, &format!("{content}.includes({start:?})"));
    }
}

#[test]
fn a_print_has_the_whole_conversation() {
    let room = Room::start();
    let page = Page::open(&room.url());
    room.join(5).say(&format!("```\n{}```", "code\n".repeat(200)));
    page.wait("the message", "said('.notice').length === 1");
    page.call("Emulation.setEmulatedMedia", json!({ "media": "print" }));
    // Nothing is cut off or scrolls, and nothing but the log is there.
    let cut = page.eval(
        "[...document.querySelectorAll('#log, #log *')].filter((element) => ['auto', 'scroll', 'hidden'].includes(getComputedStyle(element).overflowY) && element.scrollHeight > element.clientHeight + 1).length",
    );
    assert_eq!(cut, 0);
    let height = page.eval("document.querySelector('#log').getBoundingClientRect().height");
    let rest = page.eval("document.scrollingElement.scrollHeight - document.querySelector('#messages > li:last-child').getBoundingClientRect().bottom - scrollY");
    assert!(rest.as_f64().expect("a number") < 20.0, "{rest} are blank after the last row");
    page.call("Emulation.setEmulatedMedia", json!({ "media": "" }));
    let pdf = page.call("Page.printToPDF", json!({ "paperWidth": 8.27, "paperHeight": 11.69 }));
    let pdf = crate::pictures::decode_base64(pdf["data"].as_str().expect("a text"));
    let sheets = pdf.windows(11).filter(|bytes| bytes == b"/Type /Page").count() - 1;
    // A sheet has 11 inches of 96 pixels, less the margins; its width makes other lines.
    let expected = height.as_f64().expect("a number") / (10.9 * 96.0);
    assert!(
        (expected * 0.8..expected * 1.3 + 1.0).contains(&(sheets as f64)),
        "{sheets} sheets for {expected}"
    );
}

#[test]
fn forced_colours_leave_each_box_an_edge() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.call(
        "Emulation.setEmulatedMedia",
        json!({ "features": [{ "name": "forced-colors", "value": "active" }] }),
    );
    for dialog in ["invitation", "settings"] {
        page.eval(&format!("document.querySelector('#{dialog}').showModal()"));
        let edge = page.eval(&format!(
            "(() => {{ const style = getComputedStyle(document.querySelector('#{dialog}')); return [style.borderTopStyle, parseFloat(style.borderTopWidth) >= 1, style.borderTopColor !== style.backgroundColor]; }})()"
        ));
        assert_eq!(edge, json!(["solid", true, true]), "{dialog}");
        page.eval(&format!("document.querySelector('#{dialog}').close()"));
    }
}
