//! The query of a request to a room: strictly read, since a typo should not pass for another wish.

use std::time::Duration;

use crate::excerpt::excerpt;
use crate::http::refusal::Refusal;
use crate::room::names;
use crate::wire::cursor::Cursor;

/// What a query asks for. Parameters that mean nothing here are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// `name`: who says it.
    pub name: Option<String>,
    /// `since`: from where on to hear.
    pub since: Option<Since>,
    /// `before`: the messages before this place.
    pub before: Option<Cursor>,
    /// `poll=1`: what is there, and no more.
    pub is_poll: bool,
    /// `wait`: how long for at least one message.
    pub wait: Duration,
}

/// From where on a subscriber wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Behind this place.
    Cursor(Cursor),
    /// All that there is.
    All,
    /// What is yet to come.
    Nothing,
    /// What is at most so old.
    Age(Duration),
}

/// How long a poll may wait.
const LONGEST_WAIT: u64 = 60;

impl Query {
    /// Reads a query, without its question mark.
    ///
    /// # Errors
    /// The refusal of one that is malformed, or has a parameter twice.
    pub fn parse(query: &str) -> Result<Query, Refusal> {
        let (mut name, mut since, mut before, mut poll, mut wait) = (None, None, None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match &*decode(key)? {
                "name" => &mut name,
                "since" => &mut since,
                "before" => &mut before,
                "poll" => &mut poll,
                "wait" => &mut wait,
                _ => continue,
            };
            if slot.replace(decode(value)?).is_some() {
                return Err(Refusal::bad_request(format!(
                    "there are two {} parameters",
                    excerpt(key)
                )));
            }
        }
        let query = Query {
            name: name.map(|name| read_name(&name)).transpose()?,
            since: since.map(|since| Since::parse(&since)).transpose()?,
            before: before.map(|before| cursor("before", &before)).transpose()?,
            is_poll: match poll.as_deref() {
                None | Some("0") => false,
                Some("1") => true,
                Some(_) => return Err(Refusal::bad_request("poll is 1 or 0")),
            },
            wait: wait.map(|wait| read_wait(&wait)).transpose()?.unwrap_or_default(),
        };
        if !query.is_poll && (query.before.is_some() || !query.wait.is_zero()) {
            return Err(Refusal::bad_request("before and wait go with poll=1"));
        }
        Ok(query)
    }
}

impl Since {
    /// Reads the value of `since`.
    ///
    /// # Errors
    /// The refusal of what is none.
    pub fn parse(text: &str) -> Result<Since, Refusal> {
        Ok(match text {
            "all" => Since::All,
            "none" => Since::Nothing,
            _ => match age(text) {
                Some(age) => Since::Age(age),
                None => Since::Cursor(cursor("since", text)?),
            },
        })
    }
}

/// Reads a place in a log; `what` names it.
///
/// # Errors
/// The refusal of what is none.
pub fn cursor(what: &str, text: &str) -> Result<Cursor, Refusal> {
    Cursor::parse(text).ok_or_else(|| {
        let text = excerpt(text);
        Refusal::bad_request(format!("{what} '{text}' is not a cursor such as k3f9x2.205"))
    })
}

/// A number of seconds, minutes, hours or days.
fn age(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| is_number)?;
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

fn read_name(name: &str) -> Result<String, Refusal> {
    names::check(name).map_err(|why| Refusal::bad_request(format!("this is not a name: {why}")))
}

fn read_wait(wait: &str) -> Result<Duration, Refusal> {
    let is_number = !wait.is_empty() && wait.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = wait.parse().ok().filter(|seconds| is_number && *seconds <= LONGEST_WAIT);
    let seconds = seconds.ok_or_else(|| {
        Refusal::bad_request(format!("wait is a number of seconds up to {LONGEST_WAIT}"))
    })?;
    Ok(Duration::from_secs(seconds))
}

/// Decodes what a form has encoded: escapes, and a plus sign for a space.
fn decode(text: &str) -> Result<String, Refusal> {
    let malformed = || Refusal::bad_request("the query has a malformed percent escape");
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
                let value = digit(0).zip(digit(1)).map(|(high, low)| (16 * high + low) as u8);
                decoded.push(value.ok_or_else(malformed)?);
                rest = &behind[2..];
            }
            byte => decoded.push(*byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"))
    }

    fn place(text: &str) -> Cursor {
        Cursor::parse(text).expect("a cursor")
    }

    #[test]
    fn every_parameter() {
        assert_eq!(query(""), Query::default());
        assert_eq!(query("&&utm=1&x"), Query::default());
        assert_eq!(query("name=J%C3%B6rg+M").name.as_deref(), Some("Jörg M"));
        assert_eq!(query("since=all").since, Some(Since::All));
        assert_eq!(query("since=none").since, Some(Since::Nothing));
        assert_eq!(query("since=k3.205").since, Some(Since::Cursor(place("k3.205"))));
        for (text, seconds) in [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("0s", 0)]
        {
            let age = Since::Age(Duration::from_secs(seconds));
            assert_eq!(query(&format!("since={text}")).since, Some(age), "{text}");
        }
        let poll = query("poll=1&wait=25&before=k3.7");
        assert_eq!(
            (poll.is_poll, poll.wait.as_secs(), poll.before),
            (true, 25, Some(place("k3.7")))
        );
        assert!(!query("poll=0").is_poll && query("poll=1&wait=60").is_poll);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "name=",
            "name=%20",
            "name=~ana",
            "name=a&name=b",
            "name=a&na%6de=b",
            "name=%e9",
            "name=%",
            "name=%1",
            "name=%zz",
            "%zz=1",
            "since=",
            "since=k3",
            "since=10",
            "since=10w",
            "since=m",
            "since=-1m",
            "since=+1m",
            "since=1.5m",
            "since=ALL",
            "since=18446744073709551615d",
            "since=é",
            "before=all&poll=1",
            "before=k3.7",
            "wait=5",
            "poll=1&wait=61",
            "poll=1&wait=-1",
            "poll=1&wait=1.5",
            "poll=1&wait=%2b5",
            "poll=1&wait=",
            "poll=1&wait=99999999999999999999",
            "poll",
            "poll=yes",
        ] {
            let refusal = Query::parse(text).expect_err(text).to_string();
            assert!(refusal.starts_with("400 "), "{text}: {refusal}");
        }
    }
}
