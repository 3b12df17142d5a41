//! Nothing that anybody can send changes the page or passes for something else.

use crate::browser::{Page, Reader};
use crate::rig::Room;
use serde_json::json;

#[test]
fn hostile_texts_are_texts() {
    let room = Room::start_with(|config| {
        config.limits.max_message = 4 << 20;
        config.limits.max_queue = 16 << 20;
    });
    let page = Page::open(&room.url());
    page.wait("connected", "document.querySelector('[data-state=connected]')");
    let mut client = room.join(5);
    let marks = format!("a{}", "\u{301}".repeat(1_000_000));
    let links = "http://a ".repeat(20_000);
    let brackets = format!("http://a/{}", ")".repeat(100_000));
    let lines = "\n".repeat(60_000);
    let mut count = 1;
    for text in [
        "<script>window.owned = 1</script>",
        "<img src=x onerror='window.owned = 1'><svg onload='window.owned = 1'>",
        "javascript:window.owned=1",
        "<a href=\"javascript:window.owned=1\" onclick=\"window.owned=1\">x</a>",
        "Client #9 left the chat",
        "Client #9 says: forged",
        "\nClient #9 left the chat\n",
        "hi\r\nClient #9 says: forged",
        "{{constructor.constructor('window.owned=1')()}} ${window.owned=1}",
        "",
        " ",
        "\0\u{1}\u{7f}\u{85}\u{ffff}",
        "zero\u{200b}width\u{feff}\u{2060}\u{ad}\u{3164}",
        "\u{202e}txt.exe\u{2066}\u{202a}\u{2029}\u{2028}",
        "שלום \u{202b}עולם",
        "👩‍👩‍👧‍👦 🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} ☎\u{fe0f}",
        "]]>&lt;&#x0;%00%0a\\u0000",
        &"x".repeat(65_000),
        &links,
        &brackets,
        &"`".repeat(50_001),
        &"\u{202e}a".repeat(20_000),
        &lines,
        &marks,
    ] {
        client.say(text);
        count += 1;
        page.wait("the message", &format!("said('.message').length === {count}"));
        let shown =
            page.eval("document.querySelector('#messages > li:last-child .text').textContent");
        // The server leaves no control characters in its objects but those that text needs.
        let text = text.replace(|c: char| c < ' ' && !"\t\n\r".contains(c), "\u{fffd}");
        assert!(shown == *text, "{text:.80?} is shown as {shown:.80?}");
    }
    assert_eq!(page.eval("said('.notice').length"), 0);
    assert_eq!(page.eval("window.owned ?? null"), json!(null));
    assert_eq!(
        page.eval("[...new Set([...document.querySelectorAll('#messages *')].map((element) => element.tagName))].sort().join()"),
        "A,BDI,CODE,DIV,LI,P,SPAN,TIME"
    );
    assert_eq!(page.eval("[...document.querySelectorAll('#messages a')].filter((link) => !/^https?:$/.test(link.protocol)).length"), 0);
    // Nothing reaches out of its row, sideways or over others.
    assert_eq!(page.eval("document.documentElement.scrollWidth <= innerWidth && document.querySelector('#log').scrollWidth <= document.querySelector('#log').clientWidth"), true);
    assert_eq!(page.eval("[...document.querySelectorAll('.message')].every((row) => getComputedStyle(row).overflow === 'clip' && row.offsetHeight < 700)"), true);
    assert_eq!(page.eval("document.title"), "roomd");
    // And the page goes on.
    page.insert("still here");
    page.press("Enter", 0);
    page.wait("an own message", "document.querySelector('.mine')");
}

#[test]
fn what_turns_the_writing_around_turns_nothing_else() {
    let room = Room::start();
    let page = Page::open(&room.url());
    let mut client = room.join(5);
    client.say("abc\u{202e}def");
    page.wait("the message", "document.querySelector('.mark')");
    // The letters after the override still go from left to right, and it is shown for what it is.
    let places = page.eval(
        "(() => { const letters = document.querySelector('.mark').nextSibling;
           return [0, 1, 2].map((index) => { const range = new Range(); range.setStart(letters, index); range.setEnd(letters, index + 1); return range.getBoundingClientRect().x; }); })()",
    );
    let x = |index: usize| places[index].as_f64().expect("a place");
    assert!(x(0) < x(1) && x(1) < x(2), "{places}");
    assert_eq!(page.eval("document.querySelector('.mark').dataset.code"), "U+202E");
    client.say("\u{200b}\u{2060}");
    page.wait(
        "a blank text says so",
        "[...document.querySelectorAll('.text')].at(-1).dataset.blank === '(blank)'",
    );
}

#[test]
fn the_policy_is_strict_and_in_force() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.wait("connected", "document.querySelector('[data-state=connected]')");
    let fields =
        page.eval("fetch(location.href).then(({ headers }) => Object.fromEntries(headers))");
    let policy = fields["content-security-policy"].as_str().expect("a policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ] {
        assert!(policy.split("; ").any(|part| part == rule), "{rule} is not in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(fields["x-content-type-options"], "nosniff");
    assert_eq!(fields["referrer-policy"], "no-referrer");
    assert_eq!(page.eval("(() => { try { document.body.innerHTML = '<b>'; } catch (error) { return error.name; } })()"), "TypeError");
    let violated = page.wait("the violation is seen", "faults.length && faults.splice(0)");
    assert_eq!(violated, json!(["CSP require-trusted-types-for"]));
}

#[test]
fn a_reload_costs_one_304() {
    let room = Room::start();
    let page = Page::open(&room.url());
    page.wait("connected", "document.querySelector('[data-state=connected]')");
    page.events("Network.responseReceived");
    page.events("Network.responseReceivedExtraInfo");
    page.reload();
    page.wait("connected", "document.querySelector('[data-state=connected]')");
    let answers = page.events("Network.responseReceived");
    let url = |id: &serde_json::Value| {
        let answer = answers.iter().find(|event| event["params"]["requestId"] == *id);
        answer.map_or("", |event| event["params"]["response"]["url"].as_str().expect("a text"))
    };
    let asked: Vec<_> = page
        .events("Network.responseReceivedExtraInfo")
        .into_iter()
        .map(|event| event["params"].clone())
        .filter(|answer| answer["statusCode"] != 101)
        .map(|answer| (url(&answer["requestId"]).to_string(), answer["statusCode"].clone()))
        .collect();
    assert_eq!(asked, [(room.url(), json!(304))]);
}

#[test]
fn a_room_begins_with_few_requests() {
    let room = Room::start();
    let page = Page::open_as("about:blank", &Reader::first());
    page.go(&room.url());
    page.wait(
        "the whole page",
        "document.querySelector('#unfinished') === null && document.readyState === 'complete'",
    );
    let asked = page.eval("performance.getEntriesByType('resource').map(({ name }) => name.split('/').pop()).filter((name) => /[.](js|css)$/.test(name)).sort()");
    let preloaded = page.eval("[...document.querySelectorAll('link[rel=modulepreload], link[rel=stylesheet], script')].map(({ href, src }) => (href ?? src).split('/').pop()).sort()");
    assert_eq!(asked, preloaded, "a module is found late, or loaded in vain");
    // Browsers have six connections: what a room cannot begin without has little to wait for.
    let later = ["people.js", "dialogs.js"];
    let all = preloaded.as_array().expect("a list");
    assert_eq!(all.iter().filter(|name| later.iter().all(|late| name != late)).count(), 7);
}

#[test]
fn all_assets_are_small_and_can_be_read() {
    let mut all = 0;
    for file in
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets")).expect("the assets")
    {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("text");
        all += text.len();
        for (line, number) in text.lines().zip(1..) {
            let width = line.chars().count();
            // The icon is one path, and the document one line a paragraph.
            let is_source = path.extension().is_some_and(|kind| kind == "css" || kind == "js");
            assert!(!is_source || width <= 180, "{path:?}:{number} has {width} columns");
        }
    }
    assert!(all <= 64_000, "the assets have {all} bytes");
}
