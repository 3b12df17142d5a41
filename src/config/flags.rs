//! The command line: one table of flags, from which parsing, `--help`, the `ROOMD_…` variables
//! and the README's list come.

use std::ffi::OsString;
use std::fmt::Write;

use lexopt::Arg;

use self::value::Value::{
    self, Address, AdminAddress, Age, Bytes, File, Folder, Level, Names, Networks, Number,
    OpenOrClosed, Origins, Room, Seconds, Size, Switch, Sync, Url,
};
use crate::config::{Config, ENGINE_PASSWORD, Hidden, MAX_PRESENCE};

mod value;

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
    /// In words if there is no one value.
    default: &'static str,
    takes: Value,
    help: &'static str,
}

/// What `--version` says: of which source, for what, by which compiler.
const VERSION: &str = concat!("roomd ", env!("CARGO_PKG_VERSION"), " (", env!("ROOMD_BUILD"), ")");

const FLAGS: &[Flag] = &[
    Flag {
        name: "listen",
        default: "127.0.0.1:8000",
        takes: Address(|config| &mut config.listen),
        help: "where to listen; [::]:8000 opens the room to the network",
    },
    Flag {
        name: "admin-listen",
        default: "beside the room",
        takes: AdminAddress(|config| &mut config.admin),
        help: "where /healthz and /metrics are found, and nothing else; off: nowhere",
    },
    Flag {
        name: "qr",
        default: "false",
        takes: Switch(|config| &mut config.qr),
        help: "print a QR code of the page's address, for phones on the same network",
    },
    Flag {
        name: "max-memory",
        default: "a quarter of the memory, at most 256M unless --max-clients needs more",
        takes: Size(1 << 20, |config| &mut config.limits.max_memory),
        help: "what clients can make the server hold in all; how many there may be follows from it",
    },
    Flag {
        name: "max-clients",
        default: "1024, or what the memory and the system allow",
        takes: Number(1, 1_000_000, |config, n| config.limits.max_clients = Some(n)),
        help: "clients at once; the next one gets 503",
    },
    Flag {
        name: "max-clients-per-ip",
        default: "64, at most half of the clients",
        takes: Number(1, 1_000_000, |config, n| config.limits.max_clients_per_ip = Some(n)),
        help: "clients at once from one address (IPv6: a /64 from elsewhere); loopback is exempt",
    },
    Flag {
        name: "room",
        default: "the lobby, at /",
        takes: Room(|config| &mut config.rooms),
        help: "a room that is always there and listed, and what people call it; repeat for more",
    },
    Flag {
        name: "rooms",
        default: "open",
        takes: OpenOrClosed(|config| &mut config.rooms_open),
        help: "open: whoever joins /NAME makes that room; closed: only the lobby and those of --room",
    },
    Flag {
        name: "max-rooms",
        default: "64",
        takes: Number(1, 10_000, |config, n| config.limits.max_rooms = n),
        help: "rooms at once, fewer if memory is short; the one that was empty longest makes place",
    },
    Flag {
        name: "presence",
        default: "100",
        takes: Number(0, MAX_PRESENCE, |config, n| config.limits.presence = n),
        help: "members of a room who are told who comes and goes; more are told their number",
    },
    Flag {
        name: "history",
        default: "500",
        takes: Number(0, 1_000_000, |config, n| config.limits.history = n),
        help: "messages that a room keeps for those who come or come back; 0 is off",
    },
    Flag {
        name: "history-age",
        default: "12h",
        takes: Age(|config| &mut config.limits.history_age),
        help: "how old these may be",
    },
    Flag {
        name: "history-size",
        default: "half of a room's log",
        takes: Size(4 << 10, |config| &mut config.limits.history_size),
        help: "bytes of these, at most half of a room's log",
    },
    Flag {
        name: "state-dir",
        default: "none: a restart forgets",
        takes: Folder(|config| &mut config.state_dir),
        help: "where the history of the lobby and of the rooms of --room survives a restart",
    },
    Flag {
        name: "history-disk",
        default: "4M a room",
        takes: Size(64 << 10, |config| &mut config.limits.history_disk),
        help: "bytes of a room's files there, and of all rooms 16 times that; the oldest goes",
    },
    Flag {
        name: "history-sync",
        default: "10s",
        takes: Sync(|config| &mut config.history_sync),
        help: "a power cut costs what was said in this time; 0: the disk syncs each write, off: never",
    },
    Flag {
        name: "engine",
        default: "none: the rooms are this server's own; not in every build",
        takes: Url(|config| &mut config.engine),
        help: "share rooms by Valkey or Redis: redis(s)://HOST:PORT/DB, redis+sentinel://HOST,…/NAME",
    },
    Flag {
        name: "engine-password-file",
        default: "none",
        takes: File(|config| &mut config.engine_password_file),
        help: "the password for it, in the first line of this file, or else in ROOMD_ENGINE_PASSWORD",
    },
    Flag {
        name: "engine-ca",
        default: "none: those that the system trusts",
        takes: File(|config| &mut config.engine_ca),
        help: "with TLS, who vouches for it: certificates in PEM",
    },
    Flag {
        name: "engine-cert",
        default: "none",
        takes: File(|config| &mut config.engine_cert),
        help: "with TLS, the certificate that it is shown, and its key, in one file in PEM",
    },
    Flag {
        name: "engine-memory",
        default: "64M a room",
        takes: Size(1 << 20, |config| &mut config.limits.engine_memory),
        help: "bytes of a log in it, about",
    },
    Flag {
        name: "max-message",
        default: "65536",
        takes: Bytes(1, 1 << 24, |config, n| config.limits.max_message = n),
        help: "bytes in a message; a longer one closes its sender with 1009",
    },
    Flag {
        name: "max-queue",
        default: "131072",
        takes: Bytes(1 << 15, 1 << 30, |config, n| config.limits.max_queue = n),
        help: "bytes of echoes and pongs that a client has not taken; then it is closed with 1013",
    },
    Flag {
        name: "rate",
        default: "100",
        takes: Number(0, 1_000_000, |config, n| config.limits.rate = n as u32),
        help: "messages a second of a client (ten times that of an address), twice that at once; 0 is off",
    },
    Flag {
        name: "ping-interval",
        default: "25",
        takes: Seconds(|config| &mut config.limits.ping_interval),
        help: "a client that is silent for this long is pinged",
    },
    Flag {
        name: "ping-timeout",
        default: "10",
        takes: Seconds(|config| &mut config.limits.ping_timeout),
        help: "and closed when nothing comes back for this long",
    },
    Flag {
        name: "head-timeout",
        default: "5",
        takes: Seconds(|config| &mut config.limits.head_timeout),
        help: "for a request head in all (at most 8 KiB and 64 headers); then 408",
    },
    Flag {
        name: "allow-origin",
        default: "none: the page's own origin only",
        takes: Origins(|config| &mut config.allow_origin),
        help: "other pages that may connect: https://chat.example, or * for all; repeat or list with commas",
    },
    Flag {
        name: "allow-host",
        default: "none: addresses, localhost, *.local and this machine's name only",
        takes: Names(|config| &mut config.allow_host),
        help: "other names of the server: chat.example, or * for all; repeat or list with commas",
    },
    Flag {
        name: "trust-proxy",
        default: "none",
        takes: Networks(|config| &mut config.trust_proxy),
        help: "proxies whose X-Forwarded-For or Forwarded is believed, for limits and log; repeat or list",
    },
    Flag {
        name: "log-level",
        default: "info",
        takes: Level(|config| &mut config.log_level),
        help: "off, error, warn, info, debug or trace, to standard error",
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
                let value = if flag.takes.word().is_empty() {
                    parser.optional_value().unwrap_or_else(|| "true".into())
                } else {
                    parser.value().map_err(|_| {
                        format!("--{} needs a value: {}", flag.name, flag.takes.word())
                    })?
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
    // In no flag, since others see the command line.
    config.engine_password =
        env(ENGINE_PASSWORD).map(|password| Hidden(password.to_string_lossy().into()));
    Ok(Command::Serve(Box::new(config)))
}

impl Flag {
    fn variable(&self) -> String {
        format!("ROOMD_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// As it is written on the command line.
    fn usage(&self) -> String {
        format!("--{} {}", self.name, self.takes.word()).trim_end().into()
    }

    /// Sets the value that `source`, the flag or the variable, gives.
    fn apply(&self, config: &mut Config, source: &str, value: OsString) -> Result<(), String> {
        let value = value.to_string_lossy();
        let refused = |accepted| format!("{source}: '{}' is not {accepted}", value.escape_debug());
        self.takes.set(config, &value).map_err(refused)
    }
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
        for flag in
            FLAGS.iter().filter(|flag| !flag.default.contains([' ', ',']) && flag.default != "none")
        {
            flag.takes.set(&mut spoken, flag.default).expect(flag.name);
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
                "max-memory" | "history-size" | "history-disk" | "engine-memory" => "77M",
                "rooms" => "closed",
                "history-age" => "77m",
                "trust-proxy" => "10.0.0.0/8",
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
            (&["--max-message", "1e3"], &["--max-message", "'1e3'", "16777216"]),
            (&["--max-memory", "8MB"], &["--max-memory", "'8MB'", "8M"]),
            (&["--max-memory", "1023K"], &["--max-memory", "'1023K'", "from 1M"]),
            (&["--ping-timeout", "0"], &["--ping-timeout", "'0'", "1ms"]),
            (&["--ping-timeout", "inf"], &["--ping-timeout", "'inf'"]),
            (&["--allow-origin", "chat example"], &["--allow-origin", "'chat example'", "https"]),
            (&["--allow-origin", "https://é"], &["--allow-origin", "'https://é'"]),
            (&["--trust-proxy", "10.0.0.0/33"], &["--trust-proxy", "'10.0.0.0/33'", "10.0.0.0/8"]),
            (&["--trust-proxy", "proxy"], &["--trust-proxy", "'proxy'"]),
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
