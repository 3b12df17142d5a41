//! Firefox, driven over WebDriver BiDi on its own port.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Error, Message, WebSocket};

use crate::tab::{PATIENCE_MS, PRELUDE, READY, Tab};

const FIREFOX: &str = "/usr/bin/firefox-esr";

/// Stops the browser and removes its profile when this process ends, however it ends. Nobody reads then
/// what the shell says of a browser that it stopped.
const KEEPER: &str = r#"profile=$1; shift; mkdir -p "$profile"
printf 'user_pref("%s", %s);\n' intl.accept_languages '"en-GB, en"' \
    app.normandy.enabled false datareporting.policy.dataSubmissionEnabled false \
    network.captive-portal-service.enabled false network.connectivity-service.enabled false \
    services.settings.server '"data:,"' widget.gtk.overlay-scrollbars.enabled false \
    >"$profile/user.js"
"$@" --profile "$profile" about:blank & pid=$!
exec 2>/dev/null; read -r _; kill $pid; wait $pid; rm -rf "$profile""#;

struct Firefox {
    bidi: Mutex<Bidi>,
    _keeper: (Child, ChildStdin),
}

/// The one session that a Firefox has.
struct Bidi {
    socket: WebSocket<TcpStream>,
    calls: u64,
}

fn firefox() -> &'static Firefox {
    static FIREFOX: OnceLock<Firefox> = OnceLock::new();
    FIREFOX.get_or_init(Firefox::start)
}

impl Firefox {
    fn start() -> Firefox {
        assert!(
            std::path::Path::new(FIREFOX).exists(),
            "{FIREFOX} is missing: run the tests with `make test`, which installs it"
        );
        let profile = std::env::temp_dir().join(format!("roomd-firefox-{}", std::process::id()));
        let mut child = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(profile)
            .args([FIREFOX, "--headless", "--remote-debugging-port=0"])
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
            .find_map(|line| line.strip_prefix("WebDriver BiDi listening on ").map(String::from))
            .expect("Firefox says where it listens");
        // A full pipe would stop the browser.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let stream = TcpStream::connect(url.trim_start_matches("ws://")).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_millis(u64::from(PATIENCE_MS) + 5_000)))
            .expect("a timeout");
        let (socket, _) = tungstenite::client::client(format!("{url}/session"), stream)
            .expect("Firefox speaks WebSocket");
        let mut bidi = Bidi { socket, calls: 0 };
        bidi.call("session.new", json!({ "capabilities": {} }));
        let prelude = json!({ "functionDeclaration": format!("() => {{ {PRELUDE} }}") });
        bidi.call("script.addPreloadScript", prelude);
        Firefox { bidi: Mutex::new(bidi), _keeper: (child, stdin) }
    }

    fn call(&self, method: &str, params: Value) -> Value {
        self.bidi.lock().unwrap_or_else(PoisonError::into_inner).call(method, params)
    }
}

impl Bidi {
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let request = json!({ "id": self.calls, "method": method, "params": params });
        self.socket.send(Message::text(request.to_string())).expect("Firefox listens");
        loop {
            let message = match self.socket.read() {
                Ok(Message::Text(text)) => {
                    serde_json::from_str::<Value>(&text).expect("Firefox speaks JSON")
                }
                Ok(_) => continue,
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("{method}: Firefox does not answer: {error}"),
            };
            if message["id"] == self.calls {
                assert_eq!(message["type"], "success", "{method}: {message}");
                return message["result"].clone();
            }
        }
    }
}

/// A page in a window of its own, which no other page shares storage with.
pub struct Page {
    context: String,
    user: String,
}

impl Page {
    pub fn open(url: &str) -> Page {
        let user = firefox().call("browser.createUserContext", json!({}));
        let user = text(&user["userContext"]);
        let window = json!({ "type": "window", "userContext": user });
        let context = text(&firefox().call("browsingContext.create", window)["context"]);
        let page = Page { context, user };
        page.resize(900, 640);
        page.go(url);
        page.fill(url, 240);
        page
    }
}

impl Tab for Page {
    fn eval(&self, expression: &str) -> Value {
        let params = json!({
            "expression": format!("Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))"),
            "target": { "context": self.context },
            "awaitPromise": true,
            "userActivation": true,
        });
        let result = firefox().call("script.evaluate", params);
        assert_eq!(result["type"], "success", "{expression}: {result}");
        serde_json::from_str(result["result"]["value"].as_str().expect("JSON")).expect("JSON")
    }

    fn perform(&self, actions: Value) {
        let params = json!({ "context": self.context, "actions": actions });
        firefox().call("input.performActions", params);
    }

    fn resize(&self, width: u32, height: u32) {
        let viewport = json!({ "width": width, "height": height });
        let params = json!({ "context": self.context, "viewport": viewport });
        firefox().call("browsingContext.setViewport", params);
    }

    fn go(&self, url: &str) {
        let params = json!({ "context": self.context, "url": url, "wait": "complete" });
        firefox().call("browsingContext.navigate", params);
        self.wait("the page is there", READY);
    }

    /// The session is shared, so that nobody may keep it while they wait.
    fn look(&self, expression: &str) -> Value {
        let end = Instant::now() + Duration::from_millis(PATIENCE_MS.into());
        loop {
            let value = self.eval(&format!(
                "(() => {{ try {{ const value = {expression}; return value instanceof Node ? true : value || null; }} catch {{ return null; }} }})()"
            ));
            if !value.is_null() || Instant::now() > end {
                return value;
            }
            thread::sleep(Duration::from_millis(15));
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let faults = match thread::panicking() {
            true => json!([]),
            false => self.eval("window.faults"),
        };
        firefox().call("browser.removeUserContext", json!({ "userContext": self.user }));
        assert!(faults == json!([]), "the page had faults: {faults}");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).into()
}
