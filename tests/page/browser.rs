//! Debian's Chromium, driven over its DevTools protocol.
//!
//! One browser serves all tests. Each page gets a browser context of its own, so that no page sees
//! another's storage or cache, and a window of its own, so that none hides another.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use crate::tab::{PATIENCE_MS, PRELUDE, READY, Tab, waiting};

const CHROMIUM: &str = "/usr/bin/chromium";
const OLDEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/npm/chromium-109");

const PATIENCE: Duration = Duration::from_millis(PATIENCE_MS as u64);

/// Stops the browser and removes its profile when this process ends, however it ends: its standard
/// input is at its end then, and nobody reads what the shell says of a browser that it stopped.
const KEEPER: &str = r#"profile=$1; shift; "$@" --user-data-dir="$profile" & pid=$!
exec 2>/dev/null; read -r _; kill $pid; wait $pid; rm -rf "$profile""#;

pub struct Browser {
    address: String,
    devtools: Mutex<Devtools>,
    _keeper: (Child, ChildStdin),
}

/// Debian's, which is of this year.
pub fn newest() -> &'static Browser {
    static BROWSER: OnceLock<Browser> = OnceLock::new();
    BROWSER.get_or_init(|| Browser::start("chromium", CHROMIUM))
}

/// One of 2023, about the oldest for which the page is made.
pub fn oldest() -> &'static Browser {
    static BROWSER: OnceLock<Browser> = OnceLock::new();
    BROWSER.get_or_init(|| Browser::start("oldest", OLDEST))
}

impl Browser {
    fn start(name: &str, program: &str) -> Browser {
        assert!(
            std::path::Path::new(program).exists(),
            "{program} is missing: `make test` and `make test-browsers` install it"
        );
        let profile = std::env::temp_dir().join(format!("roomd-{name}-{}", std::process::id()));
        let mut child = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(profile)
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync"])
            // A name of the local network, as it would be there, and one of a page elsewhere.
            .arg("--host-resolver-rules=MAP boat.local 127.0.0.1, MAP elsewhere.example 127.0.0.1")
            .args(["--remote-debugging-port=0", "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let stdin = child.stdin.take().expect("it is piped");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("DevTools listening on ").map(String::from))
            .expect("Chromium says where it listens");
        // A full pipe would stop the browser.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = url.split('/').nth(2).expect("a host").to_string();
        Browser { devtools: Mutex::new(Devtools::open(&url)), address, _keeper: (child, stdin) }
    }

    fn call(&self, method: &str, params: Value) -> Value {
        self.devtools.lock().unwrap_or_else(PoisonError::into_inner).call(method, params)
    }
}

/// One connection to the browser, or to one of its pages.
struct Devtools {
    socket: WebSocket<TcpStream>,
    calls: u64,
    events: Vec<Value>,
}

impl Devtools {
    fn open(url: &str) -> Devtools {
        let address = url.split('/').nth(2).expect("a host");
        let stream = TcpStream::connect(address).expect("Chromium listens");
        stream.set_read_timeout(Some(PATIENCE + Duration::from_secs(5))).expect("a timeout");
        // Pictures are large.
        let config = WebSocketConfig::default()
            .max_message_size(Some(64 << 20))
            .max_frame_size(Some(64 << 20));
        let (socket, _) = tungstenite::client::client_with_config(url, stream, Some(config))
            .expect("Chromium speaks WebSocket");
        Devtools { socket, calls: 0, events: Vec::new() }
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.calls += 1;
        let request = json!({ "id": self.calls, "method": method, "params": params });
        self.socket.send(Message::text(request.to_string())).expect("Chromium listens");
        loop {
            let message = match self.socket.read() {
                Ok(Message::Text(text)) => {
                    serde_json::from_str::<Value>(&text).expect("Chromium speaks JSON")
                }
                Ok(_) => continue,
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("{method}: Chromium does not answer: {error}"),
            };
            if message["id"] == self.calls {
                return match message.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(message["result"].clone()),
                };
            }
            if message.get("method").is_some() {
                self.events.push(message);
            }
        }
    }
}

/// What a page finds about its reader.
pub struct Reader {
    pub languages: &'static str,
    pub dark: bool,
    pub width: u32,
    pub height: u32,
    pub phone: bool,
    /// How many messages are in the log of a room when its page is handed over.
    pub messages: usize,
}

impl Reader {
    /// A reader of a log in which nothing has been said.
    pub fn first() -> Self {
        Reader { messages: 0, ..Reader::default() }
    }
}

impl Default for Reader {
    fn default() -> Self {
        Reader {
            languages: "en-GB,en",
            dark: false,
            width: 900,
            height: 640,
            phone: false,
            messages: 240,
        }
    }
}

/// A page in a window. When it goes, it must have kept its Content-Security-Policy and have thrown
/// nothing.
pub struct Page {
    browser: &'static Browser,
    devtools: Mutex<Devtools>,
    context: String,
    target: String,
}

impl Page {
    pub fn open(url: &str) -> Page {
        Page::open_as(url, &Reader::default())
    }

    pub fn open_as(url: &str, reader: &Reader) -> Page {
        Page::open_in(newest(), url, reader)
    }

    pub fn open_in(browser: &'static Browser, url: &str, reader: &Reader) -> Page {
        let context = browser.call("Target.createBrowserContext", json!({}));
        let context = text(&context["browserContextId"]);
        let target = browser.call(
            "Target.createTarget",
            json!({ "url": "about:blank", "browserContextId": context, "newWindow": true }),
        );
        let target = text(&target["targetId"]);
        let devtools = Devtools::open(&format!("ws://{}/devtools/page/{target}", browser.address));
        let page = Page { browser, devtools: Mutex::new(devtools), context, target };
        for domain in ["Page", "Runtime", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.call(
            "Emulation.setUserAgentOverride",
            json!({ "userAgent": "Chromium", "acceptLanguage": reader.languages }),
        );
        let scheme = if reader.dark { "dark" } else { "light" };
        page.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
        page.resize(reader);
        page.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": PRELUDE }));
        if url == "about:blank" {
            return page;
        }
        page.go(url);
        if reader.messages > 0 && page.eval("document.documentElement.dataset.page") == "room" {
            page.fill(url, reader.messages);
        }
        page
    }

    pub fn resize(&self, reader: &Reader) {
        let Reader { width, height, phone, .. } = *reader;
        let scale = if phone { 2 } else { 1 };
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone }),
        );
        self.call("Emulation.setTouchEmulationEnabled", json!({ "enabled": phone }));
    }

    /// Shows `url`, and comes back when the page's own scripts have run.
    pub fn go(&self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        self.wait("the page is there", &format!("location.href === {url:?} && {READY}"));
    }

    pub fn reload(&self) {
        self.eval("window.isOld = true");
        self.call("Page.reload", json!({}));
        self.wait("the page is there again", &format!("!window.isOld && {READY}"));
    }

    pub fn call(&self, method: &str, params: Value) -> Value {
        self.devtools().call(method, params)
    }

    /// The value of a JavaScript expression, or of the promise that it is.
    pub fn eval(&self, expression: &str) -> Value {
        let result = self.call("Runtime.evaluate", evaluation(expression));
        if let Some(details) = result.get("exceptionDetails") {
            panic!("{expression}: {details}");
        }
        result["result"]["value"].clone()
    }

    /// Waits until a JavaScript expression is true, and gives its value.
    #[track_caller]
    pub fn wait(&self, what: &str, expression: &str) -> Value {
        let looking = waiting(expression);
        loop {
            // A document that goes away takes the promise with it; the next one is asked again.
            let result = self.devtools().try_call("Runtime.evaluate", evaluation(&looking));
            let Ok(result) = result else { continue };
            let value = &result["result"]["value"];
            if value.is_null() {
                let shown = self.eval("document.body.innerText.slice(-500)");
                panic!("{what} did not come ({expression}); the page shows: {shown}");
            }
            return value.clone();
        }
    }

    /// Types text as one keystroke would not: an input method's or a paste's whole text.
    pub fn insert(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key; `modifiers` are DevTools': 1 is Alt, 2 Control, 8 Shift.
    pub fn press(&self, key: &str, modifiers: u32) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Escape" => (27, ""),
            "Backspace" => (8, ""),
            "End" => (35, ""),
            "Home" => (36, ""),
            "PageUp" => (33, ""),
            "PageDown" => (34, ""),
            " " => (32, " "),
            _ => panic!("which key is {key}?"),
        };
        let event = |kind: &str| {
            json!({ "type": kind, "key": key, "code": key, "text": text, "modifiers": modifiers,
                    "windowsVirtualKeyCode": code })
        };
        let down = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        self.call("Input.dispatchKeyEvent", event(down));
        let mut up = event("keyUp");
        up["text"] = "".into();
        self.call("Input.dispatchKeyEvent", up);
    }

    pub fn click(&self, selector: &str) {
        let middle = self.eval(&format!(
            "(() => {{ const box = document.querySelector({selector:?}).getBoundingClientRect();
               return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            self.call(
                "Input.dispatchMouseEvent",
                json!({ "type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1 }),
            );
        }
    }

    /// Draws a finger over the window, upwards if `distance` is negative.
    pub fn drag(&self, x: f64, y: f64, distance: i32) {
        let touch = |kind: &str, points: Value| {
            self.call("Input.dispatchTouchEvent", json!({ "type": kind, "touchPoints": points }));
        };
        touch("touchStart", json!([{ "x": x, "y": y }]));
        for step in 1..=10 {
            touch("touchMove", json!([{ "x": x, "y": y + f64::from(distance * step) / 10.0 }]));
        }
        touch("touchEnd", json!([]));
    }

    /// Allows something that a browser asks its reader about.
    pub fn grant(&self, permission: &str) {
        self.browser.call(
            "Browser.grantPermissions",
            json!({ "permissions": [permission], "browserContextId": self.context }),
        );
    }

    /// Another tab is opened in front of this one, and closed by [`Page::show`].
    pub fn hide(&self) -> String {
        let cover = self.browser.call(
            "Target.createTarget",
            json!({ "url": "about:blank", "browserContextId": self.context }),
        );
        self.wait("the tab is hidden", "document.hidden");
        text(&cover["targetId"])
    }

    pub fn show(&self, cover: &str) {
        self.browser.call("Target.closeTarget", json!({ "targetId": cover }));
        self.browser.call("Target.activateTarget", json!({ "targetId": self.target }));
        self.wait("the tab is shown", "!document.hidden");
    }

    /// A picture of what is seen, as base64 of a PNG.
    pub fn picture(&self) -> String {
        text(&self.call("Page.captureScreenshot", json!({ "format": "png" }))["data"])
    }

    /// The DevTools events of one kind so far, which are forgotten then.
    pub fn events(&self, method: &str) -> Vec<Value> {
        let mut devtools = self.devtools();
        let (wanted, others) =
            devtools.events.drain(..).partition(|event| event["method"] == method);
        devtools.events = others;
        wanted
    }

    fn devtools(&self) -> std::sync::MutexGuard<'_, Devtools> {
        self.devtools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tab for Page {
    fn eval(&self, expression: &str) -> Value {
        self.eval(expression)
    }

    fn perform(&self, actions: Value) {
        panic!("DevTools have other words than {actions}");
    }

    fn insert(&self, text: &str) {
        self.insert(text);
    }

    fn press(&self, key: &str, shift: bool) {
        self.press(key, if shift { 8 } else { 0 });
    }

    fn click(&self, selector: &str) {
        self.click(selector);
    }

    fn wheel(&self, x: u32, y: u32, notches: i32) {
        let delta = 100 * notches;
        self.call(
            "Input.dispatchMouseEvent",
            json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": delta }),
        );
    }

    fn resize(&self, width: u32, height: u32) {
        self.resize(&Reader { width, height, ..Reader::default() });
    }

    fn go(&self, url: &str) {
        self.go(url);
    }

    fn wait(&self, what: &str, expression: &str) -> Value {
        self.wait(what, expression)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let faults = match thread::panicking() {
            true => json!([]),
            false => self.eval("window.faults"),
        };
        let context = json!({ "browserContextId": self.context });
        self.browser.call("Target.disposeBrowserContext", context);
        assert!(faults == json!([]), "the page had faults: {faults}");
    }
}

fn evaluation(expression: &str) -> Value {
    json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).into()
}
