//! What the tests that run in each browser do with it.

use serde_json::{Value, json};

/// A page in a browser.
pub trait Tab {
    /// The value of a JavaScript expression, or of the promise that it is.
    fn eval(&self, expression: &str) -> Value;
    /// Does what hands do, in the words of WebDriver.
    fn perform(&self, actions: Value);
    fn resize(&self, width: u32, height: u32);
    fn go(&self, url: &str);

    /// Types text into what has the focus, as an input method or a paste does.
    fn insert(&self, text: &str) {
        self.eval(&format!("document.execCommand('insertText', false, {text:?})"));
    }

    /// Presses a key, with Shift or without.
    fn press(&self, key: &str, shift: bool) {
        let key = match key {
            "Enter" => "\u{e007}",
            "PageUp" => "\u{e00e}",
            "PageDown" => "\u{e00f}",
            " " => " ",
            _ => panic!("which key is {key}?"),
        };
        let event = |kind: &str, key: &str| json!({ "type": kind, "value": key });
        let mut actions = vec![event("keyDown", key), event("keyUp", key)];
        if shift {
            actions.insert(0, event("keyDown", "\u{e008}"));
            actions.push(event("keyUp", "\u{e008}"));
        }
        self.perform(json!([{ "type": "key", "id": "keys", "actions": actions }]));
    }

    fn click(&self, selector: &str) {
        let middle = self.eval(&format!(
            "(() => {{ const box = document.querySelector({selector:?}).getBoundingClientRect();
               return [box.x + box.width / 2, box.y + box.height / 2].map(Math.round); }})()"
        ));
        let actions = json!([
            { "type": "pointerMove", "x": middle[0], "y": middle[1] },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
        ]);
        self.perform(json!([{ "type": "pointer", "id": "mouse", "actions": actions }]));
    }

    /// Turns the wheel over a point of the window; downwards if `notches` is positive.
    fn wheel(&self, x: u32, y: u32, notches: i32) {
        let scroll =
            json!({ "type": "scroll", "x": x, "y": y, "deltaX": 0, "deltaY": 100 * notches });
        self.perform(json!([{ "type": "wheel", "id": "wheel", "actions": [scroll] }]));
    }

    /// The expression's first true value, or null when none comes.
    fn look(&self, expression: &str) -> Value {
        self.eval(&waiting(expression))
    }

    /// Waits until the log has come to rest.
    fn settle(&self) {
        self.eval("(window.rest = 0, null)");
        self.wait(
            "the log rests",
            "(window.rest = window.restedAt === document.querySelector('#log').scrollTop ? window.rest + 1 : 0,
              window.restedAt = document.querySelector('#log').scrollTop, window.rest > 10)",
        );
    }

    /// Waits until a JavaScript expression is true, and gives its value.
    fn wait(&self, what: &str, expression: &str) -> Value {
        let value = self.look(expression);
        if value.is_null() {
            let shown = self.eval("document.body.innerText.slice(-500)");
            panic!("{what} did not come ({expression}); the page shows: {shown}");
        }
        value
    }

    /// Has so much said that the log does not fit the window, as in any room that is used. The
    /// page's `said(selector)` finds the rows that come afterwards.
    fn fill(&self, url: &str, messages: usize) {
        self.wait("connected", "document.querySelector('[data-state=connected]')");
        crate::rig::talk(url, messages);
        self.wait(
            "all has been said",
            &format!(
                "document.querySelectorAll('#messages > .message').length >= {messages} &&
                 document.querySelectorAll('#messages > .notice').length >= 4"
            ),
        );
        self.eval("window.filled = document.querySelectorAll('#messages > li').length");
    }
}

/// What each page is given before its own scripts run: it notes its faults.
pub const PRELUDE: &str = "window.faults = [];
    addEventListener('securitypolicyviolation', (event) => faults.push(`CSP ${event.violatedDirective}`));
    addEventListener('error', (event) => faults.push(event.message));
    addEventListener('unhandledrejection', (event) => faults.push(String(event.reason)));
    window.filled = 0;
    window.said = (selector) => [...document.querySelectorAll('#messages > li')].slice(filled).filter((row) => row.matches(selector));";

/// The page has found out whether it can connect.
pub const READY: &str =
    "document.querySelector('#connection[data-state]:not([data-state=connecting])')";

/// How long anything may take. Much longer than it does, since a machine can be busy.
pub const PATIENCE_MS: u32 = 20_000;

/// A promise of the expression's first true value, or of null when none comes. It counts its looks,
/// since tests set the page's clocks.
pub fn waiting(expression: &str) -> String {
    format!(
        "new Promise((done) => {{
            let looks = {PATIENCE_MS} / 15;
            const look = () => {{
                let value;
                try {{ value = {expression}; }} catch {{}}
                if (value || (looks -= 1) < 0) done(value instanceof Node ? true : value || null);
                else setTimeout(look, 15);
            }};
            look();
        }})"
    )
}
