//! The program: reads the command line, starts the log, serves, and stops on a signal.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;

use roomd::config::SERVER_STACK;
use roomd::config::flags::{self, Command};
use roomd::lan::banner::greeting;
use roomd::systemd::{self, ServiceManager};
use roomd::{Config, Server, ServerError, allocator, logger};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit code for settings that cannot be understood or do not fit.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let result = match flags::parse(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(Command::Serve(config)) => serve(*config),
        Ok(Command::Print(text)) => {
            // A reader that goes away early has seen enough.
            let _ = io::stdout().write_all(text.as_bytes());
            Ok(())
        }
        Err(line) => Err(ServerError::Settings(line)),
    };
    let (code, line) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(ServerError::Settings(line)) => (ExitCode::from(USAGE), line),
        Err(ServerError::System(line)) => (ExitCode::FAILURE, line),
    };
    logger::print(&format!("roomd: {line}\n"));
    log::logger().flush();
    code
}

fn serve(config: Config) -> Result<(), ServerError> {
    let system = |what: &str, error| ServerError::System(format!("{what}: {error}"));
    allocator::fit_address_space();
    let passed = systemd::passed().map_err(ServerError::System)?;
    let is_passed = passed.room.is_some();
    logger::init(config.log_level).map_err(|error| system("cannot start the log", error))?;
    let qr = config.qr;
    let mut server = Server::on(passed, config)?;
    let stopper = server.stopper();
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| system("cannot wait for signals", error))?;
    // Ends with the process: whatever hangs, a signal is still taken.
    thread::Builder::new()
        .name("signals".into())
        .stack_size(SERVER_STACK)
        .spawn(move || signals.forever().for_each(|_| stopper.stop()))
        .map_err(|error| system("cannot start the signals thread", error))?;
    let colours = io::stderr().is_terminal();
    logger::print(&greeting(server.local_addr(), is_passed, qr, colours));
    match ServiceManager::find(|name| env::var_os(name)) {
        Ok(Some(manager)) => server = server.notifying(manager),
        Ok(None) => {}
        // It can do without.
        Err(error) => log::warn!("cannot reach the service manager at $NOTIFY_SOCKET: {error}"),
    }
    let result = server.run();
    log::logger().flush();
    result
}
