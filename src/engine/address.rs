//! Where the engine is, and how a node gets in.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
    TlsCertificates, parse_redis_url,
};

use crate::config::ENGINE_PASSWORD as PASSWORD;

/// What the settings say, as it was given.
#[derive(Clone, Copy, Default)]
pub struct Given<'a> {
    /// `--engine`.
    pub url: &'a str,
    /// `--engine-password-file`.
    pub password_file: Option<&'a Path>,
    /// The password, in place of a file.
    pub password: Option<&'a str>,
    /// `--engine-ca`.
    pub authority: Option<&'a Path>,
    /// `--engine-cert`.
    pub certificate: Option<&'a Path>,
}

/// What the settings say, understood. What is in files is read again for each connection, so that it can
/// be changed while the node runs.
#[derive(Clone)]
pub struct Address {
    place: Place,
    /// Whom the engine knows this node as; none is its default user.
    user: Option<String>,
    database: i64,
    is_encrypted: bool,
    password: Source,
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Always there.
    At(Spot),
    /// Where these Sentinels say that the master of this name is.
    Watched {
        /// The name of the master.
        name: String,
        /// The host and port of each.
        sentinels: Vec<(String, u16)>,
    },
}

/// One server.
#[derive(Clone, Debug, PartialEq)]
pub enum Spot {
    /// Host and port.
    Tcp(String, u16),
    /// The path of a socket.
    Unix(PathBuf),
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Spot::Tcp(host, port) => write!(f, "{host}:{port}"),
            Spot::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where the passwords are from: that of the engine in the first line, that of the Sentinels in the second, and
/// whom these know this node as in the third.
#[derive(Clone)]
enum Source {
    Nowhere,
    File(PathBuf),
    Variable(String),
}

/// What a connection says first.
#[derive(Clone, Default)]
pub struct Login {
    /// Who it is.
    pub user: Option<String>,
    /// And proves it by.
    pub password: Option<String>,
    /// The database that it wants.
    pub database: i64,
}

/// Whom a connection is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The engine.
    Engine,
    /// A Sentinel, which has passwords of its own.
    Sentinel,
}

/// What is accepted.
const ACCEPTED: &str = "redis://[USER@]HOST[:PORT][/DATABASE], rediss://… for TLS, redis+unix:///PATH, \
                        or redis+sentinel://[USER@]HOST[:PORT],HOST[:PORT]/NAME[/DATABASE] (rediss+sentinel://)";

/// Where Sentinels listen.
const SENTINEL_PORT: u16 = 26379;

impl Address {
    /// Understands what was given, and reads all files once.
    ///
    /// # Errors
    /// A line that names the flag and what is accepted.
    pub fn parse(given: Given<'_>) -> Result<Address, String> {
        let Given { url, password_file, password, authority, certificate } = given;
        // The URL is not shown: it may have the password.
        let (scheme, rest) = url.split_once("://").ok_or_else(refused)?;
        let (user, rest) = match rest.split_once('@') {
            // Others see the command line.
            Some((user, _)) if user.contains(':') => {
                return Err(format!(
                    "--engine: a password does not belong into the URL: put it into a file, for \
                     --engine-password-file, or into the variable {PASSWORD}"
                ));
            }
            Some((user, rest)) => (format!("{user}@"), rest),
            None => (String::new(), rest),
        };
        let is_encrypted = scheme.starts_with("rediss");
        let (place, info) = match scheme {
            "redis" | "rediss" if !rest.contains(['?', '#']) => {
                let info = understood(&format!("redis://{user}{rest}"))?;
                let ConnectionAddr::Tcp(host, port) = info.addr().clone() else {
                    return Err(refused());
                };
                (Place::At(Spot::Tcp(host, port)), info)
            }
            "redis+unix" => {
                let info = understood(url)?;
                if info.redis_settings().password().is_some() {
                    return Err(refused());
                }
                let ConnectionAddr::Unix(path) = info.addr().clone() else {
                    return Err(refused());
                };
                (Place::At(Spot::Unix(path)), info)
            }
            "redis+sentinel" | "rediss+sentinel" if !rest.contains(['?', '#']) => {
                let (hosts, path) = rest.split_once('/').ok_or_else(refused)?;
                let (name, database) = path.split_once('/').unwrap_or((path, ""));
                let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
                if name.is_empty() || !name.bytes().all(is_letter) {
                    return Err(refused());
                }
                let sentinels: Option<Vec<_>> = hosts.split(',').map(sentinel).collect();
                let sentinels = sentinels.ok_or_else(refused)?;
                let info = understood(&format!("redis://{user}engine/{database}"))?;
                (Place::Watched { name: name.into(), sentinels }, info)
            }
            _ => return Err(refused()),
        };
        let password = match (password_file, password.filter(|text| !text.is_empty())) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "--engine-password-file and the variable {PASSWORD}: give one of them"
                ));
            }
            (Some(path), None) => Source::File(path.into()),
            (None, Some(text)) => Source::Variable(text.into()),
            (None, None) => Source::Nowhere,
        };
        for (flag, file) in [("--engine-ca", authority), ("--engine-cert", certificate)] {
            if file.is_some() && !is_encrypted {
                return Err(format!("{flag}: --engine is not encrypted; that is rediss://"));
            }
        }
        let address = Address {
            place,
            user: info.redis_settings().username().map(Into::into),
            database: info.redis_settings().db(),
            is_encrypted,
            password,
            authority: authority.map(Into::into),
            certificate: certificate.map(Into::into),
        };
        for peer in [Peer::Engine, Peer::Sentinel] {
            address.login(peer)?;
        }
        address.info(&Spot::Tcp("localhost".into(), 1))?;
        Ok(address)
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is said first to this one.
    ///
    /// # Errors
    /// A line that names the file, and what is wrong with it.
    pub fn login(&self, peer: Peer) -> Result<Login, String> {
        let text = match &self.password {
            Source::Nowhere => String::new(),
            Source::Variable(text) => text.clone(),
            Source::File(path) => {
                let text = read("--engine-password-file", path)?;
                String::from_utf8_lossy(&text).into_owned()
            }
        };
        let mut lines = text.lines().map(|line| (!line.is_empty()).then(|| line.to_owned()));
        let [first, second, third] = [(); 3].map(|()| lines.next().flatten());
        let is_for_sentinels = matches!(self.place, Place::Watched { .. }) && second.is_some();
        if let (Source::File(path), None, false) = (&self.password, &first, is_for_sentinels) {
            let path = path.display();
            return Err(format!("--engine-password-file {path}: its first line is empty"));
        }
        Ok(match peer {
            Peer::Engine => {
                Login { user: self.user.clone(), password: first, database: self.database }
            }
            Peer::Sentinel => Login { user: third, password: second, database: 0 },
        })
    }

    /// How to connect to a server.
    ///
    /// # Errors
    /// A line that names the file, and what is wrong with it.
    pub fn info(&self, spot: &Spot) -> Result<ConnectionInfo, String> {
        let address = match spot {
            Spot::Unix(path) => ConnectionAddr::Unix(path.clone()),
            Spot::Tcp(host, port) if !self.is_encrypted => ConnectionAddr::Tcp(host.clone(), *port),
            Spot::Tcp(host, port) => {
                let (host, port) = (host.clone(), *port);
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            }
        };
        let faulty = |error: RedisError| format!("--engine: {error}");
        let mut info = address.into_connection_info().map_err(faulty)?;
        if matches!(spot, Spot::Tcp(..)) && self.is_encrypted {
            let root_cert = match &self.authority {
                Some(path) => Some(pem("--engine-ca", path, "CERTIFICATE-----")?),
                None => None,
            };
            let client_tls = match &self.certificate {
                Some(path) => {
                    let client_cert = pem("--engine-cert", path, "CERTIFICATE-----")?;
                    let client_key = pem("--engine-cert", path, "PRIVATE KEY-----")?;
                    Some(ClientTlsConfig { client_cert, client_key })
                }
                None => None,
            };
            let certificates = TlsCertificates { client_tls, root_cert };
            let client = Client::build_with_tls(info, certificates).map_err(|error| {
                format!("--engine-ca or --engine-cert: not good for TLS: {error}")
            })?;
            info = client.get_connection_info().clone();
        }
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
    }
}

fn refused() -> String {
    format!("--engine: this is not {ACCEPTED}")
}

fn understood(url: &str) -> Result<ConnectionInfo, String> {
    url.into_connection_info().map_err(|_| refused())
}

/// The host and port of a Sentinel.
fn sentinel(text: &str) -> Option<(String, u16)> {
    let url = format!("redis://{text}");
    let port = parse_redis_url(&url)?.port().unwrap_or(SENTINEL_PORT);
    match url.into_connection_info().ok()?.addr() {
        ConnectionAddr::Tcp(host, _) if !host.is_empty() => Some((host.clone(), port)),
        _ => None,
    }
}

fn read(flag: &str, path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{flag} {}: cannot read it: {error}", path.display()))
}

/// A file in PEM, which has such a part.
fn pem(flag: &str, path: &Path, part: &str) -> Result<Vec<u8>, String> {
    let bytes = read(flag, path)?;
    match bytes.windows(part.len()).any(|some| some == part.as_bytes()) {
        true => Ok(bytes),
        false => Err(format!("{flag} {}: there is no -----BEGIN … {part} in it", path.display())),
    }
}

/// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("place", &self.place).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestFolder;

    fn parse(url: &str) -> Result<Address, String> {
        Address::parse(Given { url, ..Given::default() })
    }

    fn tcp(host: &str, port: u16) -> Spot {
        Spot::Tcp(host.into(), port)
    }

    #[test]
    fn addresses() {
        for (url, spot, user, database) in [
            ("redis://localhost", tcp("localhost", 6379), None, 0),
            ("redis://[::1]:6380/2", tcp("::1", 6380), None, 2),
            ("rediss://room@box:1/15", tcp("box", 1), Some("room"), 15),
            ("redis://a%40b@box", tcp("box", 6379), Some("a@b"), 0),
            ("redis+unix:///run/redis.sock?db=3", Spot::Unix("/run/redis.sock".into()), None, 3),
        ] {
            let address = parse(url).expect(url);
            assert_eq!(*address.place(), Place::At(spot), "{url}");
            let login = address.login(Peer::Engine).expect(url);
            assert_eq!((login.user.as_deref(), login.database), (user, database), "{url}");
        }
    }

    #[test]
    fn sentinels() {
        for (url, hosts, user, database) in [
            ("redis+sentinel://a/main", &[("a", 26379)][..], None, 0),
            (
                "rediss+sentinel://room@a:1,[::1]:2,10.0.0.3/main/4",
                &[("a", 1), ("::1", 2), ("10.0.0.3", 26379)],
                Some("room"),
                4,
            ),
        ] {
            let address = parse(url).expect(url);
            let sentinels = hosts.iter().map(|(host, port)| ((*host).into(), *port)).collect();
            assert_eq!(*address.place(), Place::Watched { name: "main".into(), sentinels });
            let login = address.login(Peer::Engine).expect(url);
            assert_eq!((login.user.as_deref(), login.database), (user, database), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_it() {
        for url in [
            "",
            "localhost:6379",
            "http://localhost",
            "redis://",
            "redis://box/name",
            "redis://box/0?protocol=resp3",
            "rediss://box#insecure",
            "redis+unix:///s?pass=secret",
            "redis+sentinel://box",
            "redis+sentinel://box/",
            "redis+sentinel://box,/main",
            "redis+sentinel:///main",
            "redis+sentinel://box/main/x",
            "redis+sentinel://box/m\u{e9}",
            "redis+sentinel://box:99999/main",
        ] {
            let line = parse(url).expect_err(url);
            assert!(line.contains("this is not redis://"), "{url}: {line}");
            assert!(!line.contains("secret"), "{line}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_told_where_it_belongs() {
        for url in
            ["redis://:secret@box", "rediss://a:secret@box", "redis+sentinel://a:secret@b/main"]
        {
            let line = parse(url).expect_err(url);
            assert!(line.contains("--engine-password-file") && line.contains(PASSWORD), "{line}");
            assert!(!line.contains("secret"), "{line}");
        }
    }

    #[test]
    fn the_password_is_the_first_line_of_a_file_and_what_sentinels_ask_for_follows() {
        let folder = TestFolder::new();
        let path = folder.path().join("password");
        let given =
            Given { url: "redis://ana@box", password_file: Some(&path), ..Given::default() };
        let error = Address::parse(given).expect_err("there is no file");
        assert!(error.contains("cannot read"), "{error}");
        fs::write(&path, "\nx").expect("a file");
        assert!(Address::parse(given).expect_err("empty").contains("empty"));
        let of_sentinels = Given { url: "redis+sentinel://box/main", ..given };
        let address = Address::parse(of_sentinels).expect("only the Sentinels have one");
        assert_eq!(address.login(Peer::Engine).expect("a file").password, None);
        fs::write(&path, "hush\n").expect("a file");
        let address = Address::parse(given).expect("a password");
        let password = |peer| address.login(peer).expect("a file").password;
        assert_eq!(password(Peer::Engine).as_deref(), Some("hush"));
        assert_eq!(password(Peer::Sentinel), None);
        fs::write(&path, "another\nwatch\n").expect("a file");
        assert_eq!(password(Peer::Engine).as_deref(), Some("another"));
        assert_eq!(password(Peer::Sentinel).as_deref(), Some("watch"));
        fs::write(&path, "another\nwatch\nroomd\n").expect("a file");
        let login = address.login(Peer::Sentinel).expect("a file");
        assert_eq!(login.user.as_deref(), Some("roomd"));
        assert!(!format!("{address:?}").contains("another"));
        let both = Given { password: Some("x"), ..given };
        assert!(Address::parse(both).expect_err("both").contains("one of them"));
    }

    #[test]
    fn files_for_tls_are_looked_at_when_the_node_starts() {
        let folder = TestFolder::new();
        let path = folder.path().join("pem");
        let given = |url| Given { url, authority: Some(&path), ..Given::default() };
        let why = |url| Address::parse(given(url)).expect_err("it is not good");
        assert!(why("redis://box").contains("rediss://"));
        assert!(why("rediss://box").contains("cannot read"));
        fs::write(&path, "hello").expect("a file");
        assert!(why("rediss://box").contains("--engine-ca"));
        fs::write(&path, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
            .expect("a file");
        assert!(why("rediss+sentinel://box/main").contains("not good for TLS"));
    }
}
