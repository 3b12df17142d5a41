//! What is run, in which order, and what is said about it.

use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::cpu::{self, Cpus};
use crate::descriptors;
use crate::floor::{self, Floor};
use crate::kit::proc;
use crate::modes::Step;
use crate::options::Options;
use crate::server::{Program, Server};
use crate::table::{Figure, Table};

pub struct Bench {
    options: Options,
    cpus: Cpus,
    begin: Instant,
    programs: Vec<Program>,
    table: Table,
    /// What the reader of the table has to know.
    notes: Vec<String>,
    faults: Vec<Fault>,
    /// The most that any attempt which counts was disturbed.
    disturbance: f64,
}

/// Some steps have a few clients more than they are named after.
const SPARE: usize = 50;

/// With more sockets than this, a plain send does not become any dearer.
const MOST_RECEIVERS: usize = 1000;

/// So much, a machine that nobody else uses comes to by itself.
const UNDISTURBED: f64 = 0.05;
const ATTEMPTS: usize = 3;

/// One measurement of one server.
struct Attempt {
    figures: Vec<Figure>,
    floor: Floor,
    /// How much of the load's CPU others had, or by how much the floor moved meanwhile.
    disturbance: f64,
}

/// A check that has failed, or a server that could not be measured.
struct Fault {
    program: usize,
    text: String,
}

impl Bench {
    pub fn prepare(options: Options) -> Bench {
        let cpus = Cpus::choose();
        cpu::pin(cpus.load);
        descriptors::raise_limit();
        let programs = options.programs();
        let names = programs.iter().map(|p| p.name.clone()).collect();
        let mut bench = Bench {
            options,
            cpus,
            begin: Instant::now(),
            programs,
            table: Table::new(names),
            notes: Vec::new(),
            faults: Vec::new(),
            disturbance: 0.0,
        };
        if cpus.are_shared() {
            bench.note("there was one CPU for all, so the load took time from the server");
        }
        bench
    }

    /// Step by step, and in each all servers in turn, round by round: what is compared is
    /// measured within the same minute.
    pub fn run(&mut self) {
        for mut step in self.options.steps() {
            let most = descriptors::most_clients();
            if step.clients > most {
                self.note(&format!("{}: {most} is all that descriptors allow", step.title));
                step.clients = most;
            }
            for round in 1..=self.options.rounds {
                self.run_round(step, round);
            }
        }
    }

    fn run_round(&mut self, step: Step, round: usize) {
        for program in 0..self.programs.len() {
            if self.programs[program].nodes > 0 && !step.is_shared {
                continue;
            }
            self.progress(round, &self.programs[program].name, step);
            match self.least_disturbed(step, program) {
                Ok(attempt) => {
                    self.disturbance = self.disturbance.max(attempt.disturbance);
                    for figure in &attempt.figures {
                        self.table.add(step.title, program, figure, attempt.floor);
                    }
                }
                Err(e) => {
                    let text = format!("{}, {}: {e}", self.programs[program].name, step.title);
                    eprintln!("FAILED: {text}");
                    self.faults.push(Fault { program, text });
                }
            }
        }
    }

    /// Measures again while others use the machine, and keeps the best attempt.
    fn least_disturbed(&self, step: Step, program: usize) -> Result<Attempt, String> {
        let mut best = self.attempt(step, program)?;
        for _ in 1..ATTEMPTS {
            if best.disturbance < UNDISTURBED {
                break;
            }
            let again = self.attempt(step, program)?;
            if again.disturbance < best.disturbance {
                best = again;
            }
        }
        Ok(best)
    }

    /// Measures the server, and the floor before and after it.
    fn attempt(&self, step: Step, program: usize) -> Result<Attempt, String> {
        cpu::pin(self.cpus.load);
        let before = self.floor(step);
        let program = &self.programs[program];
        let clients = step.clients + SPARE;
        let server = Server::start(program, clients, self.cpus, step.on_both_cpus, step.servers)?;
        let (begin, cpu) = (Instant::now(), cpu::of_this_thread());
        let figures = (step.run)(&server, step.clients)?;
        let had = (cpu::of_this_thread() - cpu).div_duration_f64(begin.elapsed());
        drop(server);
        let after = self.floor(step);

        // The load polls all the time, so what it has not had of its CPU, somebody else has.
        let is_shared = self.cpus.are_shared() || step.on_both_cpus;
        let taken = if is_shared { 0.0 } else { 1.0 - had };
        Ok(Attempt {
            figures,
            floor: before.between(after),
            disturbance: taken.max(before.drift(after)),
        })
    }

    fn floor(&self, step: Step) -> Floor {
        // The floor has both ends of its connections in one process.
        let most = descriptors::most_clients() / 2;
        let receivers = step.clients.min(MOST_RECEIVERS).min(most);
        floor::measure(receivers, self.cpus).expect("measuring the floor")
    }

    fn note(&mut self, text: &str) {
        eprintln!("Note: {text}.");
        self.notes.push(text.to_owned());
    }

    fn progress(&self, round: usize, name: &str, step: Step) {
        let seconds = self.begin.elapsed().as_secs();
        let rounds = self.options.rounds;
        eprintln!("[{seconds:4} s] {}, {round} of {rounds}: {name}", step.title);
    }

    /// The table, and whether the first server has passed all checks.
    pub fn report(mut self) -> ExitCode {
        let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
        let date = date.map(|d| d.stdout).unwrap_or_default();
        let date = String::from_utf8_lossy(&date);
        let date = date.trim();
        self.table.print();
        let how = match self.options.rounds {
            1 => "measured once".to_owned(),
            rounds => format!("median of {rounds} (least–most)"),
        };
        let command = &self.options.command;
        println!("\n{date}; {}; `{command}`; {how}; × is over plain `send()`", proc::machine());
        if self.disturbance >= UNDISTURBED {
            let percent = 100.0 * self.disturbance;
            self.notes
                .push(format!("others used this machine, which disturbed by up to {percent:.0} %"));
        }
        for note in &self.notes {
            println!("\nNote: {note}.");
        }
        for fault in &self.faults {
            println!("\nFAILED: {}", fault.text);
        }
        match self.faults.iter().any(|fault| fault.program == 0) {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        }
    }
}
