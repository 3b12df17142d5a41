//! The program: reads the command line, sets up the log, serves, and stops on a signal.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;

use roomd::config::flags::{self, Command};
use roomd::lan::banner::greeting;
use roomd::systemd::{self, ServiceManager};
use roomd::{Config, Server, ServerError, logger};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit code for a command line that cannot be understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let (code, said) = match flags::parse(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(Command::Serve(config)) => match serve(*config) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => {
                let error_of_server = error.downcast_ref::<ServerError>();
                let is_usage = error_of_server.is_some_and(ServerError::is_about_settings);
                let code = if is_usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE };
                (code, error.to_string())
            }
        },
        Ok(Command::Print(text)) => {
            // A reader that goes away early has seen enough.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(line) => (ExitCode::from(USAGE), line),
    };
    logger::print(&format!("roomd: {said}\n"));
    log::logger().flush();
    code
}

fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let passed = systemd::passed()?;
    let is_passed = passed.room.is_some();
    logger::init(config.log_level).map_err(|error| format!("cannot start the log: {error}"))?;
    let code = config.qr;
    let mut server = Server::on(passed, config)?;
    let stopper = server.stopper();
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    let handle = signals.handle();
    let waiting = thread::Builder::new().name("signals".into()).spawn(move || {
        signals.forever().for_each(|_| stopper.stop());
    })?;
    let colours = io::stderr().is_terminal();
    logger::print(&greeting(server.local_addr(), is_passed, code, colours));
    match ServiceManager::find(|name| env::var_os(name)) {
        Ok(Some(supervisor)) => server = server.supervised_by(supervisor),
        Ok(None) => {}
        // It can do without.
        Err(error) => log::warn!("cannot reach the service manager at $NOTIFY_SOCKET: {error}"),
    }
    let result = server.run();
    handle.close();
    let _ = waiting.join();
    log::logger().flush();
    Ok(result?)
}
