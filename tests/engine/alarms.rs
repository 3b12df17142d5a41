use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::kit::PATIENCE;
use crate::kit::eventually;
use crate::kit::folder::Folder;
use crate::kit::peer::get;
use crate::kit::program::{Process, free_address};
use crate::kit::roomd1::Member;
use crate::redis::Redis;

const MANUAL: &str = include_str!("../../docs/operating.md");

/// Prometheus or its promtool, which `make test` unpacks, since installing it would start a service.
#[track_caller]
fn tool(name: &str) -> PathBuf {
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/usr/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(unpacked)]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("this test needs {name}; see make test"))
}

/// The alarms of the manual: each expression, and how long it has to hold.
fn alarms() -> Vec<(&'static str, String)> {
    let table = MANUAL.split_once("Useful alerts:").expect("a table").1;
    let rows = table.lines().skip_while(|line| !line.starts_with("| `"));
    rows.take_while(|line| line.starts_with('|'))
        .map(|row| {
            let cell = row.split_once("| ").and_then(|(_, rest)| rest.split_once(" | "));
            let (expression, time) = cell
                .and_then(|(cell, _)| cell.strip_prefix('`')?.split_once('`'))
                .unwrap_or_else(|| panic!("no expression in {row}"));
            (expression, time.trim_start_matches(" for ").replace(' ', ""))
        })
        .collect()
}

/// A Prometheus with these alarms that scrapes these targets.
struct Prometheus {
    process: Process,
    address: SocketAddr,
    _folder: Folder,
}

impl Prometheus {
    #[track_caller]
    fn watches(targets: &[String]) -> Self {
        let folder = Folder::new();
        let mut rules = String::from("groups:\n- name: roomd\n  interval: 250ms\n  rules:\n");
        for (n, (expression, time)) in alarms().iter().enumerate() {
            let expression = expression.replace('\'', "''");
            let _ = writeln!(rules, "  - alert: alarm{n}\n    expr: '{expression}'");
            if !time.is_empty() {
                let _ = writeln!(rules, "    for: {time}");
            }
        }
        let (path, config) =
            (folder.path().join("rules.yml"), folder.path().join("prometheus.yml"));
        fs::write(&path, rules).expect("a file");
        let checked = Command::new(tool("promtool")).args(["check", "rules"]).arg(&path).output();
        let checked = checked.expect("promtool");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let text = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\nrule_files: [rules.yml]\n\
             scrape_configs:\n- job_name: roomd\n  static_configs:\n  - targets: {targets:?}\n"
        );
        fs::write(&config, text).expect("a file");
        let address = free_address();
        let mut command = Command::new(tool("prometheus"));
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut process = Process(child.expect("prometheus"));
        process.listens(address, PATIENCE).expect("it listens");
        Prometheus { process, address, _folder: folder }
    }

    /// What it says of each alarm: the state, and what is wrong with the expression.
    fn states(&self) -> Option<Vec<(String, String)>> {
        // By 1.0 it is not sent in chunks.
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(b"GET /api/v1/rules HTTP/1.0\r\n\r\n").ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).ok()?;
        let said: Value = serde_json::from_str(response.split_once("\r\n\r\n")?.1).ok()?;
        let rules = said["data"]["groups"][0]["rules"].as_array()?;
        let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        let states = rules.iter().map(|rule| (text(rule, "state"), text(rule, "lastError")));
        // Each was looked at.
        let is_known = rules.iter().all(|rule| rule["health"] != "unknown");
        is_known.then(|| states.collect())
    }

    /// Waits until the alarms with these parts fire.
    #[track_caller]
    fn fires(&self, parts: &[&str]) {
        let alarms = alarms();
        eventually(&format!("alarms: {parts:?}"), || {
            let states = self.states()?;
            let fire = |part: &&str| {
                let at = alarms.iter().position(|(expression, _)| expression.contains(*part));
                states[at.unwrap_or_else(|| panic!("no alarm for {part}"))].0 == "firing"
            };
            parts.iter().all(fire).then_some(())
        });
    }
}

#[test]
fn the_alarms_of_the_manual_ring_for_what_they_are_for_and_else_do_not() {
    let mut redis = Redis::start();
    let (a, b) = (redis.program(), redis.program());
    let mut ana = Member::named(a.address, "lobby", 1, "Ana");
    let bob = Member::named(b.address, "lobby", 2, "Bob");
    ana.publish(1, "one");
    ana.skip_to("msg", "her own");
    // What Prometheus itself has against the metrics, with all those of the engine.
    let metrics = a.ask(get("/metrics", "")).body;
    let mut promtool = Command::new(tool("promtool"));
    let promtool = promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut promtool = promtool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it");
    promtool.stdin.take().expect("a pipe").write_all(&metrics).expect("it reads");
    let said = promtool.wait_with_output().expect("its verdict");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let metrics = String::from_utf8(metrics).expect("text");

    let prometheus = Prometheus::watches(&[a.address.to_string(), b.address.to_string()]);
    let alarms = alarms();
    let states = eventually("a look at all alarms", || prometheus.states());
    assert_eq!(states.len(), alarms.len());
    for ((expression, _), (state, fault)) in alarms.iter().zip(&states) {
        assert_eq!((state.as_str(), fault.as_str()), ("inactive", ""), "{expression}");
        // Each name is one that there is; Sentinels have theirs only where there are some.
        let names = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in names.filter(|name| name.starts_with("roomd_")) {
            let is_there = metrics.contains(&format!("\n{name}")) || name.ends_with("_sentinels");
            assert!(is_there, "{expression}: there is no {name}");
        }
    }

    // A server dies, and the engine is away for more than ten seconds and has forgotten everything.
    drop(b);
    prometheus.fires(&["up == 0", "reaped"]);
    redis.kill();
    prometheus.fires(&["roomd_engine_up"]);
    redis.start_again();
    prometheus.fires(&["lost"]);
    eventually("an alarm that is over", || {
        let at = alarms.iter().position(|(expression, _)| expression.contains("roomd_engine_up"));
        (prometheus.states()?[at.expect("an alarm")].0 == "inactive").then_some(())
    });
    drop((bob, prometheus.process));
}
