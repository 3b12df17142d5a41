use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::certificates::Certificates;
use crate::kit::eventually;
use crate::kit::folder::Folder;
use crate::kit::peer::get;
use crate::kit::program::{Program, roomd};
use crate::kit::roomd1::Member;
use crate::kit::server::TestServer;
use crate::redis::{PASSWORD, Redis};
use crate::sentinels::Sentinels;

const MANUAL: &str = include_str!("../../docs/operating.md");

/// What the manual has below this comment.
#[track_caller]
fn block(comment: &str) -> Vec<&'static str> {
    let lines = MANUAL.lines().map(str::trim).skip_while(|line| !line.starts_with(comment)).skip(1);
    let block: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    assert!(!block.is_empty(), "the manual has no block that begins with {comment}");
    block
}

/// A line of the manual, which `begin` begins.
#[track_caller]
fn line(begin: &str) -> &'static str {
    let line = MANUAL.lines().map(str::trim).find(|line| line.starts_with(begin));
    line.unwrap_or_else(|| panic!("the manual has no line that begins with {begin}"))
}

/// What the manual has a production run with: a master, its replica, and three Sentinels.
struct Production {
    master: Redis,
    replica: Redis,
    sentinels: Sentinels,
    certificates: Option<Certificates>,
    folder: Folder,
}

impl Production {
    #[track_caller]
    fn start(certificates: Option<Certificates>) -> Self {
        let folder = Folder::new();
        let users: Vec<_> = block("# users.acl")
            .into_iter()
            .map(|user| match user {
                "user roomd …as above…" => line("user roomd on").to_owned(),
                user => user.to_owned(),
            })
            .chain([format!("user tests on >{PASSWORD} ~* &* +@all")])
            .collect();
        let path = folder.path().join("users");
        std::fs::write(&path, users.join("\n") + "\n").expect("a file");
        let path = path.to_str().expect("UTF-8");
        let settings = block("# redis.conf").into_iter().flat_map(|setting| {
            let (name, value) = setting.split_once(' ').expect("a name and a value");
            [format!("--{name}"), if name == "aclfile" { path } else { value }.to_owned()]
        });
        let settings: Vec<String> = settings.collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let mut master = Redis::absent();
        master.knows_redis_cli_as("tests");
        master.add(&settings);
        if let Some(certificates) = &certificates {
            let tls = certificates.tls("no");
            let set = tls.server.iter().filter_map(|word| word.strip_prefix("--"));
            for name in set.chain(["port 0", "tls-port"]) {
                assert!(
                    block("# TLS").iter().any(|line| line.starts_with(name)),
                    "the manual lacks {name}"
                );
            }
            master.encrypts(tls);
        }
        master.start_again();
        let replica = master.replica(&settings);
        let here = format!("127.0.0.1 {}", master.port());
        let lines = block("# sentinel.conf").join("\n").replace("10.0.0.1 6379", &here);
        assert!(lines.contains(&here), "{lines}");
        let password = line("requirepass").split(' ').nth(1).expect("a password");
        let lines = lines.replace(&format!("requirepass {password}"), line("user roomd-asks"));
        let sentinels = Sentinels::with(&master, &lines, password);
        Production { master, replica, sentinels, certificates, folder }
    }

    /// A file with these lines.
    fn file(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("passwords");
        std::fs::write(&path, text).expect("a file");
        path
    }

    fn url(&self) -> String {
        self.sentinels.url().replace("://", "://roomd@")
    }

    fn ca(&self) -> Option<PathBuf> {
        self.certificates.as_ref().map(|certificates| certificates.path("ca.pem"))
    }

    fn node(&self, passwords: &Path) -> TestServer {
        TestServer::with(|config| {
            config.engine = Some(self.url());
            config.engine_password_file = Some(passwords.to_owned());
            config.engine_ca = self.ca();
        })
    }

    /// The same, as a process, which is told by a variable.
    fn program(&self, passwords: &str) -> Program {
        let mut command = roomd(&["--engine", &self.url(), "--listen", "127.0.0.1:0"]);
        if let Some(ca) = self.ca() {
            command.arg("--engine-ca").arg(ca);
        }
        Program::of(command.env("ROOMD_ENGINE_PASSWORD", passwords))
    }

    /// People go on when the master is killed, and a Sentinel hangs.
    fn goes_on(mut self) {
        let file = self.file("PASSWORD\nPASSWORD4\n");
        self.sentinels.signal(0, Signal::STOP);
        let (a, b) = (self.node(&file), self.program("PASSWORD\nPASSWORD4"));
        let mut ana = Member::named(a.address(), "lobby", 1, "Ana");
        let mut bob = Member::named(b.address, "lobby", 2, "Bob");
        ana.publish(1, "one");
        assert_eq!(bob.message("one")["text"], "one");
        ana.message("her own");
        eventually("a replica that has everything", || {
            let length = |redis: &Redis| redis.cli(&["xlen", "roomd:{lobby}:log"]);
            (length(&self.master) == length(&self.replica)).then_some(())
        });
        self.sentinels.signal(0, Signal::CONT);
        // It keeps what it has, by itself.
        let kept = self.master.cli(&["xlen", "roomd:{lobby}:log"]);
        self.master.kill();
        ana.publish(2, "two");
        for member in [&mut ana, &mut bob] {
            let epoch = member.skip_to("epoch", "a new epoch");
            assert_eq!(epoch["missed"], 0, "{epoch}");
            assert_eq!(member.message("two")["text"], "two");
        }
        assert_eq!(self.sentinels.master(), self.replica.port());
        self.master.start_again();
        assert_eq!(self.master.cli(&["xlen", "roomd:{lobby}:log"]), kept);
        eventually("three Sentinels that answer", || {
            let metrics = a.ask(get("/metrics", ""));
            metrics.text().contains("\nroomd_engine_sentinels{answers=\"yes\"} 3\n").then_some(())
        });
    }
}

#[test]
fn the_production_configuration_survives_its_master() {
    Production::start(None).goes_on();
}

#[test]
fn so_it_does_with_tls_between_all() {
    Production::start(Some(Certificates::new())).goes_on();
}

#[test]
fn what_sentinels_ask_for_is_told_when_it_is_wrong_and_read_again() {
    let production = Production::start(Some(Certificates::new()));
    let file = production.file("PASSWORD\nwrong\n");
    let serves = |program: &Program| program.ask(get("/lobby/text?poll=1", "")).status == 200;
    let mut command = roomd(&["--engine", &production.url(), "--listen", "127.0.0.1:0"]);
    command.arg("--engine-ca").arg(production.ca().expect("certificates"));
    let program = Program::of(command.arg("--engine-password-file").arg(file));
    let said = program.line("Sentinel 127.0.0.1");
    assert!(said.contains("WRONGPASS"), "{said}");
    program.ask(get("/lobby/text?poll=1", "")).refuses(503, "cannot be reached");
    let health = program.ask(get("/healthz", ""));
    assert!(health.text().contains("the engine cannot be reached"), "{health:?}");
    // As a user of their own, who may do what the manual says and nothing else.
    production.file("PASSWORD\nPASSWORD5\nroomd-asks\n");
    eventually("an open room", || serves(&program).then_some(()));
    drop(program);
    // No password at all, and one for the engine alone.
    let program = production.program("PASSWORD");
    let said = program.line("Sentinel 127.0.0.1");
    assert!(said.contains("NOAUTH"), "{said}");
    drop(program);
    // Somebody else vouches.
    let other = Certificates::new();
    let mut command = roomd(&["--engine", &production.url(), "--listen", "127.0.0.1:0"]);
    command.args(["--engine-ca", &other.arg("ca.pem")]);
    let program =
        Program::of(command.env("ROOMD_ENGINE_PASSWORD", "PASSWORD\nPASSWORD5\nroomd-asks"));
    let said = program.line("Sentinel 127.0.0.1");
    assert!(said.contains("certificate"), "{said}");
    program.ask(get("/lobby/text?poll=1", "")).refuses(503, "cannot be reached");
}
