//! A machine that has memory, but a group for roomd (cgroups(7)) that has little of it, or few
//! threads: is the budget kept when everybody does their worst?

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::kit::peer::{UPGRADE, get};
use crate::load::Event;
use crate::measure;
use crate::message::{self, Message};
use crate::order::Order;

const MEGABYTES: usize = 256;
/// What the group may have, and what roomd is told.
const MEMORY: &str = "8M";
/// As many as there is memory for.
const CLIENTS: usize = 50;
const SENDERS: usize = 4;
const LENGTH: usize = 2000;
/// Of a text that is nearly as long as one may be.
const LONG: usize = 64_000;

const PATIENCE: Duration = Duration::from_secs(20);

/// All clients but the senders stall, and the senders flood.
pub fn memory(binary: &str, time: Duration) -> Result<(), String> {
    let arguments =
        format!("--rate 0 --log-level error --max-memory {MEMORY} --max-clients-per-ip 1000");
    let limits = format!("memory.max={MEMORY} memory.swap.max=0");
    let (mut probe, address) = measure::machine(Path::new(binary), MEGABYTES, &arguments, &limits)?;
    let mut load = measure::load(address);
    measure::enter(&mut load, CLIENTS)?;
    (SENDERS..CLIENTS).try_for_each(|client| load.stall(client))?;

    let mut order = Order::new(SENDERS, SENDERS, LENGTH);
    let (mut said, mut gone) = ([0; SENDERS], 0);
    let begin = Instant::now();
    // Each hears everything before the next round is said.
    while begin.elapsed() < time {
        for (sender, said) in said.iter_mut().enumerate() {
            load.say(sender, &Message::new(sender, *said).text(LENGTH))?;
            *said += 1;
        }
        while order.deliveries() < SENDERS * said.iter().sum::<usize>() {
            load.turn(|client, event| {
                let Event::Text(text) = event else { return Ok(()) };
                match message::who_left(text) {
                    Some(id) if id < SENDERS => {
                        Err(format!("client {id}, who kept up, was closed"))
                    }
                    Some(_) => {
                        gone += usize::from(client == 0);
                        Ok(())
                    }
                    None => order.hear(client, text).map(drop),
                }
            })?;
        }
    }
    let reading = probe.read()?;
    let (peak, killed) = (reading.kb("GroupPeak")?, reading.kb("GroupKills")?);
    println!(
        "{} of {} who stalled were closed; {SENDERS} who flooded for {} s heard all {} messages, each \
         once, in one order.",
        gone,
        CLIENTS - SENDERS,
        time.as_secs(),
        said.iter().sum::<usize>(),
    );
    println!("The group had {MEMORY} and took {peak} kB of it at most; {killed} were killed.");
    match (killed as usize, gone) {
        (0, 1..) => Ok(()),
        (0, _) => Err("nobody was closed, so this was no trial".into()),
        _ => Err("the system had to kill".into()),
    }
}

/// Where long texts are said.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    megabytes: usize,
    /// What the control group may have, if there is one.
    group: Option<&'static str>,
    /// As many as there is memory for.
    clients: usize,
}

/// A group with little memory, in a machine that has enough.
pub const GROUP: Host = Host { megabytes: MEGABYTES, group: Some(MEMORY), clients: CLIENTS };
/// The smallest machine, whose kernel leaves less than 4 MB to programs.
pub const MACHINE: Host = Host { megabytes: 32, group: None, clients: 4 };

/// The room is full, everybody reads, and each text is about as long as one may be: nobody is closed.
pub fn long_texts(binary: &str, host: Host, time: Duration) -> Result<(), String> {
    let mut arguments = "--rate 0 --log-level error --max-clients-per-ip 1000".to_owned();
    let mut limits = String::new();
    if let Some(memory) = host.group {
        arguments += &format!(" --max-memory {memory}");
        limits = format!("memory.max={memory} memory.swap.max=0");
    }
    let (mut probe, address) =
        measure::machine(Path::new(binary), host.megabytes, &arguments, &limits)?;
    let mut load = measure::load(address);
    measure::enter(&mut load, host.clients)?;
    let mut order = Order::new(host.clients, SENDERS, LONG);
    let (mut rounds, begin) = (0, Instant::now());
    while begin.elapsed() < time {
        for sender in 0..SENDERS {
            load.say(sender, &Message::new(sender, rounds).text(LONG))?;
        }
        rounds += 1;
        while order.deliveries() < host.clients * SENDERS * rounds {
            load.turn(|client, event| match event {
                // Its end says more.
                Event::Text(text) if message::who_left(text).is_some() => Ok(()),
                Event::Text(text) => order.hear(client, text).map(drop),
                Event::Gone(code) => {
                    Err(format!("client {client}, who read, was closed with code {code:?}"))
                }
                _ => Ok(()),
            })?;
        }
    }
    println!(
        "{} who read heard all {} texts of {LONG} bytes in {:.0} s, and nobody was closed.",
        host.clients,
        SENDERS * rounds,
        begin.elapsed().as_secs_f64(),
    );
    let reading = probe.read()?;
    let Some(memory) = host.group else {
        let (has, left) = (reading.kb("MemTotal")?, reading.kb("MemAvailable")?);
        println!("Of {} MB the kernel leaves {has} kB, of which {left} were free.", host.megabytes);
        return Ok(());
    };
    let (peak, killed) = (reading.kb("GroupPeak")?, reading.kb("GroupKills")?);
    println!("The group took {peak} kB of {memory} at most; {killed} were killed.");
    if killed > 0.0 { Err("the system had to kill".into()) } else { Ok(()) }
}

/// The group has few threads: who comes then is told so, who is there talks on, and once there are
/// threads again there is room.
pub fn threads(binary: &str) -> Result<(), String> {
    let (probe, address) = measure::machine(
        Path::new(binary),
        MEGABYTES,
        "--rate 0 --max-clients-per-ip 1000",
        "pids.max=30",
    )?;
    let (mut clients, mut refused) = (Vec::new(), 0);
    while refused < 3 {
        match join(address, clients.len())? {
            Some(client) => clients.push(client),
            None => refused += 1,
        }
        if clients.len() > 40 {
            return Err("there are more clients than threads".into());
        }
    }
    let inside = clients.len();
    talk(&mut clients, "while there are no threads")?;
    drop(clients.pop());
    let begin = Instant::now();
    let again = loop {
        if let Some(client) = join(address, 99)? {
            break client;
        }
        if begin.elapsed() > PATIENCE {
            return Err("nobody is let in although somebody has left".into());
        }
    };
    clients.push(again);
    talk(&mut clients, "when there are threads again")?;
    drop(probe);
    println!(
        "With 30 threads there were {inside} clients; the next got 503, and a place once one had left."
    );
    Ok(())
}

/// A client of the room; none if the answer is 503.
fn join(address: SocketAddr, id: usize) -> Result<Option<TcpStream>, String> {
    let fail = |e| format!("joining as client {id}: {e}");
    let mut client = TcpStream::connect(address).map_err(fail)?;
    client.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    let request = get(&format!("/ws/{id}"), UPGRADE);
    client.write_all(request.as_bytes()).map_err(fail)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).map_err(fail)?;
        head.extend(byte);
    }
    match &head[..12] {
        b"HTTP/1.1 101" => Ok(Some(client)),
        b"HTTP/1.1 503" => Ok(None),
        _ => Err(format!("client {id} got {}", String::from_utf8_lossy(&head))),
    }
}

/// The first one says something, and everybody hears it, whatever comes before it.
fn talk(clients: &mut [TcpStream], text: &str) -> Result<(), String> {
    let fail = |e| format!("talking {text}: {e}");
    clients[0].write_all(&crate::frame::text(text.as_bytes())).map_err(fail)?;
    for client in clients {
        let mut heard = Vec::new();
        while !heard.ends_with(text.as_bytes()) {
            let mut byte = [0];
            client.read_exact(&mut byte).map_err(fail)?;
            heard.extend(byte);
        }
    }
    Ok(())
}
