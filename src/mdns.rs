//! Answers to NAME.local on the local network, and lists the room among its web servers (multicast
//! DNS, RFC 6762 and 6763). The only file that knows mdns-sd, and only in a build with the feature.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mdns_sd::{DaemonEvent, Error, IfKind, IfPredicate, Receiver, ServiceDaemon, ServiceInfo};

use crate::lan::addresses;

/// Browsers of services list it under this.
const SERVICE: &str = "_http._tcp.local.";

/// How long saying goodbye and ending the thread may take.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// While this lives, others find the server by its name.
pub struct Announcement {
    daemon: ServiceDaemon,
    watcher: Option<JoinHandle<()>>,
}

impl Announcement {
    /// Announces a server that listens at this address under this name, without `.local`. The
    /// addresses are those under which others reach it, also such as come later.
    ///
    /// # Errors
    /// When the system gives no thread or sockets for it.
    pub fn start(name: &str, listening: SocketAddr) -> Result<Announcement, Error> {
        let mut service = ServiceInfo::new(
            SERVICE,
            name,
            &format!("{name}.local."),
            (),
            listening.port(),
            &[("path", "/")][..],
        )?
        .enable_addr_auto();
        let serves = move |ip| addresses::is_reached(listening, ip);
        let kind = IfPredicate::new(move |interface| serves(interface.ip()));
        service.set_interfaces(vec![IfKind::Predicate(kind)]);
        let daemon = ServiceDaemon::new()?;
        let events = daemon.monitor()?;
        let watcher = thread::Builder::new()
            .name("mdns".into())
            .spawn(move || watch(&events))
            .map_err(|error| Error::Msg(error.to_string()))?;
        let announcement = Announcement { daemon, watcher: Some(watcher) };
        announcement.daemon.register(service)?;
        Ok(announcement)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // It says goodbye first: others would else keep the name for two minutes.
        let ended = self.daemon.shutdown().is_ok_and(|end| end.recv_timeout(LAST_MOMENT).is_ok());
        if let Some(watcher) = self.watcher.take().filter(|_| ended) {
            let _ = watcher.join();
        }
    }
}

/// Logs what goes wrong, until mdns-sd ends.
fn watch(events: &Receiver<DaemonEvent>) {
    for event in events {
        match event {
            DaemonEvent::NameChange(change) if !change.original.ends_with(SERVICE) => log::warn!(
                "another machine on {} has the name {}: this one is {} there",
                change.intf_name,
                change.original.trim_end_matches('.'),
                change.new_name.trim_end_matches('.')
            ),
            // What came from the network is escaped by writing it like this.
            event @ DaemonEvent::Error(_) => log::warn!("the announcement by mDNS: {event:?}"),
            event => log::debug!("the announcement by mDNS: {event:?}"),
        }
    }
}
