//! Starts the threads, the ones that others rely on first.

use std::convert::Infallible;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Sender, bounded};

use crate::client::Guest;
use crate::client::permits::Permits;
use crate::client::session::Context;
use crate::client::socket::Socket;
use crate::config::budget::Capacity;
use crate::config::{ADMIN_PLACES, AdminListen, HUBS, INBOX};
use crate::http::admin::Admin;
use crate::http::forwarded::Proxies;
use crate::http::origin::OriginPolicy;
use crate::http::overload::Overload;
use crate::http::page::Page;
use crate::http::router::{Chat, Router};
use crate::metrics::Metrics;
use crate::net::conn::Conn;
use crate::net::rates::Rates;
use crate::net::slots::Slots;
use crate::net::threads::{Quota, Threads};
use crate::outbox::flusher::Flusher;
use crate::room::hub::Hub;
use crate::room::probe::Probe;
use crate::server::acceptor::Acceptor;
use crate::server::kept::Keeper;
use crate::server::shared::Engine;
use crate::server::stop::Running;
use crate::server::systemd::ServiceManager;
use crate::server::thread::{ServerThread, cannot_start};
use crate::server::{Server, ServerError, StopReason, rooms, watchdog};

/// Starts a server that listens.
pub fn start(server: Server) -> Result<Running, ServerError> {
    let Server {
        room,
        admin: admin_socket,
        config,
        declared,
        budget,
        system,
        state,
        secret,
        manager,
        stop,
    } = server;
    let (stop, _) = stop;
    let limits = config.limits.clone();
    let (capacity, buffers) = (budget.capacity, budget.buffers);
    let bound = system.bound_of(&budget, &limits);
    if let Some(wanted) = limits.max_clients.filter(|wanted| *wanted > capacity.clients) {
        log::warn!("only {} clients of --max-clients {wanted} fit {bound}", capacity.clients);
    }
    let hubs = thread::available_parallelism().map_or(1, NonZero::get).min(HUBS);
    let metrics = Arc::new(Metrics::new(hubs));
    let (flusher, flush) =
        Flusher::new(metrics.clone()).map_err(|error| cannot_start("flusher", &error))?;
    let flusher_thread = ServerThread::spawn("flusher", &stop, flush)?;
    let mut inboxes = Vec::new();
    let mut hub_threads = Vec::new();
    for n in 0..hubs {
        let (inbox, events) = bounded(INBOX);
        let counts = metrics.clone();
        let run = move || Hub::new().run(&events, &counts.hubs()[n]);
        hub_threads.push(ServerThread::spawn("hub", &stop, run)?);
        inboxes.push(inbox);
    }
    let mut keeper =
        state.map(|folder| Keeper::new(folder, &config, rooms::count(&declared), &metrics));
    let (engine, engine_threads) = Engine::start(&config, &budget, &secret, &metrics, &stop)?;
    let rooms = rooms::make(
        &config,
        declared,
        &budget,
        &flusher,
        inboxes.clone(),
        keeper.as_mut(),
        engine.clone(),
    );
    let (stop_history, history_thread) =
        keeper.map(|keeper| keeper.start(&stop)).transpose()?.unzip();
    let (overload, refuse) =
        Overload::new(metrics.clone()).map_err(|error| cannot_start("overload", &error))?;
    let overload_thread = ServerThread::spawn("overload", &stop, refuse)?;

    let (quota, all_ended) = Quota::new(system.threads(capacity.clients + capacity.front));
    let context = Arc::new(Context {
        limits: limits.clone(),
        echo: config.echo,
        secret,
        flusher,
        pieces: buffers.pieces(),
        permits: Permits::new(budget.slots),
        max_frame: budget.max_frame(),
    });
    let probe = Probe { inboxes: inboxes.clone(), metrics: metrics.clone() };
    let admin = Arc::new(Admin { hub: probe.clone() });
    let policy = OriginPolicy::new(&config.allow_origin, &config.allow_host);
    let page = Page::new(limits.max_message);
    let (room_socket, address) = room;
    let is_admin_here = admin_socket.is_none() && config.admin == AdminListen::WithTheRoom;
    let router = Router {
        limits: limits.clone(),
        metrics: metrics.clone(),
        chat: Some(Chat {
            policy,
            page,
            address,
            proxies: Proxies::new(config.trust_proxy.clone()),
            rooms: rooms.clone(),
            rates: Rates::new(limits.rate),
            context: context.clone(),
        }),
        admin: is_admin_here.then(|| admin.clone()),
    };
    let requests = request_threads(router, context, &quota);
    let room_acceptor = Acceptor::start(
        "accept",
        &stop,
        room_socket,
        Slots::new(capacity),
        config.trust_proxy.clone(),
        requests,
        overload.clone(),
    )?;
    let status = format!("serving on {address}: {} clients at most", capacity.clients);
    log::info!("{status}");
    log::info!("memory at most: {budget}; the number of clients follows from {bound}");
    let admin_acceptor = match admin_socket {
        Some((socket, address)) => {
            let (limits, metrics) = (limits.clone(), metrics.clone());
            let router = Router { limits, metrics, chat: None, admin: Some(admin) };
            let requests = Threads::new("admin", quota, move |conn| drop(router.serve(conn)));
            let slots = Slots::evicting_idle(Capacity::of_requests(ADMIN_PLACES));
            let acceptor = Acceptor::start(
                "admin accept",
                &stop,
                socket,
                slots,
                Vec::new(),
                requests,
                overload,
            )?;
            log::info!("health and metrics at {address}");
            Some(acceptor)
        }
        None => None,
    };

    let manager = manager.map(Arc::new);
    if let Some(manager) = &manager {
        manager.ready(&status);
    }
    // After the notice of readiness, which is to be the first.
    let (stop_watchdog, watchdog) = match &manager {
        Some(manager) => start_watchdog(manager, &room_acceptor, &probe, &stop)?,
        None => (None, None),
    };
    drop(probe);
    // The watchdog has a sender of the hub's inbox, so it ends first.
    let threads = watchdog.into_iter().chain(hub_threads).chain([flusher_thread, overload_thread]);
    let threads = threads.chain(history_thread);
    let threads = engine_threads.into_iter().chain(threads);
    Ok(Running {
        room: room_acceptor,
        admin: admin_acceptor,
        inboxes,
        rooms,
        metrics,
        manager,
        stop_watchdog,
        stop_history,
        engine,
        threads: threads.collect(),
        all_ended,
        stop_timeout: limits.stop_timeout,
    })
}

/// The threads that read the requests of the room's address, and those of its clients.
fn request_threads(router: Router, context: Arc<Context>, quota: &Quota) -> Threads<Arc<Conn>> {
    let of_clients = context.clone();
    let clients = Threads::new("client", quota.clone(), move |guest: Guest| guest.run(&of_clients));
    Threads::new("http", quota.clone(), move |conn| {
        if let Some(guest) = router.serve(conn) {
            // A client's thread has never been deep and has touched less of its stack. Where there is
            // no other thread to be had, this one serves the client.
            if let Err((guest, _)) = clients.serve(guest) {
                guest.run(&context);
            }
        }
    })
}

/// Starts the watchdog, if the service manager wants one. Dropping the sender ends it.
#[allow(clippy::type_complexity)]
fn start_watchdog(
    manager: &Arc<ServiceManager>,
    acceptor: &Acceptor,
    hub: &Probe<Socket>,
    stop: &Sender<StopReason>,
) -> Result<(Option<Sender<Infallible>>, Option<ServerThread>), ServerError> {
    let Some(interval) = manager.watchdog_interval() else { return Ok((None, None)) };
    let (stop_watchdog, stopped) = bounded(0);
    let (manager, prober, hub) = (manager.clone(), acceptor.prober(), hub.clone());
    let thread = ServerThread::spawn("watchdog", stop, move || {
        watchdog::run(&manager, interval, &prober, &hub, &stopped);
    })?;
    Ok((Some(stop_watchdog), Some(thread)))
}
