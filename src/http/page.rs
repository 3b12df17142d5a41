//! The page: its files, built into the binary, and the responses that carry them.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use crate::http::response::{CLOSE, Header, StatusCode, headers, print};

/// A file that is built into the binary. The build script writes it as it is served.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

macro_rules! asset {
    ($content_type:expr, $path:expr, $name:literal) => {
        Asset {
            path: $path,
            content_type: $content_type,
            plain: include_bytes!(concat!(env!("OUT_DIR"), "/", $name)),
            gzip: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
        }
    };
}

macro_rules! assets {
    ($($content_type:expr => $($name:literal)+;)+) => {
        &[$($(asset!(
            $content_type,
            concat!("/assets/", env!("ROOMD_ASSETS"), "/", $name),
            $name
        )),+),+]
    };
}

const HTML: &str = "text/html; charset=utf-8";

/// The page. It is found at two paths, and decides by its path what it is.
const PAGES: &[Asset] = &[asset!(HTML, "/", "index.html"), asset!(HTML, "/echo", "index.html")];

/// The files that the page loads. Their folder is named after the contents of them all, so that a
/// browser may keep them for good: a reload asks for the page alone. The page refers to them, and
/// they to each other, by relative paths.
const ASSETS: &[Asset] = assets! {
    // Modules are UTF-8, and a style sheet is what its document is.
    "text/css" => "style.css";
    "text/javascript" =>
        "client.js" "common.js" "connection.js" "dialogs.js" "echo.js" "log.js" "main.js"
        "people.js" "room.js";
};

/// Fields of every response, beside its own.
const FIELDS: &[(&str, &str)] =
    &[("Server", "roomd"), ("Vary", "Accept-Encoding"), ("X-Content-Type-Options", "nosniff")];

/// Fields of the page, which hold for what it loads: no script and no style but ours, no connection
/// but to this server, no frame around it.
const PAGE_FIELDS: &[(&str, &str)] = &[
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
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
    /// Whether the client takes gzip.
    pub accepts_gzip: bool,
    /// Whether who wants something else than a page gets that at the same path.
    pub is_negotiated: bool,
}

/// Every file of the page, ready to be served.
#[derive(Clone)]
pub struct Page(Arc<[File]>);

impl Page {
    /// `max_message` is told to the page, so that it can count for itself.
    pub fn new(max_message: usize) -> Page {
        let pages = PAGES.iter().map(|page| File::of_page(page, max_message));
        let assets = ASSETS.iter().map(|asset| File {
            path: asset.path,
            plain: Encoded::new(asset, asset.plain.into(), None, KEEP),
            gzip: Some(Encoded::new(asset, asset.gzip.into(), GZIP, KEEP)),
        });
        Page(pages.chain(assets).collect())
    }

    /// Whether something is found at `path`.
    pub fn has(path: &str) -> bool {
        PAGES.iter().chain(ASSETS).any(|asset| asset.path == path)
    }

    /// The whole response to a request.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] for a path that [`Page::has`] does not know.
    pub fn response(&self, request: &PageRequest) -> io::Result<Vec<u8>> {
        let file = self.0.iter().find(|file| file.path == request.path);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        let gzip = file.gzip.as_ref().filter(|_| request.accepts_gzip);
        let Encoded { bytes, fields, tag } = gzip.unwrap_or(&file.plain);
        let known = request.if_none_match.as_deref().unwrap_or_default();
        let is_known = known.trim() == "*" || known.contains(tag);
        let (status, body) = if is_known { (304, &[][..]) } else { (200, &**bytes) };
        let mut fields = fields.clone();
        if request.is_negotiated {
            fields.retain(|field| !field.field.equiv("Vary"));
            fields.extend(headers([("Vary", "Accept, Accept-Encoding")].into_iter()));
        }
        // A proxy must not keep this connection for a WebSocket handshake.
        print(StatusCode(status), fields, body, CLOSE, request.head_only)
    }
}

/// A file as it is served.
struct File {
    path: &'static str,
    plain: Encoded,
    /// None: it goes out plain.
    gzip: Option<Encoded>,
}

/// A file in one encoding.
struct Encoded {
    bytes: Cow<'static, [u8]>,
    fields: Vec<Header>,
    tag: String,
}

impl File {
    /// The page is compressed with the usual bound of a message in it. With another one it goes out
    /// plain, 2 kB more: a compressor in the program would cost more than it saves.
    fn of_page(page: &'static Asset, max_message: usize) -> File {
        let filled_in = format!("data-max-message=\"{max_message}\"");
        let (plain, gzip) = if filled_in == MAX_MESSAGE {
            (page.plain.into(), Some(Encoded::new(page, page.gzip.into(), GZIP, ASK_AGAIN)))
        } else {
            let html = String::from_utf8_lossy(page.plain).replace(MAX_MESSAGE, &filled_in);
            (html.into_bytes().into(), None)
        };
        File { path: page.path, plain: Encoded::new(page, plain, None, ASK_AGAIN), gzip }
    }
}

impl Encoded {
    fn new(
        asset: &Asset,
        bytes: Cow<'static, [u8]>,
        encoding: Option<(&'static str, &'static str)>,
        caching: &str,
    ) -> Self {
        let tag = format!("\"{}\"", tag(&bytes));
        let own =
            [("Content-Type", asset.content_type), ("ETag", &tag), ("Cache-Control", caching)];
        let fields = own
            .iter()
            .chain(FIELDS)
            .chain((asset.content_type == HTML).then_some(PAGE_FIELDS).into_iter().flatten())
            .chain(encoding.as_ref())
            .copied();
        Encoded { bytes, fields: headers(fields), tag }
    }
}

/// The field of compressed bytes.
const GZIP: Option<(&str, &str)> = Some(("Content-Encoding", "gzip"));

/// A hash for telling one version of a file from another (FNV-1a, 64 bits), in hexadecimal.
fn tag(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
