//! The page: its files, built into the binary, and the responses that carry them.
//!
//! The only file that knows tiny_http, whose `Response` writes each head. Its accept loop is not
//! used: it has no read timeout, an accept error ends it, and running out of descriptors panics it.

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, LazyLock};

use tiny_http::{HTTPVersion, Header, Response, StatusCode};

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

/// The parts of a request that matter to the page.
#[derive(Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// HEAD instead of GET.
    pub head_only: bool,
    /// A path for which [`Page::has`] is true.
    pub path: String,
    /// The tags of what the client has.
    pub if_none_match: Option<String>,
}

/// Every file of the page, ready to be served.
#[derive(Clone)]
pub struct Page(Arc<[File]>);

impl Page {
    /// `max_message` is told to the page, so that it can count for itself.
    pub fn new(max_message: usize) -> Page {
        Page(File::all(max_message).into())
    }

    /// Whether something is found at `path`.
    pub fn has(path: &str) -> bool {
        PAGES.contains(&path) || ASSETS.iter().any(|asset| asset.path() == path)
    }

    /// The whole response to a request.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] for a path that [`Page::has`] does not know.
    pub fn response(&self, request: &PageRequest) -> io::Result<Vec<u8>> {
        let file = self.0.iter().find(|file| file.path == request.path);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        let known = request.if_none_match.as_deref().unwrap_or_default();
        let is_known = known.trim() == "*" || known.contains(&file.tag);
        let (status, body) = if is_known { (304, &[][..]) } else { (200, &*file.bytes) };
        let response =
            Response::new(StatusCode(status), file.fields.clone(), body, Some(body.len()), None)
                .with_chunked_threshold(usize::MAX);
        let mut out = Vec::with_capacity(body.len() + 1024);
        response.raw_print(&mut out, HTTPVersion(1, 1), &[], request.head_only, None)?;
        // A proxy must not keep this connection for a WebSocket handshake.
        let status_line = out.windows(2).position(|bytes| bytes == b"\r\n");
        let at = status_line.ok_or(io::ErrorKind::InvalidData)? + 2;
        out.splice(at..at, *b"Connection: close\r\n");
        Ok(out)
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

/// A hash for telling one version of files from another (FNV-1a, 64 bits), in hexadecimal.
fn tag<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> String {
    let hash = files.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
