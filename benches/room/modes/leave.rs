//! Almost everybody leaves at once: how soon do those who stay know all of it?

use super::{Meter, Outcome, join};
use crate::load::Event;
use crate::message;
use crate::server::Server;
use crate::stats::{micros_each, millis};
use crate::table::Figure;

/// They are the first clients, and listen.
const STAYING: usize = 10;

pub fn run(server: &Server, leaving: usize) -> Outcome {
    let everybody = STAYING + leaving;
    let mut load = join(server, everybody)?;
    let mut told = vec![vec![false; everybody]; STAYING];
    let mut notices = 0;

    let meter = Meter::start(server)?;
    for client in STAYING..everybody {
        load.leave(client)?;
    }
    while notices < STAYING * leaving {
        load.turn(|client, event| {
            let (Event::Text(text), Some(told)) = (event, told.get_mut(client)) else {
                return Ok(());
            };
            let told = message::who_left(text).and_then(|id| told.get_mut(id));
            match told {
                Some(told) if !*told => *told = true,
                _ => {
                    let text = String::from_utf8_lossy(text);
                    return Err(format!("client {client} heard {text:?} unexpectedly"));
                }
            }
            notices += 1;
            Ok(())
        })
        .map_err(|e| format!("{e}, with {notices} of {} notices", STAYING * leaving))?;
    }
    let (time, cpu) = meter.read()?;

    Ok(vec![
        Figure::new("until the last knows of all, ms", millis(time)),
        Figure::new("server's CPU a leaver, µs", micros_each(cpu, leaving))
            .over(|floor| floor.micros),
    ])
}
