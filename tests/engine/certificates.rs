//! Certificates of a test's own: who vouches, a server's, and a client's with its key.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::kit::folder::Folder;
use crate::redis::Tls;

pub struct Certificates {
    folder: Folder,
}

impl Certificates {
    pub fn new() -> Self {
        let certificates = Certificates { folder: Folder::new() };
        certificates.make("ca", "/CN=roomd's tests", &[]);
        certificates.make("server", "/CN=redis", &["subjectAltName=IP:127.0.0.1"]);
        certificates.make("client", "/CN=roomd", &[]);
        let both = [".pem", ".key"].map(|end| {
            fs::read_to_string(certificates.path(&format!("client{end}"))).expect("it is made")
        });
        fs::write(certificates.path("client.both"), both.concat()).expect("a file");
        certificates
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    #[track_caller]
    fn make(&self, name: &str, subject: &str, extensions: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "2", "-subj", subject]);
        command.args(["-keyout", &self.arg(&format!("{name}.key"))]);
        command.args(["-out", &self.arg(&format!("{name}.pem"))]);
        if name != "ca" {
            command.args(["-CA", &self.arg("ca.pem"), "-CAkey", &self.arg("ca.key")]);
            command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        }
        for extension in extensions {
            command.args(["-addext", extension]);
        }
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.expect("this test needs openssl; see make test").success(), "{name}");
    }

    /// For an engine that takes TLS and nothing else, from clients that show a certificate (yes) or need not (no).
    pub fn tls(&self, clients: &str) -> Tls {
        let file = |option: &str, name: &str| [option.to_owned(), self.arg(name)];
        let server = [
            file("--tls-cert-file", "server.pem"),
            file("--tls-key-file", "server.key"),
            file("--tls-ca-cert-file", "ca.pem"),
            ["--tls-auth-clients".into(), clients.into()],
            ["--tls-replication".into(), "yes".into()],
        ];
        let cli =
            [file("--cacert", "ca.pem"), file("--cert", "client.pem"), file("--key", "client.key")];
        let cli = ["--tls".to_owned()].into_iter().chain(cli.into_iter().flatten());
        Tls { server: server.into_iter().flatten().collect(), cli: cli.collect() }
    }
}
