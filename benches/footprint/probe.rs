//! A server that tells what memory it has: started by `tests/arm/probe`, here or in a machine.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::program::Process;

/// Long enough for a machine that boots beside others.
const PATIENCE: Duration = Duration::from_secs(120);

/// Dropping it ends the server.
#[derive(Debug)]
pub struct Probe {
    process: Process,
    ask: ChildStdin,
    said: Receiver<String>,
}

/// What was told, in kB.
#[derive(Clone, Debug)]
pub struct Reading(Vec<(String, f64)>);

impl Probe {
    /// Starts a command and waits until roomd says that it can be reached. The `limits` are for a
    /// machine; see `tests/arm/machine`.
    pub fn start(command: &str, limits: &str) -> Result<Probe, String> {
        let words: Vec<&str> = command.split(' ').collect();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .env("LIMITS", limits)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("starting {command}: {e}"))?;
        let ask = child.stdin.take().expect("it is piped");
        let out = child.stdout.take().expect("it is piped");
        let (tell, said) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                // Nobody listens once the server is to end.
                let _ = tell.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        });
        let mut probe = Probe { process: Process(child), ask, said };
        probe.lines_until("roomd: open http://")?;
        // What else the program says at its start may come in the middle of the first answer.
        probe.read()?;
        Ok(probe)
    }

    pub fn read(&mut self) -> Result<Reading, String> {
        writeln!(self.ask).map_err(|e| format!("asking what memory there is: {e}"))?;
        let lines = self.lines_until("reading: done")?;
        let values = lines.iter().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().strip_suffix(" kB")?.parse().ok()?))
        });
        Ok(Reading(values.collect()))
    }

    fn lines_until(&self, end: &str) -> Result<Vec<String>, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(line) if line.contains(end) => {
                    lines.push(line);
                    return Ok(lines);
                }
                Ok(line) => lines.push(line),
                Err(e) => return Err(format!("no {end:?} ({e}) after:\n{}", lines.join("\n"))),
            }
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // It may have ended, which those who talked with it have noticed.
        let _ = writeln!(self.ask, "stop");
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.process.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Reading {
    pub fn kb(&self, name: &str) -> Result<f64, String> {
        let value = self.0.iter().find(|(known, _)| known == name);
        value.map(|(_, kb)| *kb).ok_or_else(|| format!("nothing told of {name}: has roomd ended?"))
    }

    /// What the kernel has for connections and threads: sockets, stacks, page tables.
    pub fn kernel_kb(&self) -> Result<f64, String> {
        ["Slab", "KernelStack", "PageTables"].iter().map(|name| self.kb(name)).sum()
    }
}
