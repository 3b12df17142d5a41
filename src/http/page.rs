//! The HTTP side: serves the page. The only file that knows tiny_http.
//!
//! tiny_http listens on a private loopback port and is asked by the gate alone. It has no read
//! timeout and no limits of its own, an accept error ends its accept loop and running out of
//! descriptors panics it; so it only ever sees requests that are written here, a few at a time,
//! one per connection. If it dies all the same, it is started again.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tiny_http::{Header, Request, Response, Server};

use crate::config::{ACCEPT_PAUSE, PAGE_TIMEOUT, RELAYS};

/// A file that is built into the binary.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($content_type:literal: $($name:literal)+;)+) => {
        &[$($(Asset {
            name: $name,
            content_type: $content_type,
            bytes: include_bytes!(concat!("../../assets/", $name)),
        }),+),+]
    };
}

/// The page. It is found at each of [`PAGES`], and decides by its path what it is.
const INDEX: &[u8] = include_bytes!("../../assets/index.html");

const PAGES: &[&str] = &["/", "/echo"];

/// What the page asks for. These are found in a folder that is named after all that is in it, so
/// that a browser may keep them for good: a reload asks for the page alone. The page refers to
/// them, and they to each other, by relative paths.
const ASSETS: &[Asset] = assets! {
    "text/css; charset=utf-8": "style.css";
    "image/svg+xml": "icon.svg";
    "text/javascript; charset=utf-8":
        "alerts.js" "common.js" "connection.js" "dialogs.js" "echo.js" "log.js" "main.js" "room.js";
};

/// Where the page refers to the assets; the folder's name is added.
const FOLDER: &str = "\"assets/";

/// What every response says beside its own. No script and no style but ours, no connection but
/// to this server, no frame around it.
const FIELDS: &[(&str, &str)] = &[
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
];

/// The page may change with each start of the server, so it is asked for again, with its tag.
const ASK_AGAIN: &str = "no-cache";

/// Another version of an asset has another path.
const KEEP: &str = "max-age=31536000, immutable";

/// Where the page reads how long a message may be; the number is replaced by the one in force.
const MAX_MESSAGE: &str = "data-max-message=\"65536\"";

/// The largest response, head included, that is taken from tiny_http.
const RESPONSE_MAX: u64 = 1 << 20;

/// How tiny_http answers a request that was dropped. [`answer`] never says that.
const GIVEN_UP: &[u8] = b"HTTP/1.1 500 ";

/// A request that the gate lets through. Only these three things are passed on.
#[derive(Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// HEAD instead of GET.
    pub head_only: bool,
    /// A path for which [`Page::has`] is true.
    pub path: String,
    /// The tag of what the client has already.
    pub if_none_match: Option<String>,
}

/// The HTTP side, as the gate sees it.
#[derive(Clone)]
pub struct Page(Arc<Shared>);

struct Shared {
    /// tiny_http, while it runs.
    server: Mutex<Option<Arc<Server>>>,
    stopping: AtomicBool,
    /// Holds one thing for each request that is being asked for; its capacity is [`RELAYS`].
    turns: (Sender<()>, Receiver<()>),
}

impl Page {
    /// Starts tiny_http and the thread that answers its requests.
    ///
    /// `max_message` is told to the page, so that it can count for itself.
    ///
    /// # Errors
    /// When no loopback port or no thread can be had.
    pub fn start(max_message: usize) -> io::Result<(Page, JoinHandle<()>)> {
        let page = Page(Arc::new(Shared {
            server: Mutex::new(Some(listen()?)),
            stopping: AtomicBool::new(false),
            turns: bounded(RELAYS),
        }));
        let files = File::all(max_message);
        let served = page.clone();
        let thread =
            thread::Builder::new().name("page".into()).spawn(move || served.serve(&files))?;
        Ok((page, thread))
    }

    /// Whether something is found at `path`.
    pub fn has(path: &str) -> bool {
        PAGES.contains(&path) || ASSETS.iter().any(|asset| asset.path() == path)
    }

    /// The whole response to a request.
    ///
    /// # Errors
    /// When tiny_http does not answer, and is started again, or cannot be asked.
    pub fn fetch(&self, request: &PageRequest) -> io::Result<Vec<u8>> {
        let response = self.ask_in_turn(request, PAGE_TIMEOUT);
        if let Err(error) = &response {
            self.mend(error);
        }
        response
    }

    /// Whether the page is to be had, within `patience` for each step on the way to it.
    pub fn answers(&self, patience: Duration) -> bool {
        let request = PageRequest { head_only: true, path: "/".into(), if_none_match: None };
        match self.ask_in_turn(&request, patience) {
            Ok(response) => response.starts_with(b"HTTP/1.1 200 "),
            // It may be slow, and those who wait longer are not to lose it for that.
            Err(error) if is_timeout(&error) => false,
            Err(error) => {
                self.mend(&error);
                false
            }
        }
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.unblock();
    }

    /// Has tiny_http looked at after this error.
    fn mend(&self, error: &io::Error) {
        // A shortage is not tiny_http's fault, and it could not be stopped: it wants a descriptor
        // for that, and goes on listening without one.
        if !is_shortage(error) {
            self.unblock();
        }
    }

    fn ask_in_turn(&self, request: &PageRequest, patience: Duration) -> io::Result<Vec<u8>> {
        let (turns, over) = &self.0.turns;
        turns.send_timeout((), patience).map_err(|_| io::ErrorKind::TimedOut)?;
        let response = self.ask(request, patience);
        let _ = over.try_recv();
        response
    }

    fn ask(&self, request: &PageRequest, patience: Duration) -> io::Result<Vec<u8>> {
        // Not the server itself: if it fails now, dropping it is what gives this request up.
        let address = self.server().as_ref().and_then(|server| server.server_addr().to_ip());
        let address = address.ok_or(io::ErrorKind::NotConnected)?;
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(request.head().as_bytes())?;
        let mut response = Vec::new();
        stream.take(RESPONSE_MAX).read_to_end(&mut response)?;
        if response.starts_with(GIVEN_UP) {
            return Err(io::Error::other("it gave the request up"));
        }
        // A proxy must not keep this connection for a WebSocket handshake.
        let status_line = response.windows(2).position(|bytes| bytes == b"\r\n");
        let at = status_line.ok_or(io::ErrorKind::UnexpectedEof)? + 2;
        response.splice(at..at, *b"Connection: close\r\n");
        Ok(response)
    }

    /// Answers requests until the stop. If tiny_http fails, another one is started.
    fn serve(&self, files: &[File]) {
        loop {
            let server = self.server().clone();
            if let Some(server) = server {
                while let Ok(request) = server.recv() {
                    answer(request, files);
                }
            }
            *self.server() = None;
            if self.0.stopping.load(Ordering::Acquire) {
                return;
            }
            match listen() {
                Ok(server) => {
                    log::warn!("the page side had failed and was started again");
                    *self.server() = Some(server);
                }
                Err(error) => {
                    log::error!("the page side cannot be started again: {error}");
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Makes [`Page::serve`] look at how things are.
    fn unblock(&self) {
        if let Some(server) = &*self.server() {
            server.unblock();
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<Arc<Server>>> {
        self.0.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PageRequest {
    fn head(&self) -> String {
        let method = if self.head_only { "HEAD" } else { "GET" };
        let condition = match &self.if_none_match {
            Some(tag) => format!("If-None-Match: {tag}\r\n"),
            None => String::new(),
        };
        format!(
            "{method} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{condition}\r\n",
            self.path
        )
    }
}

impl Asset {
    fn path(&self) -> String {
        format!("/assets/{}/{}", version(), self.name)
    }
}

/// What tells this version of the assets from another.
fn version() -> &'static str {
    static VERSION: LazyLock<String> =
        LazyLock::new(|| tag(ASSETS.iter().map(|asset| asset.bytes)));
    &VERSION
}

/// A file as it is served.
struct File {
    path: String,
    bytes: Cow<'static, [u8]>,
    fields: Vec<Header>,
    tag: String,
}

impl File {
    fn all(max_message: usize) -> Vec<File> {
        let index = String::from_utf8_lossy(INDEX)
            .replace(MAX_MESSAGE, &format!("data-max-message=\"{max_message}\""))
            .replace(FOLDER, &format!("{FOLDER}{}/", version()));
        let pages = PAGES.iter().map(|path| {
            let index = index.clone().into_bytes().into();
            File::new((*path).into(), index, "text/html; charset=utf-8", ASK_AGAIN)
        });
        let assets = ASSETS
            .iter()
            .map(|asset| File::new(asset.path(), asset.bytes.into(), asset.content_type, KEEP));
        pages.chain(assets).collect()
    }

    fn new(path: String, bytes: Cow<'static, [u8]>, content_type: &str, caching: &str) -> Self {
        let tag = format!("\"{}\"", tag([&*bytes]));
        let own = [("Content-Type", content_type), ("ETag", &tag), ("Cache-Control", caching)];
        let fields = own
            .iter()
            .chain(FIELDS)
            .filter_map(|(name, value)| Header::from_bytes(*name, *value).ok())
            .collect();
        File { path, bytes, fields, tag }
    }
}

/// Whether an error is about what the system has to give, and not about the other side.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// Whether an error is that it took too long; a socket says it in one way or the other.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn listen() -> io::Result<Arc<Server>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Server::from_listener(listener, None).map(Arc::new).map_err(io::Error::other)
}

fn answer(request: Request, files: &[File]) {
    let Some(file) = files.iter().find(|file| file.path == request.url()) else {
        return respond(request, Response::empty(404));
    };
    let is_known = request.headers().iter().any(|field| {
        field.field.equiv("If-None-Match") && field.value.as_str().contains(&file.tag)
    });
    let (status, bytes) = if is_known { (304, Vec::new()) } else { (200, file.bytes.to_vec()) };
    let response =
        Response::from_data(bytes).with_status_code(status).with_chunked_threshold(usize::MAX);
    respond(request, file.fields.iter().cloned().fold(response, Response::with_header));
}

fn respond<R: Read>(request: Request, response: Response<R>) {
    if let Err(error) = request.respond(response) {
        log::debug!("a page request was given up: {error}");
    }
}

/// A hash for telling one version of files from another (FNV-1a, 64 bits), in hexadecimal.
fn tag<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> String {
    let hash = files.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
