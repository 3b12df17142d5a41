//! The watchdog: tells the service manager that the server lives, as long as it does.
//!
//! Each sign of life has three proofs: the accept loop has taken a probe, the HTTP side has answered
//! it ([`crate::net::control`]), and the hub has got to a question behind the events before it.

use std::convert::Infallible;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::net::control::Prober;
use crate::room::probe::Probe;
use crate::server::systemd::ServiceManager;

/// Notifies `manager` at half of the `interval` after which it kills the server, until `stop` has no
/// sender any more. A hub or an accept loop that needs the other half hangs, or is of no use.
pub fn run<T>(
    manager: &ServiceManager,
    interval: Duration,
    prober: &Prober,
    hub: &Probe<T>,
    stop: &Receiver<Infallible>,
) {
    let half = interval / 2;
    while stop.recv_timeout(half) == Err(RecvTimeoutError::Timeout) {
        match check(half, prober, hub) {
            Ok(()) => manager.is_alive(),
            Err(hanging) => log::error!(
                "{hanging} within {half:?}: the service manager is not told that the server lives"
            ),
        }
    }
}

/// Whether all parts live. Each has this long to show it.
fn check<T>(patience: Duration, prober: &Prober, hub: &Probe<T>) -> Result<(), &'static str> {
    if !prober.is_answered(patience) {
        return Err("connections are not accepted, or requests not answered,");
    }
    if !hub.is_alive(patience) {
        return Err("the hub does not answer");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::sync::Arc;
    use std::thread;

    use crossbeam_channel::bounded;

    use super::*;
    use crate::metrics::Metrics;
    use crate::net::control;
    use crate::room::event::Event;

    const SOON: Duration = Duration::from_millis(10);
    const LATE: Duration = Duration::from_secs(20);

    #[test]
    fn each_part_has_to_show_that_it_lives() {
        let (control, commands) = control::pair().expect("sockets");
        let prober = control.prober();
        let (inbox, events) = bounded::<Event<()>>(1);
        let hub = Probe { inboxes: vec![inbox], metrics: Arc::new(Metrics::new(1)) };
        let accepts = |patience| {
            thread::scope(|scope| {
                // A server that is full closes a probe.
                scope.spawn(|| while commands.probes().next().is_none() {});
                check(patience, &prober, &hub)
            })
        };
        assert!(check(SOON, &prober, &hub).is_err_and(|part| part.contains("accepted")));
        assert!(commands.probes().next().is_some());
        assert!(accepts(SOON).is_err_and(|part| part.contains("hub")), "takes no question");
        assert!(accepts(SOON).is_err_and(|part| part.contains("hub")), "is full besides");
        thread::scope(|scope| {
            scope.spawn(|| events.iter().take(2).for_each(drop));
            assert_eq!(accepts(LATE), Ok(()));
        });
    }

    #[test]
    fn a_stop_ends_the_watchdog_at_once() {
        let (socket, notices) = UnixDatagram::pair().expect("sockets");
        notices.set_nonblocking(true).expect("no waiting");
        let (control, _commands) = control::pair().expect("sockets");
        let (inbox, _events) = bounded::<Event<()>>(1);
        let hub = Probe { inboxes: vec![inbox], metrics: Arc::new(Metrics::new(1)) };
        let (stop, stopped) = bounded(0);
        drop(stop);
        // With this interval it would never come back.
        run(&ServiceManager::at(socket), Duration::MAX, &control.prober(), &hub, &stopped);
        assert!(notices.recv(&mut [0; 64]).is_err(), "it was told something");
    }
}
