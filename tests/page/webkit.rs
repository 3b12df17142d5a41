//! WebKitGTK, driven over WebDriver by its WebKitWebDriver.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::program::free_address;
use crate::tab::{PATIENCE_MS, PRELUDE, READY, Tab, waiting};

/// Ends the driver, and its browser with it, when this process ends, however it ends.
const KEEPER: &str = r#"WebKitWebDriver --port="$1" & pid=$!; read -r _; kill $pid; wait $pid"#;

/// A browser with one page. It has a driver of its own, since a driver has but one browser.
pub struct Page {
    driver: u16,
    session: String,
    _keeper: (Child, ChildStdin),
}

impl Page {
    pub fn open(url: &str) -> Page {
        let driver = free_address().port();
        let mut child = Command::new("sh")
            .args(["-c", KEEPER, "sh", &driver.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let stdin = child.stdin.take().expect("it is piped");
        let mut tries = 0;
        while TcpStream::connect(("127.0.0.1", driver)).is_err() {
            tries += 1;
            assert!(tries < 400, "no WebKitWebDriver: `make test-browsers` installs it");
            thread::sleep(Duration::from_millis(25));
        }
        let browser = std::fs::read_dir("/usr/lib")
            .expect("/usr/lib")
            .filter_map(|folder| Some(folder.ok()?.path().join("webkit2gtk-4.1/MiniBrowser")))
            .find(|program| program.exists())
            .expect("the driver's package has a browser");
        let mut page = Page { driver, session: String::new(), _keeper: (child, stdin) };
        let options = json!({ "binary": browser, "args": ["--automation"] });
        let wanted = json!({ "alwaysMatch": { "webkitgtk:browserOptions": options } });
        let created = page.ask("POST", "", json!({ "capabilities": wanted }));
        page.session = format!("/{}", created["sessionId"].as_str().expect("a session"));
        page.resize(900, 640);
        page.go(url);
        page.fill(url, 240);
        page
    }

    fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: Value) -> Result<Value, Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.driver)).expect("it listens");
        let patience = Duration::from_millis(u64::from(PATIENCE_MS) + 20_000);
        stream.set_read_timeout(Some(patience)).expect("a timeout");
        let body = body.to_string();
        let request = format!(
            "{method} /session{}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{body}",
            self.session,
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("the driver reads");
        let mut answer = Vec::new();
        let mut buffer = [0; 1 << 16];
        loop {
            let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = head {
                let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
                let length = head.split("content-length:").nth(1).expect("a length");
                let length = length.lines().next().unwrap_or_default().trim();
                if answer.len() >= end + 4 + length.parse::<usize>().expect("a length") {
                    let value: Value = serde_json::from_slice(&answer[end + 4..]).expect("JSON");
                    let value = value["value"].clone();
                    return if value["error"].is_null() { Ok(value) } else { Err(value) };
                }
            }
            match stream.read(&mut buffer).expect("the driver answers") {
                0 => panic!("{path}: the driver went away"),
                read => answer.extend_from_slice(&buffer[..read]),
            }
        }
    }

    fn try_eval(&self, expression: &str) -> Result<Value, Value> {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             Promise.resolve({expression}).then((value) => done(JSON.stringify(value ?? null)), (error) => done(JSON.stringify(`failed: ${{error}}`)));"
        );
        let body = json!({ "script": script, "args": [] });
        let value = self.try_ask("POST", "/execute/async", body)?;
        Ok(serde_json::from_str(value.as_str().expect("JSON")).expect("JSON"))
    }
}

impl Tab for Page {
    fn eval(&self, expression: &str) -> Value {
        self.try_eval(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn look(&self, expression: &str) -> Value {
        loop {
            // A document that goes away takes the promise with it; the next one is asked again.
            match self.try_eval(&waiting(expression)) {
                Ok(value) => return value,
                Err(error) => assert_eq!(error["error"], "no such frame", "{expression}: {error}"),
            }
        }
    }

    fn perform(&self, actions: Value) {
        self.ask("POST", "/actions", json!({ "actions": actions }));
    }

    /// The page gets this size, whatever the window's decoration takes.
    fn resize(&self, width: u32, height: u32) {
        let sizes = "[outerWidth - innerWidth, outerHeight - innerHeight, innerWidth, innerHeight]";
        for attempt in 0..400 {
            let sizes = self.eval(sizes);
            let size = |index: usize| sizes[index].as_u64().unwrap_or_default();
            if (size(2), size(3)) == (width.into(), height.into()) {
                return;
            }
            if attempt % 10 == 0 {
                let rect = json!({ "width": u64::from(width) + size(0), "height": u64::from(height) + size(1) });
                self.ask("POST", "/window/rect", rect);
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the window does not take {width} x {height}: {}", self.eval(sizes));
    }

    fn go(&self, url: &str) {
        self.ask("POST", "/timeouts", json!({ "script": PATIENCE_MS + 5_000 }));
        self.ask("POST", "/url", json!({ "url": url }));
        self.eval(&format!("(() => {{ {PRELUDE} }})()"));
        self.wait("the page is there", READY);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let faults = match thread::panicking() {
            true => json!([]),
            // They are noted for the document that was opened, not for the next one.
            false => self.eval("window.faults ?? []"),
        };
        self.ask("DELETE", "", json!({}));
        assert!(faults == json!([]), "the page had faults: {faults}");
    }
}
