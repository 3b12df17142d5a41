//! The program: reads the command line, sets up the log, serves, and stops on a signal.

use std::env;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;

use roomd::args::{self, Command};
use roomd::{Config, Server, ServerError, logger};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit code for a command line that cannot be understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let (code, said) = match args::parse(env::args_os().skip(1), |name| env::var_os(name)) {
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
    say(&format!("roomd: {said}"));
    code
}

fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    logger::init(config.log_level).map_err(|error| format!("cannot start the log: {error}"))?;
    let server = Server::bind(config)?;
    let stopper = server.stopper();
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    let handle = signals.handle();
    let waiting = thread::Builder::new().name("signals".into()).spawn(move || {
        signals.forever().for_each(|_| stopper.stop());
    })?;
    say(&greeting(server.local_addr()));
    let result = server.run();
    handle.close();
    let _ = waiting.join();
    log::logger().flush();
    Ok(result?)
}

/// What to open, and who can.
fn greeting(address: SocketAddr) -> String {
    let port = address.port();
    if address.ip().to_canonical().is_loopback() {
        format!(
            "roomd: open http://{address}/ (only this machine can reach it; \
             --listen [::]:{port} opens it to the network)"
        )
    } else if address.ip().is_unspecified() {
        format!(
            "roomd: open http://localhost:{port}/ here, or port {port} of this machine from \
             elsewhere (the whole network can reach it)"
        )
    } else {
        format!("roomd: open http://{address}/ (its network can reach it)")
    }
}

/// Says something to the person who started the program, even if nothing is logged.
fn say(line: &str) {
    // With standard error closed there is nobody to say it to.
    let _ = writeln!(io::stderr(), "{line}");
}
