//! The thread that asks the Sentinels where the master is.
//!
//! It is a thread of its own, since a Sentinel that hangs must not hold up what is said. All of them are asked,
//! several times a beat: what is said to a master that was replaced is lost, and a Sentinel that is cut off
//! from the others still names that one. So the greatest configuration epoch counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Client, Cmd, Value};

use crate::engine::address::{Peer, Place, Spot};
use crate::engine::connection::{Fault, answered, authenticate, list, odd, text, texts};
use crate::engine::master::Master;
use crate::engine::node::Node;

/// Asks where the master is.
pub struct Watch {
    master: Arc<Master>,
    node: Arc<Node>,
    name: String,
    sentinels: Vec<Sentinel>,
    /// What was believed last.
    believed: Option<Claim>,
    beat: Duration,
}

/// One Sentinel.
struct Sentinel {
    spot: Spot,
    connection: Option<redis::Connection>,
    is_silent: bool,
}

/// What a Sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    /// The configuration epoch, which each failover makes greater.
    epoch: u64,
    host: String,
    port: u16,
}

/// How long one Sentinel may take for each step.
const PATIENCE: Duration = Duration::from_millis(300);

impl Watch {
    /// Of the master, if it is one that Sentinels name.
    pub fn new(master: Arc<Master>, node: Arc<Node>, beat: Duration) -> Option<Watch> {
        let Place::Watched { name, sentinels } = master.address().place() else { return None };
        let (name, sentinels) = (name.clone(), sentinels.clone());
        let sentinel = |(host, port)| Sentinel {
            spot: Spot::Tcp(host, port),
            connection: None,
            is_silent: false,
        };
        let sentinels = sentinels.into_iter().map(sentinel).collect();
        Some(Watch { master, node, name, sentinels, believed: None, beat })
    }

    /// Asks until the node stops.
    pub fn run(mut self) {
        while !self.node.is_stopping() {
            let next = Instant::now() + self.beat / 4;
            self.ask();
            self.node.rest_until(next);
        }
    }

    /// Asks all of them once.
    fn ask(&mut self) {
        let mut claims = Vec::new();
        let mut faults = Vec::new();
        for sentinel in &mut self.sentinels {
            match sentinel.ask(&self.master, &self.name) {
                Ok(claim) => claims.push(claim),
                Err(why) => faults.push(why),
            }
        }
        self.node.counts.asked(self.sentinels.len(), faults.len());
        match chosen(&claims, self.sentinels.len(), self.believed.as_ref()) {
            None => {
                let why = faults.join("; ");
                self.master.is_unknown(format!("no Sentinel says where {} is: {why}", self.name));
            }
            Some(claim) => {
                let before = self.believed.replace(claim.clone());
                let Claim { epoch, host, port } = claim;
                if before
                    .as_ref()
                    .is_some_and(|before| (&before.host, before.port) == (&host, port))
                {
                    return;
                }
                if before.is_some() {
                    self.node.counts.moves.add(1);
                }
                let spot = Spot::Tcp(host, port);
                log::info!("the engine's master {} is {spot} (epoch {epoch})", self.name);
                self.master.moves_to(spot);
                // What waits for something to be said is on the old one.
                self.node.suspect();
            }
        }
    }
}

impl Sentinel {
    /// What it says, or why it says nothing.
    fn ask(&mut self, master: &Master, name: &str) -> Result<Claim, String> {
        let place = self.spot.to_string();
        let claim = self.claim(master, name);
        let was_silent = std::mem::replace(&mut self.is_silent, claim.is_err());
        match claim {
            Ok(claim) => {
                if was_silent {
                    log::info!("Sentinel {place} answers");
                }
                Ok(claim)
            }
            Err(fault) => {
                let why = match fault {
                    Fault::Lost(why) => why,
                    Fault::Fenced | Fault::Epoch => "an unexpected answer".into(),
                };
                let why = format!("Sentinel {place}: {why}");
                if !was_silent {
                    log::warn!("{why}");
                }
                Err(why)
            }
        }
    }

    fn claim(&mut self, master: &Master, name: &str) -> Result<Claim, Fault> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let info = master.address().info(&self.spot).map_err(Fault::Lost)?;
                let login = master.address().login(Peer::Sentinel).map_err(Fault::Lost)?;
                let mut connection = Client::open(info)?.get_connection_with_timeout(PATIENCE)?;
                connection.set_read_timeout(Some(PATIENCE))?;
                connection.set_write_timeout(Some(PATIENCE))?;
                authenticate(&mut connection, &login)?;
                connection
            }
        };
        let mut about = redis::cmd("SENTINEL");
        about.arg("MASTER").arg(name);
        // In the middle of a failover this has the new one, and the other the new epoch.
        let mut place = redis::cmd("SENTINEL");
        place.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let claim = claimed(&mut connection, &about, &place)?;
        self.connection = Some(connection);
        Ok(claim)
    }
}

fn claimed(connection: &mut redis::Connection, about: &Cmd, place: &Cmd) -> Result<Claim, Fault> {
    let about = texts(answered(connection, about)?)?;
    let place = answered(connection, place)?;
    let about: HashMap<_, _> = about.chunks_exact(2).map(|pair| (&*pair[0], &*pair[1])).collect();
    let epoch = about.get("config-epoch").ok_or_else(odd)?.parse().map_err(|_| odd())?;
    if place == Value::Nil {
        return Err(odd());
    }
    let mut place = list(place)?.into_iter();
    let mut next = || text(place.next().ok_or_else(odd)?);
    let (host, port) = (next()?, next()?.parse().map_err(|_| odd())?);
    Ok(Claim { epoch, host, port })
}

/// What to believe of these claims by `of` Sentinels, where something was believed `last`.
///
/// A greater epoch wins. Whoever has not heard of the last failover yet is not believed; but if nobody
/// agrees with what was believed, then more than half of all are: somebody has set them up anew.
fn chosen(claims: &[Claim], of: usize, last: Option<&Claim>) -> Option<Claim> {
    let newest = claims.iter().max_by_key(|claim| claim.epoch);
    let Some(last) = last else { return newest.cloned() };
    if let Some(newest) = newest.filter(|newest| newest.epoch > last.epoch) {
        return Some(newest.clone());
    }
    let is_at = |one: &Claim, other: &Claim| (&one.host, one.port) == (&other.host, other.port);
    let agrees = |claim: &Claim| claim.epoch == last.epoch && is_at(claim, last);
    let votes = |one: &Claim| claims.iter().filter(|other| is_at(one, other)).count();
    let other = claims.iter().find(|claim| 2 * votes(claim) > of);
    match other {
        Some(other) if !claims.iter().any(agrees) => Some(other.clone()),
        _ => Some(last.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim((epoch, host): (u64, &str)) -> Claim {
        Claim { epoch, host: host.into(), port: 6379 }
    }

    #[test]
    fn the_greatest_epoch_is_believed_and_a_majority_if_nobody_agrees() {
        for (last, claims, expected) in [
            (None, &[][..], None),
            // Who is cut off names the one before.
            (None, &[(1, "a"), (2, "b")], Some((2, "b"))),
            (Some((1, "a")), &[(1, "a"), (2, "b"), (1, "a")], Some((2, "b"))),
            (Some((2, "b")), &[(1, "a"), (1, "a"), (2, "b")], Some((2, "b"))),
            (Some((2, "b")), &[(1, "a")], Some((2, "b"))),
            (Some((2, "b")), &[], Some((2, "b"))),
            // Another spelling of the same address.
            (Some((1, "a")), &[(1, "a.example"), (1, "a"), (1, "a.example")], Some((1, "a"))),
            // They were set up anew.
            (Some((2, "b")), &[(0, "c"), (0, "c")], Some((0, "c"))),
            (Some((0, "b")), &[(0, "c"), (0, "c"), (0, "c")], Some((0, "c"))),
        ] {
            let claims: Vec<_> = claims.iter().copied().map(claim).collect();
            let chosen = chosen(&claims, 3, last.map(claim).as_ref());
            assert_eq!(chosen, expected.map(claim), "{last:?} {claims:?}");
        }
    }
}
