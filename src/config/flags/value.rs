//! What flags take: numbers, sizes, times, addresses, names.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use self::Value::{
    Address, AdminAddress, Age, Bytes, File, Folder, Level, Names, Networks, Number, OpenOrClosed,
    Origins, Room, Seconds, Size, Switch, Sync, Url,
};
use crate::config::network::Network;
use crate::config::{AdminListen, Config, DeclaredRoom, HistorySync, TITLE_BYTES};

/// The kind of value that a flag takes, and the setting that it is for.
pub(super) enum Value {
    /// Needs no value.
    Switch(fn(&mut Config) -> &mut bool),
    Address(fn(&mut Config) -> &mut SocketAddr),
    AdminAddress(fn(&mut Config) -> &mut AdminListen),
    /// Between the first two, which are included.
    Number(usize, usize, fn(&mut Config, usize)),
    Bytes(usize, usize, fn(&mut Config, usize)),
    /// Bytes with a unit, so many at least.
    Size(usize, fn(&mut Config) -> &mut Option<usize>),
    Seconds(fn(&mut Config) -> &mut Duration),
    /// A time that may be long.
    Age(fn(&mut Config) -> &mut Duration),
    /// A room's name, and maybe its title.
    Room(fn(&mut Config) -> &mut Vec<DeclaredRoom>),
    OpenOrClosed(fn(&mut Config) -> &mut bool),
    Folder(fn(&mut Config) -> &mut Option<PathBuf>),
    File(fn(&mut Config) -> &mut Option<PathBuf>),
    /// Of an engine; what it is about is checked by whoever connects.
    Url(fn(&mut Config) -> &mut Option<String>),
    /// A time, 0 or off.
    Sync(fn(&mut Config) -> &mut HistorySync),
    Origins(fn(&mut Config) -> &mut Vec<String>),
    Names(fn(&mut Config) -> &mut Vec<String>),
    Networks(fn(&mut Config) -> &mut Vec<Network>),
    Level(fn(&mut Config) -> &mut LevelFilter),
}

impl Value {
    /// The value in a word; empty if there need not be one.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Switch(_) => "",
            Address(_) | AdminAddress(_) => "ADDRESS:PORT",
            Number(..) => "N",
            Bytes(..) => "BYTES",
            Size(..) => "SIZE",
            Seconds(_) => "SECONDS",
            Age(_) => "TIME",
            Room(_) => "NAME[=TITLE]",
            OpenOrClosed(_) => "WHICH",
            Folder(_) => "DIR",
            File(_) => "FILE",
            Url(_) => "URL",
            Sync(_) => "TIME",
            Origins(_) => "ORIGIN",
            Names(_) => "NAME",
            Networks(_) => "ADDRESS[/PREFIX]",
            Level(_) => "LEVEL",
        }
    }

    /// Sets what `text` says. The error is what would have been accepted.
    pub(super) fn set(&self, config: &mut Config, text: &str) -> Result<(), String> {
        let set = match self {
            Switch(of) => switch(text).map(|value| *of(config) = value),
            Address(of) => address(text).map(|value| *of(config) = value),
            AdminAddress(of) => admin_address(text).map(|value| *of(config) = value),
            Number(least, most, set) | Bytes(least, most, set) => {
                number(text, *least, *most).map(|value| set(config, value))
            }
            Size(least, of) => size(text, *least).map(|value| *of(config) = Some(value)),
            Seconds(of) => seconds(text).map(|value| *of(config) = value),
            Age(of) => age(text).map(|value| *of(config) = value),
            Room(of) => room(text).map(|value| of(config).push(value)),
            OpenOrClosed(of) => open_or_closed(text).map(|value| *of(config) = value),
            Folder(of) | File(of) => path(text).map(|value| *of(config) = Some(value)),
            Url(of) => {
                *of(config) = Some(text.to_owned());
                Some(())
            }
            Sync(of) => sync(text).map(|value| *of(config) = value),
            Origins(of) => list(text, is_origin).map(|values| of(config).extend(values)),
            Names(of) => list(text, is_name).map(|values| of(config).extend(values)),
            Networks(of) => networks(text).map(|values| of(config).extend(values)),
            Level(of) => text.parse().ok().map(|value| *of(config) = value),
        };
        set.ok_or_else(|| self.accepted())
    }

    fn accepted(&self) -> String {
        match self {
            Switch(_) => "1, true, 0 or false".into(),
            Address(_) => "ADDRESS:PORT, such as [::]:8000".into(),
            AdminAddress(_) => "ADDRESS:PORT, such as 127.0.0.1:9000, or off".into(),
            Number(least, most, _) => format!("a number from {least} to {most}"),
            Bytes(least, most, _) => format!("bytes, from {least} to {most}"),
            Size(least, _) if *least < 1 << 20 => {
                format!("a size from {}K to 64G, such as 8M or 8192K", least >> 10)
            }
            Size(..) => "a size from 1M to 64G, such as 8M or 8192K".into(),
            Seconds(_) => "a time from 1ms to 3600s, such as 25, 2.5 or 500ms".into(),
            Age(_) => "a time from 1s to 366d, such as 90s, 10m, 12h or 7d".into(),
            Room(_) => "a room's name of a-z, 0-9, - and _, such as lab or lab=The lab".into(),
            OpenOrClosed(_) => "open or closed".into(),
            Folder(_) => "a folder's path, in UTF-8".into(),
            File(_) => "a file's path, in UTF-8".into(),
            Url(_) => "a URL".into(),
            Sync(_) => "a time from 1ms to 3600s, such as 10s, or 0, or off".into(),
            Origins(_) => "an Origin as it is sent, such as https://chat.example, or *".into(),
            Names(_) => "a host name without scheme and port, or *".into(),
            Networks(_) => "an address or a network, such as 127.0.0.1 or 10.0.0.0/8".into(),
            Level(_) => "off, error, warn, info, debug or trace".into(),
        }
    }
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// An address and a port. Names are not looked up: that would need a resolver in the binary.
fn address(text: &str) -> Option<SocketAddr> {
    text.replacen("localhost:", "127.0.0.1:", 1).parse().ok()
}

fn admin_address(text: &str) -> Option<AdminListen> {
    if text == "off" { Some(AdminListen::Off) } else { address(text).map(AdminListen::At) }
}

fn number(text: &str, least: usize, most: usize) -> Option<usize> {
    text.parse().ok().filter(|number| (least..=most).contains(number))
}

/// Bytes, such as `8000000`, `8000K` or `8M`, where K and M are 1024 and 1024² bytes.
fn size(text: &str, least: usize) -> Option<usize> {
    let (digits, unit) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 1 << 10),
        (at, 'm' | 'M') => (&text[..at], 1 << 20),
        (at, 'g' | 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (least as u64..=64 << 30).contains(&bytes).then(|| usize::try_from(bytes).ok())?
}

/// A time such as `25`, `0.5`, `25s` or `500ms`. A deadline of an hour is long enough for
/// anybody, and zero would be none at all.
fn seconds(text: &str) -> Option<Duration> {
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = digits.parse::<f64>().ok().filter(|_| is_plain)? * unit;
    (0.001..=3600.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// A time such as `90s`, `10m`, `12h` or `7d`.
fn age(text: &str) -> Option<Duration> {
    let (at, unit) = text.char_indices().last()?;
    let unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return None,
    };
    let digits = &text[..at];
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = digits.parse::<u64>().ok().filter(|_| is_plain)?.checked_mul(unit)?;
    (1..=366 * 24 * 3600).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// A room, as in `lab=The lab`. Whether this is a name is found when it is made.
fn room(text: &str) -> Option<DeclaredRoom> {
    let (name, title) = match text.split_once('=') {
        Some((name, title)) => (name, Some(title.trim()).filter(|title| !title.is_empty())),
        None => (text, None),
    };
    let is_title = |title: &str| title.len() <= TITLE_BYTES && !title.contains(char::is_control);
    let is_name = !name.is_empty() && title.is_none_or(is_title);
    is_name.then(|| (name.into(), title.map(Into::into)))
}

fn open_or_closed(text: &str) -> Option<bool> {
    match text {
        "open" => Some(true),
        "closed" => Some(false),
        _ => None,
    }
}

/// A path. What is not UTF-8 has arrived with U+FFFD in its place.
fn path(text: &str) -> Option<PathBuf> {
    let is_good = !text.is_empty() && !text.contains('\u{fffd}');
    is_good.then(|| text.into())
}

fn sync(text: &str) -> Option<HistorySync> {
    match text {
        "off" => Some(HistorySync::Off),
        "0" => Some(HistorySync::Always),
        _ => seconds(text).map(HistorySync::Every),
    }
}

/// Values with commas between them.
fn list(text: &str, is_valid: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    text.split(',').map(|value| is_valid(value).then(|| value.into())).collect()
}

fn networks(text: &str) -> Option<Vec<Network>> {
    text.split(',').map(Network::parse).collect()
}

fn is_origin(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', ':', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_a_unit() {
        assert_eq!(seconds("25"), Some(Duration::from_secs(25)));
        assert_eq!(seconds("2.5s"), Some(Duration::from_millis(2500)));
        assert_eq!(seconds("500ms"), Some(Duration::from_millis(500)));
    }

    #[test]
    fn sizes_may_have_a_unit() {
        assert_eq!(size("2000000", 1 << 20), Some(2_000_000));
        assert_eq!(size("2048K", 1 << 20), Some(2 << 20));
        assert_eq!(size("8m", 1 << 20), Some(8 << 20));
        for wrong in ["", "M", "-8M", "8.5M", "+", "99999999999999999999G", "8é"] {
            assert!(size(wrong, 1).is_none(), "{wrong}");
        }
    }
}
