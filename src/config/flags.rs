//! The command line: one table of flags, from which parsing, `--help`, the `ROOMD_…` variables
//! and the README's list come.

use std::ffi::OsString;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use lexopt::Arg;

use crate::config::{AdminListen, Config};

#[cfg(test)]
mod manual;

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Serve, with these settings.
    Serve(Box<Config>),
    /// Print this and succeed.
    Print(String),
}

/// One setting: the flag, the variable and the words for it.
struct Flag {
    /// The flag without its dashes. The variable's name follows from it.
    name: &'static str,
    /// What it takes, in a word. Empty: it is a switch, which needs no value.
    value: &'static str,
    default: &'static str,
    help: &'static str,
    set: fn(&mut Config, &str) -> Result<(), Refused>,
}

/// What `--version` says: of which source, for what, by which compiler.
const VERSION: &str = concat!("roomd ", env!("CARGO_PKG_VERSION"), " (", env!("ROOMD_BUILD"), ")");

/// What a flag would have accepted.
type Refused = &'static str;

const FLAGS: &[Flag] = &[
    Flag {
        name: "listen",
        value: "ADDRESS:PORT",
        default: "127.0.0.1:8000",
        help: "where to listen; [::]:8000 opens the room to the network",
        set: |config, value| {
            config.listen = address(value).ok_or("ADDRESS:PORT, such as [::]:8000")?;
            Ok(())
        },
    },
    Flag {
        name: "admin-listen",
        value: "ADDRESS:PORT",
        default: "beside the room",
        help: "where /healthz and /metrics are found, and nothing else; off: nowhere",
        set: |config, value| {
            config.admin = match value {
                "off" => AdminListen::Off,
                _ => AdminListen::At(
                    address(value).ok_or("ADDRESS:PORT, such as 127.0.0.1:9000, or off")?,
                ),
            };
            Ok(())
        },
    },
    Flag {
        name: "qr",
        value: "",
        default: "false",
        help: "print a QR code of the page's address, for phones on the same network",
        set: |config, value| {
            config.qr = switch(value)?;
            Ok(())
        },
    },
    Flag {
        name: "max-memory",
        value: "SIZE",
        default: "a quarter of the memory, at most 256M unless --max-clients needs more",
        help: "what clients can make the server hold in all; how many there may be follows from it",
        set: |config, value| {
            config.limits.max_memory = Some(size(value)?);
            Ok(())
        },
    },
    Flag {
        name: "max-clients",
        value: "N",
        default: "1024, or what the memory and the system allow",
        help: "clients at once; the next one gets 503",
        set: |config, value| {
            config.limits.max_clients =
                Some(number(value, 1..=1_000_000, "a number from 1 to 1000000")?);
            Ok(())
        },
    },
    Flag {
        name: "max-clients-per-ip",
        value: "N",
        default: "64, at most half of the clients",
        help: "clients at once from one address (IPv6: a /64 from elsewhere); loopback is exempt",
        set: |config, value| {
            config.limits.max_clients_per_ip =
                Some(number(value, 1..=1_000_000, "a number from 1 to 1000000")?);
            Ok(())
        },
    },
    Flag {
        name: "max-message",
        value: "BYTES",
        default: "65536",
        help: "bytes in a message; a longer one closes its sender with 1009",
        set: |config, value| {
            config.limits.max_message = number(value, 1..=1 << 24, "bytes, from 1 to 16777216")?;
            Ok(())
        },
    },
    Flag {
        name: "max-queue",
        value: "BYTES",
        default: "131072",
        help: "bytes of echoes and pongs that a client has not taken; then it is closed with 1013",
        set: |config, value| {
            config.limits.max_queue =
                number(value, 1 << 15..=1 << 30, "bytes, from 32768 to 1073741824")?;
            Ok(())
        },
    },
    Flag {
        name: "rate",
        value: "N",
        default: "100",
        help: "messages a second from a client before it is slowed down, twice that in a burst; 0 is off",
        set: |config, value| {
            config.limits.rate = number(value, 0..=1_000_000, "a number from 0 to 1000000")? as u32;
            Ok(())
        },
    },
    Flag {
        name: "ping-interval",
        value: "SECONDS",
        default: "25",
        help: "a client that is silent for this long is pinged",
        set: |config, value| {
            config.limits.ping_interval = seconds(value)?;
            Ok(())
        },
    },
    Flag {
        name: "ping-timeout",
        value: "SECONDS",
        default: "10",
        help: "and closed when nothing comes back for this long",
        set: |config, value| {
            config.limits.ping_timeout = seconds(value)?;
            Ok(())
        },
    },
    Flag {
        name: "head-timeout",
        value: "SECONDS",
        default: "5",
        help: "for a request head in all (at most 8 KiB and 64 headers); then 408",
        set: |config, value| {
            config.limits.head_timeout = seconds(value)?;
            Ok(())
        },
    },
    Flag {
        name: "allow-origin",
        value: "ORIGIN",
        default: "none: the page's own origin only",
        help: "other pages that may connect: https://chat.example, or * for all; repeat or list with commas",
        set: |config, value| {
            for value in value.split(',') {
                if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err("an Origin as it is sent, such as https://chat.example, or *");
                }
                config.allow_origin.push(value.into());
            }
            Ok(())
        },
    },
    Flag {
        name: "allow-host",
        value: "NAME",
        default: "none: addresses, localhost, *.local and this machine's name only",
        help: "other names of the server: chat.example, or * for all; repeat or list with commas",
        set: |config, value| {
            for value in value.split(',') {
                if value.is_empty() || value.contains(['/', ':', ' ']) {
                    return Err("a host name without scheme and port, or *");
                }
                config.allow_host.push(value.into());
            }
            Ok(())
        },
    },
    Flag {
        name: "log-level",
        value: "LEVEL",
        default: "info",
        help: "off, error, warn, info, debug or trace, to standard error",
        set: |config, value| {
            config.log_level =
                value.parse().map_err(|_| "off, error, warn, info, debug or trace")?;
            Ok(())
        },
    },
];

/// Reads the command line and, for what it leaves open, the environment.
///
/// # Errors
/// One line that names the flag or variable, the value and what is accepted.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, String> {
    let mut config = Config::default();
    let mut given = Vec::new();
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Print(help())),
            Arg::Short('V') | Arg::Long("version") => {
                return Ok(Command::Print(format!("{VERSION}\n")));
            }
            Arg::Long(name) => {
                let Some(flag) = FLAGS.iter().find(|flag| flag.name == name) else {
                    return Err(format!("--{name} is not a flag of roomd; see roomd --help"));
                };
                let value = if flag.value.is_empty() {
                    parser.optional_value().unwrap_or_else(|| "true".into())
                } else {
                    parser
                        .value()
                        .map_err(|_| format!("--{} needs a value: {}", flag.name, flag.value))?
                };
                flag.apply(&mut config, &format!("--{}", flag.name), value)?;
                given.push(flag.name);
            }
            other => {
                let shown = match other {
                    Arg::Short(letter) => format!("-{letter}"),
                    Arg::Value(value) => format!("'{}'", value.to_string_lossy().escape_debug()),
                    Arg::Long(_) => unreachable!("handled above"),
                };
                return Err(format!("{shown} is not something that roomd takes; see roomd --help"));
            }
        }
    }
    for flag in FLAGS.iter().filter(|flag| !given.contains(&flag.name)) {
        if let Some(value) = env(&flag.variable()) {
            flag.apply(&mut config, &flag.variable(), value)?;
        }
    }
    config.check()?;
    Ok(Command::Serve(Box::new(config)))
}

impl Flag {
    fn variable(&self) -> String {
        format!("ROOMD_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// As it is written on the command line.
    fn usage(&self) -> String {
        format!("--{} {}", self.name, self.value).trim_end().into()
    }

    /// Sets the value that `source`, the flag or the variable, gives.
    fn apply(&self, config: &mut Config, source: &str, value: OsString) -> Result<(), String> {
        let value = value.to_string_lossy();
        (self.set)(config, &value)
            .map_err(|accepted| format!("{source}: '{}' is not {accepted}", value.escape_debug()))
    }
}

fn switch(value: &str) -> Result<bool, Refused> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err("1, true, 0 or false"),
    }
}

/// An address and a port. Names are not looked up: that would need a resolver in the binary.
fn address(value: &str) -> Option<SocketAddr> {
    value.replacen("localhost:", "127.0.0.1:", 1).parse().ok()
}

fn number(
    value: &str,
    range: std::ops::RangeInclusive<usize>,
    accepted: Refused,
) -> Result<usize, Refused> {
    value.parse().ok().filter(|number| range.contains(number)).ok_or(accepted)
}

/// Bytes, such as `8000000`, `8000K` or `8M`, where K and M are 1024 and 1024² bytes.
fn size(value: &str) -> Result<usize, Refused> {
    const ACCEPTED: Refused = "a size from 1M to 64G, such as 8M or 8192K";
    let (digits, unit) = match value.char_indices().last() {
        Some((at, 'k' | 'K')) => (&value[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&value[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&value[..at], 1 << 30),
        _ => (value, 1),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let in_range = bytes.filter(|bytes| (1 << 20..=64 << 30).contains(bytes));
    in_range.and_then(|bytes| usize::try_from(bytes).ok()).ok_or(ACCEPTED)
}

/// A time such as `25`, `0.5`, `25s` or `500ms`. A deadline of an hour is long enough for
/// anybody, and zero would be none at all.
fn seconds(value: &str) -> Result<Duration, Refused> {
    let (digits, unit) = match value.strip_suffix("ms") {
        Some(digits) => (digits, 1e-3),
        None => (value.strip_suffix('s').unwrap_or(value), 1.0),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    digits
        .parse::<f64>()
        .ok()
        .map(|number| number * unit)
        .filter(|seconds| plain && (0.001..=3600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or("a time from 1ms to 3600s, such as 25, 2.5 or 500ms")
}

fn help() -> String {
    let mut out = String::from(
        "roomd: a chat room and message hub on one port\n\n\
         Usage: roomd [FLAG [VALUE]]...\n\n\
         Open http://HOST:PORT/ in a browser to talk, /echo to test the connection. Programs join\n\
         with a WebSocket: /ws/CLIENT_ID is the room, /ws the echo.\n\n\
         Flags, each with a variable ROOMD_FLAG_NAME that it overrides:\n",
    );
    for flag in FLAGS {
        let _ = write!(
            out,
            "  {}\n      {}\n      [default: {}]\n",
            flag.usage(),
            flag.help,
            flag.default
        );
    }
    out.push_str("  -h, --help\n      print this\n  -V, --version\n      print the version\n");
    out
}

/// The list of the flags in the README, which a test compares with it.
#[cfg(test)]
fn markdown() -> String {
    let mut out = String::from("| flag | default | |\n| --- | --- | --- |\n");
    for flag in FLAGS {
        let _ = writeln!(out, "| `{}` | {} | {} |", flag.usage(), flag.default, flag.help);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str], env: &[(&str, &str)]) -> Result<Command, String> {
        parse(args.iter().map(OsString::from), |name| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        })
    }

    fn config(args: &[&str], env: &[(&str, &str)]) -> Config {
        match run(args, env) {
            Ok(Command::Serve(config)) => *config,
            other => panic!("{args:?} gave {other:?}"),
        }
    }

    /// The table's words for a default are the default.
    #[test]
    fn defaults_in_the_table_are_those_of_the_config() {
        let silent = config(&[], &[]);
        let mut spoken = Config::default();
        for flag in FLAGS.iter().filter(|flag| !flag.default.contains([' ', ','])) {
            (flag.set)(&mut spoken, flag.default).expect(flag.name);
        }
        assert_eq!(format!("{silent:?}"), format!("{spoken:?}"));
    }

    #[test]
    fn every_flag_and_its_variable_set_something() {
        for flag in FLAGS {
            let value = match flag.name {
                "qr" => "true",
                "listen" | "admin-listen" => "0.0.0.0:80",
                "allow-origin" => "https://a.example",
                "log-level" => "warn",
                "max-queue" => "500000",
                "max-memory" => "77M",
                _ => "77",
            };
            let by_variable = config(&[], &[(&flag.variable(), value)]);
            let by_flag = config(&[&format!("--{}={value}", flag.name)], &[]);
            assert_ne!(format!("{by_flag:?}"), format!("{:?}", Config::default()), "{}", flag.name);
            assert_eq!(format!("{by_flag:?}"), format!("{by_variable:?}"), "{}", flag.name);
        }
    }

    #[test]
    fn a_switch_needs_no_value() {
        assert!(config(&["--qr", "--rate", "5"], &[]).qr);
        assert!(config(&[], &[("ROOMD_QR", "1")]).qr);
        assert!(!config(&["--qr=0"], &[("ROOMD_QR", "true")]).qr);
        assert!(!config(&[], &[("ROOMD_QR", "false")]).qr);
    }

    #[test]
    fn the_flag_wins_over_the_variable() {
        let config = config(&["--rate=5"], &[("ROOMD_RATE", "6"), ("ROOMD_MAX_MESSAGE", "7")]);
        assert_eq!(config.limits.rate, 5);
        assert_eq!(config.limits.max_message, 7);
    }

    #[test]
    fn lists_are_given_by_repeating_or_with_commas() {
        let by_flags = config(&["--allow-origin=http://a", "--allow-origin", "https://b:1"], &[]);
        let by_variable = config(&[], &[("ROOMD_ALLOW_ORIGIN", "http://a,https://b:1")]);
        assert_eq!(by_flags.allow_origin, ["http://a", "https://b:1"]);
        assert_eq!(by_variable.allow_origin, by_flags.allow_origin);
        assert_eq!(config(&["--allow-host=a,b"], &[]).allow_host, ["a", "b"]);
    }

    #[test]
    fn a_wrong_value_is_one_line_with_flag_value_and_what_is_accepted() {
        for (args, parts) in [
            (&["--rate", "-1"][..], &["--rate", "'-1'", "0 to 1000000"][..]),
            (&["--rate"], &["--rate", "needs a value"]),
            (&["--listen", "8000"], &["--listen", "'8000'", "ADDRESS:PORT"]),
            (&["--listen", "localhost:99999"], &["--listen", "'localhost:99999'"]),
            (&["--admin-listen", "on"], &["--admin-listen", "'on'", "ADDRESS:PORT", "off"]),
            (&["--admin-listen", "127.0.0.1:8000"], &["--admin-listen 127.0.0.1:8000", "--listen"]),
            (&["--max-message", "1e3"], &["--max-message", "'1e3'", "16777216"]),
            (&["--max-memory", "8MB"], &["--max-memory", "'8MB'", "8M"]),
            (&["--max-memory", "1023K"], &["--max-memory", "'1023K'", "from 1M"]),
            (&["--ping-timeout", "0"], &["--ping-timeout", "'0'", "1ms"]),
            (&["--ping-timeout", "inf"], &["--ping-timeout", "'inf'"]),
            (&["--allow-origin", "chat example"], &["--allow-origin", "'chat example'", "https"]),
            (&["--allow-origin", "https://é"], &["--allow-origin", "'https://é'"]),
            (&["--log-level", "loud\n"], &["--log-level", r"'loud\n'", "debug"]),
            (&["--qr=maybe"], &["--qr", "'maybe'", "1, true"]),
            (&["--qr", "1"], &["'1'", "--help"]),
            (&["--port", "1"], &["--port", "--help"]),
            (&["-x"], &["-x", "--help"]),
            (&["hello"], &["'hello'", "--help"]),
        ] {
            let error = run(args, &[]).expect_err(&format!("{args:?}"));
            assert_eq!(error.lines().count(), 1, "{error}");
            for part in parts {
                assert!(error.contains(part), "{args:?} gave {error:?}, which lacks {part:?}");
            }
        }
        let error = run(&[], &[("ROOMD_RATE", "x")]).expect_err("a wrong variable");
        assert!(error.contains("ROOMD_RATE"), "{error}");
    }

    #[test]
    fn times_may_have_a_unit() {
        assert_eq!(seconds("25"), Ok(Duration::from_secs(25)));
        assert_eq!(seconds("2.5s"), Ok(Duration::from_millis(2500)));
        assert_eq!(seconds("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn sizes_may_have_a_unit() {
        assert_eq!(size("2000000"), Ok(2_000_000));
        assert_eq!(size("2048K"), Ok(2 << 20));
        assert_eq!(size("8m"), Ok(8 << 20));
        for wrong in ["", "M", "-8M", "8.5M", "+", "99999999999999999999G", "8é"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    /// To mend it: put what the test says is missing between the README's marks.
    #[test]
    fn the_readme_has_the_same_table() {
        let readme = include_str!("../../README.md");
        let (_, rest) = readme.split_once("<!-- flags").expect("the mark before the table");
        let (table, _) = rest.split_once("<!-- end of flags -->").expect("the mark behind it");
        assert!(table.ends_with(&format!("-->\n{}", markdown())), "it lacks:\n{}", markdown());
    }

    #[test]
    fn help_and_version_are_printed() {
        let Ok(Command::Print(help)) = run(&["--help"], &[]) else { panic!("no help") };
        assert!(FLAGS.iter().all(|flag| help.contains(flag.name) && help.contains(flag.help)));
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        let Ok(Command::Print(version)) = run(&["-V"], &[]) else { panic!("no version") };
        let start = concat!("roomd ", env!("CARGO_PKG_VERSION"), " (");
        assert!(version.starts_with(start) && version.ends_with(")\n"), "{version}");
        assert!(version.contains("rustc 1."), "{version}");
    }
}
