//! What the metrics and the log tell of named clients: numbers and escaped names, no secrets.

use serde_json::json;

use crate::support::{Member, Program, eventually, get, me};

/// The sum of a family's samples whose labels have this part.
fn sum(program: &Program, family: &str, part: &str) -> f64 {
    let metrics = program.ask(get("/metrics", ""));
    let is_of_it = |line: &&str| {
        line.strip_prefix(family)
            .is_some_and(|rest| rest.starts_with([' ', '{']) && rest.contains(part))
    };
    let samples = metrics.text().lines().filter(is_of_it);
    samples
        .map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).expect("a number"))
        .sum()
}

#[track_caller]
fn comes_to(program: &Program, family: &str, part: &str, expected: f64) {
    let awaited = format!("{family} {part} {expected}");
    eventually(&awaited, || (sum(program, family, part) == expected).then_some(()));
}

#[test]
fn resumes_misses_fences_and_duplicates_are_counted() {
    let program = Program::start(&["--rate=0", "--history=10"]);
    for family in ["resumes", "missed", "fenced", "duplicates"] {
        comes_to(&program, &format!("roomd_{family}_total"), "", 0.0);
        let help = format!("# HELP roomd_{family}_total ");
        assert!(program.ask(get("/metrics", "")).text().contains(&help), "{help}");
    }
    let join = |fields| Member::join(program.address, "lobby", fields);
    let mut ana = Member::named(program.address, "lobby", 1, "ana");
    for n in 1..=30 {
        ana.publish(n, "hi");
        ana.message("its own");
    }
    comes_to(&program, "roomd_resumes_total", "", 0.0);
    for n in 0..3 {
        ana.publish(n + 1, "again");
        ana.next("an ack");
    }
    comes_to(&program, "roomd_duplicates_total", "", 3.0);

    let epoch = ana.epoch().to_owned();
    let labels = || -> Vec<f64> {
        let metrics = program.ask(get("/metrics", ""));
        let lines =
            metrics.text().lines().filter(|line| line.starts_with("roomd_resumes_total{result=\""));
        lines
            .map(|line| line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number"))
            .collect()
    };
    assert!(labels().len() >= 3, "each result has a sample from the beginning: {:?}", labels());
    // Nothing missed, 15 missed, unknown: each is another result.
    for (count, since) in
        [(1.0, format!("{epoch}.25")), (2.0, format!("{epoch}.5")), (3.0, "zzz.5".into())]
    {
        join(json!({"since": since})).pings_behind_the_replay();
        comes_to(&program, "roomd_resumes_total", "", count);
        assert!(labels().iter().all(|n| *n <= 1.0), "{:?}", labels());
    }
    comes_to(&program, "roomd_missed_total", "", 15.0);

    let fencing = Member::named(program.address, "lobby", 1, "ana");
    comes_to(&program, "roomd_fenced_total", "", 1.0);
    fencing.leave();
    comes_to(&program, "roomd_clients", "endpoint=\"room\"", 0.0);
}

impl Member {
    #[track_caller]
    fn pings_behind_the_replay(&mut self) {
        self.send("ping", json!({}));
        self.skip_to("pong", "pong");
    }
}

#[test]
fn metrics_have_no_names_of_rooms_or_people() {
    let program = Program::start(&["--room=declared=Title", "--rate=0"]);
    let mut member = Member::join(
        program.address,
        "undeclared",
        json!({"me": me(77), "name": "Somebody", "since": "zzz.5"}),
    );
    member.says_and_hears("confidential");
    let _other = Member::named(program.address, "declared", 1, "Otherwise");
    let metrics = program.ask(get("/metrics", ""));
    let secret = me(77);
    for name in
        ["undeclared", "declared", "Somebody", "Otherwise", "confidential", &member.you, &secret]
    {
        assert!(!metrics.text().contains(name), "{name} is in\n{}", metrics.text());
    }
}

/// Neither a name nor anything else of a client can write a line, turn it around or color it.
#[test]
fn the_log_escapes_names_and_keeps_secrets() {
    let mut program = Program::start(&["--rate=0", "--log-level=trace"]);
    let secret = me(77);
    let odd = "\u{1b}[31mred\r\nroomd: forged\u{202e}";
    let names = ["An\"a \\ n", "水 🚣", odd];
    for (n, name) in (77..).zip(names) {
        let mut member = Member::named(program.address, "lobby", n, name);
        member.send("name", json!({"name": odd}));
        member.send(odd, json!({odd: odd}));
        member.client.say(odd);
        member.send("msg", json!({"text": "confidential"}));
        member.skip_to("msg", "its own");
        let _fencing = Member::named(program.address, "lobby", n, name);
    }
    program.signal(rustix::process::Signal::TERM);
    assert!(program.ends().success());
    let lines = program.lines_to_the_end();
    for line in &lines {
        assert!(!line.starts_with("roomd: forged"), "{lines:#?}");
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(!line.contains(&secret) && !line.contains("confidential"), "{line}");
    }
}
