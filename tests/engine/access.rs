use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::certificates::Certificates;
use crate::kit::eventually;
use crate::kit::folder::Folder;
use crate::kit::peer::get;
use crate::kit::program::{Program, roomd};
use crate::kit::roomd1::Member;
use crate::kit::server::TestServer;
use crate::redis::{PASSWORD, Redis};

/// What docs/operating.md says for the users of the engine.
const MANUAL: &str = include_str!("../../docs/operating.md");

fn file(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

#[test]
fn the_user_of_the_manual_may_do_what_is_needed_and_nothing_else() {
    let line = MANUAL.lines().find_map(|line| line.trim().strip_prefix("user roomd "));
    let line = line.expect("a line of an ACL in the manual").replace("PASSWORD", PASSWORD);
    let folder = Folder::new();
    let users = format!("user default on nopass -@all +ping\nuser roomd {line}\n");
    let users = file(&folder, "users", &users);
    let redis = Redis::with(&["--aclfile", users.to_str().expect("UTF-8")]);
    let password = file(&folder, "password", PASSWORD);
    let url = redis.url().replace("//", "//roomd@").replace("/0", "/1");
    let node = |lease| {
        TestServer::with(|config| {
            config.engine = Some(url.clone());
            config.engine_password_file = Some(password.clone());
            config.limits.engine_lease = lease;
        })
    };
    let (a, b) = (node(Duration::from_secs(2)), node(Duration::from_secs(60)));
    let mut ana = Member::named(a.address(), "lobby", 1, "Ana");
    let mut bob = Member::named(b.address(), "lobby", 2, "Bob");
    ana.publish(1, "one");
    assert_eq!(bob.message("one")["text"], "one");
    ana.message("her own");
    bob.send("name", json!({"name": "Bo"}));
    ana.skip_to("name", "Bo");
    let post = get("/lobby?name=pump", "Idempotency-Key: k1\r\nContent-Length: 2\r\n");
    let post = post.replacen("GET", "POST", 1) + "on";
    assert_eq!([a.ask(post.clone()).status, b.ask(post).status], [201, 200]);
    ana.message("on");
    // Everybody leaves a server that stops, and one that is killed.
    b.stop();
    ana.skip_to("leave", "Bo");
    let mut command = roomd(&["--engine", &url, "--log-level=warn", "--listen", "127.0.0.1:0"]);
    let program = Program::of(command.env("ROOMD_ENGINE_PASSWORD", PASSWORD));
    let _cleo = Member::named(program.address, "lobby", 3, "Cleo");
    ana.skip_to("join", "Cleo");
    drop(program);
    ana.skip_to("leave", "Cleo");
    assert!(a.ask(get("/metrics", "")).text().contains("\nroomd_engine_up 1\n"));
}

#[test]
fn a_wrong_password_is_told_and_a_new_one_is_taken_from_the_file() {
    let redis = Redis::with(&["--requirepass", PASSWORD]);
    let folder = Folder::new();
    let password = file(&folder, "password", "wrong\n");
    let mut command = roomd(&["--engine", &redis.url(), "--listen", "127.0.0.1:0"]);
    command.args(["--engine-password-file", password.to_str().expect("UTF-8")]);
    let program = Program::of(&mut command);
    program.line("WRONGPASS");
    let health = program.ask(get("/healthz", ""));
    assert!(health.text().contains("the engine cannot be reached"), "{health:?}");
    file(&folder, "password", &format!("{PASSWORD}\n"));
    eventually("an open room", || {
        (program.ask(get("/lobby/text?poll=1", "")).status == 200).then_some(())
    });
}

#[test]
fn who_has_no_password_is_told_that_there_is_one() {
    let redis = Redis::with(&["--requirepass", PASSWORD]);
    let program = Program::of(&mut roomd(&["--engine", &redis.url(), "--listen", "127.0.0.1:0"]));
    let line = program.line("cannot be reached");
    assert!(line.contains(&format!("engine 127.0.0.1:{} ", redis.port())), "{line}");
    assert!(line.contains("NOAUTH"), "{line}");
}

/// It takes connections, as the kernel does for it, and says nothing.
#[test]
fn an_engine_that_hangs_is_told_in_words() {
    let redis = Redis::start();
    redis.signal(Signal::STOP);
    let program = Program::of(&mut roomd(&["--engine", &redis.url(), "--listen", "127.0.0.1:0"]));
    let line = program.line("cannot be reached");
    assert!(line.ends_with("it does not answer in time"), "{line}");
    redis.signal(Signal::CONT);
    program.line("the engine is reached");
}

fn encrypted(url: &str, ca: &Path, certificate: Option<PathBuf>) -> TestServer {
    TestServer::with(|config| {
        config.engine = Some(url.to_owned());
        config.engine_ca = Some(ca.to_owned());
        config.engine_cert = certificate;
    })
}

#[test]
fn an_engine_with_tls_is_talked_to_with_that() {
    let certificates = Certificates::new();
    let redis = Redis::with_tls(certificates.tls("yes"), &[]);
    let url = redis.url();
    let ca = certificates.path("ca.pem");
    let with = Some(certificates.path("client.both"));
    let (a, b) = (encrypted(&url, &ca, with.clone()), encrypted(&url, &ca, with));
    let mut ana = Member::named(a.address(), "lobby", 1, "Ana");
    let mut bob = Member::named(b.address(), "lobby", 2, "Bob");
    // More than a record holds, and one after the other.
    let long = "é".repeat(30_000);
    for n in 1..=20 {
        ana.publish(n, &long);
        assert_eq!(bob.message("a long text")["text"], json!(long));
    }
    // Who shows no certificate is refused, since this engine wants one.
    let c = encrypted(&url, &ca, None);
    c.ask(get("/lobby/text?poll=1", "")).refuses(503, "cannot be reached");
    drop(redis);
}

#[test]
fn an_engine_for_which_nobody_vouches_is_not_trusted() {
    let certificates = Certificates::new();
    let redis = Redis::with_tls(certificates.tls("no"), &[]);
    let url = redis.url();
    let ca = certificates.path("ca.pem");
    let good = encrypted(&url, &ca, None);
    good.join(1).says_and_hears(1, "hello");
    // Another name, somebody else's word, and the word of those whom the system trusts.
    let other = Certificates::new();
    for (url, ca) in [
        (url.replace("127.0.0.1", "localhost"), Some(certificates.arg("ca.pem"))),
        (url.clone(), Some(other.arg("ca.pem"))),
        (url.clone(), None),
    ] {
        let mut command = roomd(&["--engine", &url, "--listen", "127.0.0.1:0"]);
        command.args(ca.iter().flat_map(|ca| ["--engine-ca", ca]));
        let program = Program::of(&mut command);
        program.line("certificate");
        program.ask(get("/lobby/text?poll=1", "")).refuses(503, "cannot be reached");
    }
}
