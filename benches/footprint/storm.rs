//! Everybody comes at once, as after a restart, and is given the history of the room.

use std::io;
use std::net::SocketAddr;
use std::thread;

use serde_json::{Value, json};

use crate::kit::eventually;
use crate::kit::link::Link;
use crate::kit::peer::{Peer, get};
use crate::kit::roomd1::me;

/// What the room has said before.
const SAID: usize = 700;
const LENGTH: usize = 400;

/// Fills the history, lets so many clients of `roomd.1` say hello at the same time, and sees to it that
/// each is given the same messages without a gap and stays until all have come. How many messages that
/// were. They connect one after the other: QEMU's network has a queue of one for those who come.
pub fn join(address: SocketAddr, clients: usize) -> Result<usize, String> {
    eventually("the end of those who came before", || {
        let metrics = Peer::ask(address, get("/metrics", ""));
        metrics.text().contains("\nroomd_clients{endpoint=\"room\"} 0\n").then_some(())
    });
    fill(address).map_err(|e| format!("filling the history: {e}"))?;
    let connect = |_| Link::open(address, "lobby").map_err(|e| format!("connecting: {e}"));
    let links = (0..clients).map(connect).collect::<Result<Vec<Link>, String>>()?;
    thread::scope(|scope| {
        let threads: Vec<_> =
            (1..).zip(links).map(|(n, link)| scope.spawn(move || visit(link, n))).collect();
        let visits = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        // All of them stay until the last one has come.
        let (visits, _links): (Vec<usize>, Vec<Link>) =
            visits.collect::<Result<Vec<_>, String>>()?.into_iter().unzip();
        let least = visits.iter().min().copied().unwrap_or(0);
        let most = visits.iter().max().copied().unwrap_or(0);
        match least == most && least > 0 {
            true => Ok(least),
            false => Err(format!("some were given {least} messages, others {most}")),
        }
    })
}

fn fill(address: SocketAddr) -> io::Result<()> {
    let mut link = Link::open(address, "lobby")?;
    greet(&mut link, json!({"t": "hello", "history": 0}))?;
    for n in 0..SAID {
        let text = format!("{n} {}", "h".repeat(LENGTH));
        link.send(&json!({"t": "msg", "text": text}))?;
        while link.object()?["t"] != "msg" {}
    }
    Ok(())
}

/// Says hello, and hears all there is: how many messages.
fn visit(mut link: Link, n: u64) -> Result<(usize, Link), String> {
    let of = |e: io::Error| format!("client {n}: {e}");
    let hello = json!({"t": "hello", "me": me(n), "name": format!("client {n}"), "history": 1000});
    let head = greet(&mut link, hello).map_err(of)?["head"].as_u64().unwrap_or(0);
    let (mut messages, mut last) = (0, 0);
    while last < head {
        let object = link.object().map_err(of)?;
        if object["t"] != "msg" {
            continue;
        }
        let seq = object["seq"].as_u64().unwrap_or(0);
        if messages > 0 && seq != last + 1 {
            return Err(format!("client {n}: {seq} follows {last}"));
        }
        (messages, last) = (messages + 1, seq);
    }
    Ok((messages, link))
}

fn greet(link: &mut Link, hello: Value) -> io::Result<Value> {
    link.send(&hello)?;
    link.object()
}
