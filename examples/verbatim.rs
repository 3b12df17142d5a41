//! The echo endpoint without the words before the text, and with binary messages: what a WebSocket
//! conformance suite wants to talk to. It is the server's own session code.
//!
//!     cargo run --release --example verbatim 127.0.0.1:9001

use std::env;

use roomd::{Config, Echo, Server, ServerError};

fn main() -> Result<(), ServerError> {
    let mut config = Config { echo: Echo::Verbatim, ..Config::default() };
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    config.listen = address.parse().expect("an address such as 127.0.0.1:9001");
    // The suite's messages have up to 16 MiB, and come as fast as they can.
    config.limits.max_message = 16 << 20;
    config.limits.max_queue = 64 << 20;
    config.limits.rate = 0;
    let server = Server::bind(config)?;
    eprintln!("echo at ws://{}/ws", server.local_addr());
    server.run()
}
