//! The load: clients on one thread that polls.
//!
//! It has to cost less than the server it measures. So it never sleeps while it has a CPU of its
//! own (waking it would be the server's work), reads a ready socket once into one large buffer,
//! and looks at the frames where they lie.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::cpu::Cpus;
use crate::frame;
use crate::protocol::{Heard, Protocol};

/// Larger than what a server is likely to send between two reads of one socket.
const BUFFER: usize = 256 * 1024;
/// How many sockets one poll may report.
const BATCH: usize = 64;
/// How many clients may be connecting at once: fewer than any server's backlog.
const OPENING: usize = 64;
/// How long a load sleeps at most that shares its CPU, so that it is in time with what it has to say.
const NAP: Duration = Duration::from_micros(100);
/// Nothing here takes that long, so something is lost.
const SILENCE: Duration = Duration::from_secs(10);

/// What a client hears.
#[derive(Debug)]
pub enum Event<'a> {
    Open,
    Text(&'a [u8]),
    /// So many bytes, which were not looked at.
    Bytes(usize),
    /// The whole answer to a request.
    Answer(&'a [u8]),
    /// The server has ended the connection; with which code, if it sent any.
    Gone(Option<u16>),
}

#[derive(Debug)]
struct Client {
    socket: TcpStream,
    protocol: Protocol,
    state: State,
    /// The length of what came last.
    usual: usize,
    /// What comes is counted, and not looked at.
    is_deaf: bool,
    /// The beginning of a frame whose rest has not come yet.
    begun: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Opening,
    /// Its request was answered, and the server has not said hello yet.
    Answered,
    Open,
    /// Does not read, or has only begun to again: the server may close it.
    Stalled,
    /// A close frame has been sent; with which code one has come, if any.
    Leaving(Option<u16>),
    Gone,
}

#[derive(Debug)]
pub struct Load {
    /// Clients are dealt to them in turn.
    servers: Vec<SocketAddr>,
    epoll: OwnedFd,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    wait: Timespec,
    heard_at: Instant,
    busy: Duration,
}

impl Load {
    pub fn new(server: SocketAddr, cpus: Cpus) -> Load {
        Load::waiting(vec![server], Duration::from_millis(cpus.are_shared().into()))
    }

    /// Sleeps while there is nothing to do, since there are more processes than CPUs.
    pub fn sleeping(servers: &[SocketAddr]) -> Load {
        Load::waiting(servers.to_vec(), NAP)
    }

    fn waiting(servers: Vec<SocketAddr>, wait: Duration) -> Load {
        Load {
            servers,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).expect("creating an epoll"),
            clients: Vec::new(),
            buffer: vec![0; BUFFER],
            wait: Timespec::try_from(wait).expect("a short time fits"),
            heard_at: Instant::now(),
            busy: Duration::ZERO,
        }
    }

    /// How many clients were let in.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// How long reading and looking at what was read has taken so far.
    pub fn busy(&self) -> Duration {
        self.busy
    }

    /// Lets `count` more clients of the tutorial's protocol in by the paths that `path` gives their numbers.
    pub fn open(&mut self, count: usize, path: impl Fn(usize) -> String) -> Result<(), String> {
        self.open_as(count, |client| (Protocol::Tutorial, path(client)))
    }

    /// Lets `count` more clients in by the protocols and paths that `how` gives their numbers.
    pub fn open_as(
        &mut self,
        count: usize,
        how: impl Fn(usize) -> (Protocol, String),
    ) -> Result<(), String> {
        let first = self.clients.len();
        let (mut begun, mut opened) = (0, 0);
        while opened < count {
            while begun < count && begun - opened < OPENING {
                let (protocol, path) = how(first + begun);
                self.begin_as(protocol, &path)?;
                begun += 1;
            }
            self.turn(|_, event| {
                opened += usize::from(matches!(event, Event::Open));
                Ok(())
            })
            .map_err(|e| format!("{e}, with {opened} of {count} clients connected"))?;
        }
        Ok(())
    }

    /// Begins one connection; `Event::Open` says when it stands.
    pub fn begin(&mut self, path: &str) -> Result<usize, String> {
        self.begin_as(Protocol::Tutorial, path)
    }

    fn begin_as(&mut self, protocol: Protocol, path: &str) -> Result<usize, String> {
        let socket = self.connect(self.clients.len(), protocol.request(path).as_bytes())?;
        self.adopt(socket, protocol, State::Opening)
    }

    /// Begins a connection in the place of a client that is gone.
    pub fn begin_again(&mut self, client: usize, path: &str) -> Result<(), String> {
        let request = self.clients[client].protocol.request(path);
        self.send_again(client, request.as_bytes())
    }

    /// Sends a request over a connection of its own; `Event::Answer` has the answer.
    pub fn ask(&mut self, request: &[u8]) -> Result<usize, String> {
        let socket = self.connect(self.clients.len(), request)?;
        self.adopt(socket, Protocol::Request, State::Opening)
    }

    /// The same, in the place of one that was answered.
    pub fn ask_again(&mut self, client: usize, request: &[u8]) -> Result<(), String> {
        self.send_again(client, request)
    }

    fn send_again(&mut self, client: usize, request: &[u8]) -> Result<(), String> {
        let socket = self.connect(client, request)?;
        self.watch(client, &socket)?;
        self.clients[client].socket = socket;
        self.clients[client].state = State::Opening;
        Ok(())
    }

    /// From now on, what comes for this client is counted and not looked at, which costs next to nothing.
    pub fn deafen(&mut self, client: usize) {
        self.clients[client].is_deaf = true;
    }

    /// Takes over a socket that needs no handshake.
    pub fn adopt_open(&mut self, socket: TcpStream) -> Result<usize, String> {
        socket.set_nonblocking(true).map_err(|e| format!("making a socket nonblocking: {e}"))?;
        self.adopt(socket, Protocol::Tutorial, State::Open)
    }

    pub fn say(&mut self, client: usize, text: &[u8]) -> Result<(), String> {
        self.send(client, &self.clients[client].protocol.says(text))
    }

    /// Says texts of which each is a message of its own, all at once.
    pub fn say_all(
        &mut self,
        client: usize,
        texts: impl Iterator<Item = Vec<u8>>,
    ) -> Result<(), String> {
        let protocol = self.clients[client].protocol;
        self.send(client, &texts.flat_map(|text| protocol.says(&text)).collect::<Vec<u8>>())
    }

    /// Sends frames that are ready. A socket that takes only part of them is an error: what is
    /// under way is little, so the server must have stopped reading for long.
    pub fn send(&mut self, client: usize, frames: &[u8]) -> Result<(), String> {
        match (&self.clients[client].socket).write(frames) {
            Ok(sent) if sent == frames.len() => Ok(()),
            Ok(_) => Err(format!("the server has stopped reading client {client}")),
            Err(e) => Err(format!("sending as client {client}: {e}")),
        }
    }

    /// Says goodbye; `Event::Gone` says when the server has answered and closed.
    pub fn leave(&mut self, client: usize) -> Result<(), String> {
        self.clients[client].state = State::Leaving(None);
        self.send(client, &frame::close())
    }

    /// Reads no more from a client, as if its machine were asleep. The server may now close it.
    pub fn stall(&mut self, client: usize) -> Result<(), String> {
        let stalled = &mut self.clients[client];
        stalled.state = State::Stalled;
        epoll::delete(&self.epoll, &stalled.socket)
            .map_err(|e| format!("no longer polling client {client}: {e}"))
    }

    /// Reads again from a client that was stalled.
    pub fn wake(&mut self, client: usize) -> Result<(), String> {
        let socket = &self.clients[client].socket;
        add(&self.epoll, client, socket)
    }

    /// Polls once, reads what is ready, and tells `hear` of it.
    ///
    /// A client that the server drops although it did not ask for it is an error, and so is a
    /// long silence. So whoever waits for something needs no limit of its own.
    pub fn turn(
        &mut self,
        mut hear: impl FnMut(usize, Event<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let begin = Instant::now();
        let mut ready = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; BATCH];
        let count = match epoll::wait(&self.epoll, &mut ready, Some(&self.wait)) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(e) => return Err(format!("waiting for sockets: {e}")),
        };
        for event in &ready[..count] {
            let client = event.data.u64() as usize;
            self.read(client, &mut hear)?;
        }
        if count > 0 {
            self.heard_at = Instant::now();
            self.busy += self.heard_at - begin;
        } else if begin > self.heard_at + SILENCE {
            return Err(format!("nothing came for {} s", SILENCE.as_secs()));
        }
        Ok(())
    }

    fn connect(&self, client: usize, request: &[u8]) -> Result<TcpStream, String> {
        let server = self.servers[client % self.servers.len()];
        // On loopback this does not block: the kernel answers for the server.
        let mut socket =
            TcpStream::connect(server).map_err(|e| format!("connecting to {server}: {e}"))?;
        socket
            .set_nodelay(true)
            .and_then(|()| socket.set_nonblocking(true))
            .and_then(|()| socket.write_all(request))
            .map_err(|e| format!("sending a request: {e}"))?;
        Ok(socket)
    }

    fn adopt(
        &mut self,
        socket: TcpStream,
        protocol: Protocol,
        state: State,
    ) -> Result<usize, String> {
        let client = self.clients.len();
        self.watch(client, &socket)?;
        let (begun, usual, is_deaf) = (Vec::new(), 0, false);
        self.clients.push(Client { socket, protocol, state, usual, is_deaf, begun });
        Ok(client)
    }

    fn watch(&mut self, client: usize, socket: &TcpStream) -> Result<(), String> {
        // The time before a client came does not count as silence.
        self.heard_at = Instant::now();
        add(&self.epoll, client, socket)
    }

    /// One `recv`, however much there is: the next poll tells of the rest.
    fn read(
        &mut self,
        number: usize,
        hear: &mut impl FnMut(usize, Event<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let client = &mut self.clients[number];
        if client.is_deaf {
            return client.discard(number, &mut self.buffer, hear);
        }
        let begun = client.begun.len();
        self.buffer[..begun].copy_from_slice(&client.begun);
        client.begun.clear();
        let end = match client.socket.read(&mut self.buffer[begun..]) {
            Ok(0) if client.protocol == Protocol::Request => {
                client.leave(number, &self.epoll)?;
                return hear(number, Event::Answer(&self.buffer[..begun]));
            }
            Ok(0) => return client.end(number, &self.epoll, "closed", hear),
            Ok(count) => begun + count,
            Err(e) if e.kind() == ErrorKind::WouldBlock => begun,
            Err(e) => return client.end(number, &self.epoll, &e.to_string(), hear),
        };
        let mut bytes = &self.buffer[..end];
        let is_request = client.protocol == Protocol::Request;
        if client.state == State::Opening && !is_request {
            client.greeted(number, &mut bytes).map_err(|e| format!("client {number}: {e}"))?;
            if client.state == State::Open {
                hear(number, Event::Open)?;
            }
        }
        while client.state != State::Opening {
            let heard = client.protocol.take(&mut bytes, &mut client.usual);
            match heard.map_err(|e| format!("client {number}: {e}"))? {
                Some(Heard::Text(text)) => hear(number, Event::Text(text))?,
                Some(Heard::Hello) => {
                    client.state = State::Open;
                    hear(number, Event::Open)?;
                }
                Some(Heard::Notice) => {}
                Some(Heard::Ping(payload)) => client
                    .socket
                    .write_all(&frame::pong(payload))
                    .map_err(|e| format!("answering a ping to client {number}: {e}"))?,
                Some(Heard::Close(code)) => client.closing(number, code)?,
                None => break,
            }
        }
        client.begun.extend_from_slice(bytes);
        Ok(())
    }
}

impl Client {
    /// Looks for the answer to the request, and takes it off the bytes when it is whole.
    fn greeted(&mut self, number: usize, bytes: &mut &[u8]) -> Result<(), String> {
        const END: &[u8] = b"\r\n\r\n";
        let Some(end) = bytes.windows(END.len()).position(|w| w == END) else {
            return Ok(());
        };
        let answer = String::from_utf8_lossy(&bytes[..end]);
        if !self.protocol.is_answered_by(&answer) {
            return Err(format!("the request was answered with {answer:?}"));
        }
        *bytes = &bytes[end + END.len()..];
        if let Some(greeting) = self.protocol.greeting() {
            self.socket
                .write_all(&greeting)
                .map_err(|e| format!("saying hello as client {number}: {e}"))?;
        }
        self.state = if self.protocol.has_hello() { State::Answered } else { State::Open };
        Ok(())
    }

    /// Has the kernel throw away what has come.
    fn discard(
        &mut self,
        number: usize,
        buffer: &mut [u8],
        hear: &mut impl FnMut(usize, Event<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        match recv(&self.socket, buffer, flags) {
            Ok((_, 0)) => Err(format!("client {number} was dropped")),
            Ok((_, len)) => hear(number, Event::Bytes(len)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(e) => Err(format!("client {number} was dropped: {e}")),
        }
    }

    /// Closes a connection whose other end is closed.
    fn leave(&mut self, number: usize, epoll: &OwnedFd) -> Result<(), String> {
        self.state = State::Gone;
        // Now it is the client's turn to close, or the server would wait for that.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        epoll::delete(epoll, &self.socket)
            .map_err(|e| format!("no longer polling client {number}: {e}"))
    }

    fn closing(&mut self, number: usize, code: Option<u16>) -> Result<(), String> {
        match self.state {
            State::Leaving(_) => {}
            // The server has given it up and may be gone, so the answer need not arrive.
            State::Stalled => drop(self.socket.write(&frame::close())),
            _ => return Err(format!("client {number} was dropped with code {code:?}")),
        }
        self.state = State::Leaving(code);
        Ok(())
    }

    fn end(
        &mut self,
        number: usize,
        epoll: &OwnedFd,
        how: &str,
        hear: &mut impl FnMut(usize, Event<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let code = match self.state {
            State::Leaving(code) => code,
            State::Stalled => None,
            _ => return Err(format!("client {number} was dropped: {how}")),
        };
        self.leave(number, epoll)?;
        hear(number, Event::Gone(code))
    }
}

fn add(epoll: &OwnedFd, client: usize, socket: &TcpStream) -> Result<(), String> {
    let data = epoll::EventData::new_u64(client as u64);
    epoll::add(epoll, socket, data, epoll::EventFlags::IN)
        .map_err(|e| format!("polling client {client}: {e}"))
}
