//! What whoever operates the server may ask: whether it works, and what it has counted.

use std::sync::Arc;

use crate::client::session::Inbox;
use crate::config::HEALTH_PATIENCE;
use crate::http::response::{PLAIN, Reply};
use crate::metrics::Metrics;
use crate::metrics::process::Process;
use crate::metrics::prometheus;
use crate::room::event;

/// Answers the two questions.
pub struct Admin {
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// The inbox of the hub, which is asked whether it lives.
    pub inbox: Inbox,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `/healthz`: does it work?
    Health,
    /// `/metrics`: what has it counted?
    Metrics,
}

/// What there is where nothing but this is served.
pub const PATHS: &str = "the paths are /healthz and /metrics";

impl Asked {
    /// What a path asks, if anything.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/healthz" => Some(Asked::Health),
            "/metrics" => Some(Asked::Metrics),
            _ => None,
        }
    }
}

impl Admin {
    /// The whole response.
    pub fn response(&self, asked: Asked, head_only: bool) -> Vec<u8> {
        let (status, content_type, body) = match asked {
            Asked::Health => match self.health() {
                Ok(()) => ("200 OK", PLAIN, "ok\n".into()),
                Err(why) => {
                    log::warn!("not healthy: {why}");
                    ("503 Service Unavailable", PLAIN, format!("{why}\n"))
                }
            },
            Asked::Metrics => {
                let text = self.metrics.text(self.inbox.len(), &Process::ask());
                ("200 OK", prometheus::CONTENT_TYPE, text)
            }
        };
        Reply { status, fields: "", content_type, body: body.as_bytes() }.response(head_only)
    }

    /// Asks the hub.
    ///
    /// # Errors
    /// Why the server is not healthy.
    fn health(&self) -> Result<(), &'static str> {
        if self.metrics.is_stopping() {
            return Err("the server stops");
        }
        if !event::answers(&self.inbox, HEALTH_PATIENCE) {
            return Err("the hub does not answer");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crossbeam_channel::bounded;

    use super::*;
    use crate::config::budget::LogBounds;
    use crate::history::Log;
    use crate::room::hub::Hub;

    /// A hub that runs as long as there is an inbox, or one that hangs: nobody reads what it gets.
    fn admin(hub_lives: bool) -> Admin {
        let (inbox, events) = bounded(1);
        let metrics = Arc::new(Metrics::new());
        let counts = metrics.clone();
        thread::spawn(move || {
            if hub_lives {
                let log = Log::new(LogBounds::new(1 << 20, 1 << 10), || {});
                Hub::new(Arc::new(log)).run(&events, &counts);
            } else {
                thread::park();
            }
        });
        Admin { metrics, inbox }
    }

    #[track_caller]
    fn says(admin: &Admin, status: &str, line: &str) {
        let response = String::from_utf8(admin.response(Asked::Health, false)).unwrap();
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
        let metrics = String::from_utf8(hanging.response(Asked::Metrics, false)).unwrap();
        assert!(metrics.contains("\nroomd_hub_queue_depth 1\n"), "{metrics}");
        hanging.metrics.stop();
        says(&hanging, "503 ", "the server stops");
    }
}
