//! How long a message takes to the last receiver while the server has time to spare.
//!
//! The floor makes no pauses and finds its caches warm, so here nobody can get down to it.

use std::time::Duration;

use super::talk::Talk;
use super::{LENGTH, Outcome, join};
use crate::load::Event;
use crate::server::Server;

const DELIVERIES_A_SECOND: usize = 20_000;
const TIME: Duration = Duration::from_secs(4);

pub fn run(server: &Server, clients: usize) -> Outcome {
    let mut load = join(server, clients)?;
    let mut talk = Talk::new(clients, LENGTH, DELIVERIES_A_SECOND / clients, TIME);
    while !talk.is_over() {
        talk.speak(&mut load)?;
        load.turn(|client, event| match event {
            Event::Text(text) => talk.hear(client, text),
            _ => Ok(()),
        })?;
    }
    let figures = talk.figures().into_iter();
    Ok(figures.map(|f| f.over(|floor| floor.last_millis)).collect())
}
