//! Whether the hubs live. One that is busy is not stuck.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, TrySendError, bounded};

use crate::metrics::{HubCounts, Metrics};
use crate::room::event::Event;

/// Asks hubs whether they live.
pub struct Probe<T> {
    /// Their inboxes.
    pub inboxes: Vec<Sender<Event<T>>>,
    /// What they count, in the same order.
    pub metrics: Arc<Metrics>,
}

/// How often to look whether the hub goes on.
const STEP: Duration = Duration::from_millis(20);

impl<T> Probe<T> {
    /// Whether each hub answers a question within `patience`, or sends batches meanwhile. The question
    /// does not wait in line for a place in the inbox: while that is full, the batches say how it is.
    pub fn is_alive(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut hubs = self.inboxes.iter().zip(self.metrics.hubs());
        hubs.all(|(inbox, counts)| is_hub_alive(inbox, counts, until))
    }

    /// How many events wait.
    pub fn queue_depth(&self) -> usize {
        self.inboxes.iter().map(Sender::len).sum()
    }
}

fn is_hub_alive<T>(inbox: &Sender<Event<T>>, counts: &HubCounts, until: Instant) -> bool {
    let before = counts.batches();
    let (done, answered) = bounded(0);
    let mut question = Some(Event::Question { done });
    loop {
        question = match question.map(|question| inbox.try_send(question)) {
            None | Some(Ok(())) => None,
            Some(Err(TrySendError::Full(question))) => Some(question),
            Some(Err(TrySendError::Disconnected(_))) => return false,
        };
        // It is answered when the hub drops it.
        let is_answered =
            answered.recv_timeout(STEP) == Err::<Infallible, _>(RecvTimeoutError::Disconnected);
        if is_answered || counts.batches() != before {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
    }
}

impl<T> Clone for Probe<T> {
    fn clone(&self) -> Self {
        Probe { inboxes: self.inboxes.clone(), metrics: self.metrics.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::metrics::HubCounters;

    const SOON: Duration = Duration::from_millis(100);
    const LATE: Duration = Duration::from_secs(20);

    fn probe(events: usize) -> (Probe<()>, crossbeam_channel::Receiver<Event<()>>) {
        let (inbox, events) = bounded(events);
        (Probe { inboxes: vec![inbox], metrics: Arc::new(Metrics::new(1)) }, events)
    }

    #[test]
    fn a_hub_that_answers_lives() {
        let (probe, events) = probe(1);
        thread::scope(|scope| {
            scope.spawn(|| drop(events.recv()));
            assert!(probe.is_alive(LATE));
        });
    }

    #[test]
    fn one_that_does_nothing_is_stuck_whether_its_inbox_is_full_or_not() {
        let (probe, _events) = probe(1);
        assert!(!probe.is_alive(SOON));
        assert!(!probe.is_alive(SOON));
    }

    /// Its inbox is full of long messages for minutes, but each of them is sent in time.
    #[test]
    fn one_that_is_busy_lives() {
        let (probe, _events) = probe(0);
        let metrics = probe.metrics.clone();
        thread::scope(|scope| {
            let asking = scope.spawn(|| probe.is_alive(LATE));
            let mut batches = 0;
            while !asking.is_finished() {
                batches += 1;
                metrics.hubs()[0].store(&mut HubCounters { batches, ..HubCounters::default() });
                thread::yield_now();
            }
            assert!(asking.join().expect("an answer"));
        });
    }

    #[test]
    fn one_that_is_gone_is_dead() {
        let (probe, events) = probe(1);
        drop(events);
        assert!(!probe.is_alive(LATE));
    }
}
