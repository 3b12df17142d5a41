//! One connection to the engine: every call has a deadline, and an error ends it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Cmd, ConnectionLike, Value};

use crate::engine::address::Login;
use crate::engine::master::Master;

/// How long the engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection on which the scripts are known.
pub struct Connection {
    inner: redis::Connection,
    hashes: Vec<String>,
    /// Names this run of the engine.
    run: String,
    /// What it and what it has are called, for tests.
    #[cfg(test)]
    pub(super) named: Option<String>,
    master: Arc<Master>,
    /// What is asked counts as long as the master has this version.
    version: u64,
}

/// Why a call failed.
#[derive(Debug)]
pub enum Fault {
    /// This node was declared dead.
    Fenced,
    /// The log has another epoch by now.
    Epoch,
    /// The connection is of no use any more.
    Lost(String),
}

/// A script of the engine.
#[derive(Clone, Copy, Debug)]
pub enum Script {
    Publish,
    Open,
    Sync,
    Reap,
    Beat,
    Fence,
    Secret,
}

/// In the order of the discriminants.
const SCRIPTS: [&[&str]; 7] = [
    &[LOG, PEOPLE, NUMBERS, include_str!("scripts/publish.lua")],
    &[LOG, include_str!("scripts/open.lua")],
    &[LOG, PEOPLE, NUMBERS, include_str!("scripts/sync.lua")],
    &[LOG, PEOPLE, include_str!("scripts/reap.lua")],
    &[include_str!("scripts/beat.lua")],
    &[include_str!("scripts/fence.lua")],
    &[include_str!("scripts/secret.lua")],
];
const LOG: &str = include_str!("scripts/log.lua");
const PEOPLE: &str = include_str!("scripts/people.lua");
const NUMBERS: &str = include_str!("scripts/numbers.lua");

impl Connection {
    /// Connects to an engine that takes writes.
    pub fn open(to: &Arc<Master>) -> Result<Connection, Fault> {
        let (info, login, version) = to.reach()?;
        let mut inner = Client::open(info)?.get_connection_with_timeout(PATIENCE)?;
        inner.set_read_timeout(Some(PATIENCE))?;
        inner.set_write_timeout(Some(PATIENCE))?;
        authenticate(&mut inner, &login)?;
        let (hashes, run, master) = (Vec::new(), String::new(), to.clone());
        let mut connection = Connection {
            inner,
            hashes,
            run,
            #[cfg(test)]
            named: None,
            master,
            version,
        };
        // Before the scripts: to one who has not said the password an engine says NOAUTH, but if that sends
        // as much, it closes the connection.
        let info = text(connection.call(&redis::cmd("INFO"))?)?;
        if of(&info, "loading") != "0" {
            return Err(Fault::Lost("it takes no writes yet: it is loading".into()));
        }
        takes_writes(&info)?;
        connection.run = of(&info, "run_id").to_owned();
        connection.load(|script| script)?;
        Ok(connection)
    }

    /// Has the scripts take the time from this list, seconds and microseconds.
    #[cfg(test)]
    pub(super) fn take_time_from(&mut self, list: &str) -> Result<(), Fault> {
        let time = format!("call('LRANGE', '{list}', 0, -1)");
        self.load(|script| script.replace("call('TIME')", &time))
    }

    /// Has the engine know the scripts, as `made` makes them. All at once, since each way there may take long.
    fn load(&mut self, made: impl Fn(String) -> String) -> Result<(), Fault> {
        let load = |parts: &&[&str]| {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(made(parts.concat()));
            load
        };
        let scripts: Vec<Cmd> = SCRIPTS.iter().map(load).collect();
        let hashes = self.call_all(&scripts)?.into_iter().map(|hash| text(hash?));
        self.hashes = hashes.collect::<Result<_, Fault>>()?;
        Ok(())
    }

    /// Names this run of the engine with what it has: another name after a restart, or a promotion.
    ///
    /// It is asked anew each time, since it changes while this connection lasts, with a first replica for
    /// instance: nodes that gave one run two names would begin an epoch in turns, and never come to an end.
    pub(super) fn server(&mut self) -> Result<String, Fault> {
        let info = text(self.call(redis::cmd("INFO").arg("replication"))?)?;
        takes_writes(&info)?;
        #[cfg(test)]
        if let Some(named) = &self.named {
            return Ok(named.clone());
        }
        Ok(format!("{}.{}", self.run, of(&info, "master_replid")))
    }

    /// A call of a script.
    pub fn script(&self, script: Script, keys: &[String]) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.hashes[script as usize]).arg(keys.len()).arg(keys);
        cmd
    }

    /// Calls and waits for the answer.
    pub fn call(&mut self, cmd: &Cmd) -> Result<Value, Fault> {
        self.is_to_the_master()?;
        let value = answered(&mut self.inner, cmd)?;
        self.is_to_the_master()?;
        Ok(value)
    }

    /// Makes several calls at once, and waits for all answers.
    pub fn call_all(&mut self, cmds: &[Cmd]) -> Result<Vec<Result<Value, Fault>>, Fault> {
        self.is_to_the_master()?;
        let mut packed = Vec::new();
        cmds.iter().for_each(|cmd| cmd.write_packed_command(&mut packed));
        let values = self.inner.req_packed_commands(&packed, 0, cmds.len())?;
        self.is_to_the_master()?;
        Ok(values.into_iter().map(checked).collect())
    }

    /// Nothing is said to one that was replaced, and nothing that it answers counts.
    fn is_to_the_master(&self) -> Result<(), Fault> {
        match self.master.version() == self.version {
            true => Ok(()),
            false => Err(Fault::Lost("another server is the master now".into())),
        }
    }
}

/// A value of INFO; empty if there is none.
fn of<'a>(info: &'a str, key: &str) -> &'a str {
    let value = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap_or_default().trim()
}

fn takes_writes(info: &str) -> Result<(), Fault> {
    match of(info, "role") {
        "master" => Ok(()),
        role => Err(Fault::Lost(format!("it takes no writes (role {role})"))),
    }
}

/// Says who is there, and which database is meant.
pub(super) fn authenticate(to: &mut redis::Connection, login: &Login) -> Result<(), Fault> {
    if let Some(password) = &login.password {
        let mut auth = redis::cmd("AUTH");
        if let Some(user) = &login.user {
            auth.arg(user);
        }
        auth.arg(password);
        answered(to, &auth)?;
    }
    if login.database != 0 {
        answered(to, redis::cmd("SELECT").arg(login.database))?;
    }
    Ok(())
}

/// The answer to a call.
pub(super) fn answered(connection: &mut redis::Connection, cmd: &Cmd) -> Result<Value, Fault> {
    checked(connection.req_command(cmd)?)
}

/// The value, unless it is an error.
fn checked(value: Value) -> Result<Value, Fault> {
    match value {
        Value::ServerError(error) => Err(of_words(error.code(), error.details().unwrap_or(""))),
        value => Ok(value),
    }
}

fn of_words(code: &str, details: &str) -> Fault {
    match code {
        "FENCED" => Fault::Fenced,
        "EPOCH" => Fault::Epoch,
        _ => Fault::Lost(format!("{code} {details}").trim_end().into()),
    }
}

impl From<redis::RedisError> for Fault {
    fn from(error: redis::RedisError) -> Self {
        match error.code() {
            Some(code) => of_words(code, error.detail().unwrap_or("")),
            // What the system calls it says nothing of a deadline.
            None if error.is_timeout() => Fault::Lost("it does not answer in time".into()),
            None => Fault::Lost(error.to_string()),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Lost(error.to_string())
    }
}

/// An answer that is not what a script gives.
pub fn odd() -> Fault {
    Fault::Lost("an answer that no script gives".into())
}

/// A value as text.
pub fn text(value: Value) -> Result<String, Fault> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| odd()),
        Value::SimpleString(text) => Ok(text),
        Value::VerbatimString { text, .. } => Ok(text),
        Value::Int(number) => Ok(number.to_string()),
        Value::Okay => Ok("OK".into()),
        _ => Err(odd()),
    }
}

/// A value as a number.
pub fn number(value: Value) -> Result<u64, Fault> {
    text(value)?.parse().map_err(|_| odd())
}

/// A value as a list.
pub fn list(value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        _ => Err(odd()),
    }
}

/// A value as a list of texts.
pub fn texts(value: Value) -> Result<Vec<String>, Fault> {
    list(value)?.into_iter().map(text).collect()
}
