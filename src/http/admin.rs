//! Health and metrics.

use crate::client::socket::Socket;
use crate::config::{HAS_ENGINE, HEALTH_PATIENCE};
use crate::http::response::{PLAIN, Response};
use crate::metrics::process::Process;
use crate::metrics::prometheus;
use crate::room::probe::Probe;

/// Answers requests for health and metrics.
pub struct Admin {
    /// The hub, and what is counted.
    pub hub: Probe<Socket>,
}

/// A path of [`Admin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminPath {
    /// `/healthz`: 200 if the server works, else 503. Further lines say if history is not kept,
    /// or the engine of shared rooms cannot be reached.
    Health,
    /// `/metrics`, for Prometheus.
    Metrics,
}

/// All of them, for the refusal of others.
pub const PATHS: &str = "the paths are /healthz and /metrics";

impl AdminPath {
    /// The path of a request, if it is one of these.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/healthz" => Some(AdminPath::Health),
            "/metrics" => Some(AdminPath::Metrics),
            _ => None,
        }
    }
}

impl Admin {
    /// The whole response.
    pub fn response(&self, path: AdminPath, head_only: bool) -> Vec<u8> {
        let (status, content_type, body) = match path {
            AdminPath::Health => match self.health() {
                Ok(()) => {
                    let fault = self.hub.metrics.history.fault();
                    let fault = fault.map_or_else(String::new, |fault| fault + "\n");
                    let away = self.hub.metrics.engine.away_for().filter(|_| HAS_ENGINE);
                    let away = away.map_or_else(String::new, |time| {
                        format!("the engine cannot be reached for {} s\n", time.as_secs())
                    });
                    (200, PLAIN, format!("ok\n{fault}{away}"))
                }
                Err(why) => {
                    log::warn!("not healthy: {why}");
                    (503, PLAIN, format!("{why}\n"))
                }
            },
            AdminPath::Metrics => {
                let text = self.hub.metrics.text(self.hub.queue_depth(), &Process::ask());
                (200, prometheus::CONTENT_TYPE, text)
            }
        };
        Response { status, fields: &[], content_type, body: body.as_bytes() }.bytes(head_only)
    }

    /// Asks the hub.
    ///
    /// # Errors
    /// Why the server is not healthy.
    fn health(&self) -> Result<(), &'static str> {
        if self.hub.metrics.is_stopping() {
            return Err("the server stops");
        }
        if !self.hub.is_alive(HEALTH_PATIENCE) {
            return Err("the hub does not answer");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use crossbeam_channel::bounded;

    use super::*;
    use crate::metrics::Metrics;
    use crate::room::hub::Hub;

    /// A hub that runs as long as there is an inbox, or one that hangs: nobody reads what it gets.
    fn admin(hub_lives: bool) -> Admin {
        let (inbox, events) = bounded(1);
        let metrics = Arc::new(Metrics::new(1));
        let counts = metrics.clone();
        thread::spawn(move || {
            if hub_lives {
                Hub::new().run(&events, &counts.hubs()[0]);
            } else {
                thread::park();
            }
        });
        Admin { hub: Probe { inboxes: vec![inbox], metrics } }
    }

    #[track_caller]
    fn says(admin: &Admin, status: &str, line: &str) {
        let response = String::from_utf8(admin.response(AdminPath::Health, false)).unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{response}");
        assert!(response.ends_with(&format!("\r\n\r\n{line}\n")), "{response}");
    }

    #[test]
    fn a_hub_that_hangs_and_a_stop_are_unhealthy() {
        let healthy = admin(true);
        says(&healthy, "200 OK", "ok");
        let hanging = admin(false);
        // The first question is taken by the inbox and gets no answer, the next one is not even.
        says(&hanging, "503 ", "the hub does not answer");
        let metrics = String::from_utf8(hanging.response(AdminPath::Metrics, false)).unwrap();
        assert!(metrics.contains("\nroomd_hub_queue_depth 1\n"), "{metrics}");
        hanging.hub.metrics.stop();
        says(&hanging, "503 ", "the server stops");
    }
}
