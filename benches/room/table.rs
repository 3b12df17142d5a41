//! The figures, and the Markdown table that they end up in.

use crate::floor::Floor;
use crate::stats::median;

/// One measured value.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What is measured, with its unit.
    pub name: &'static str,
    pub value: f64,
    /// What plain sends come to, where that can be compared.
    pub floor: Option<fn(Floor) -> f64>,
}

impl Figure {
    pub fn new(name: &'static str, value: f64) -> Figure {
        Figure { name, value, floor: None }
    }

    pub fn over(mut self, floor: fn(Floor) -> f64) -> Figure {
        self.floor = Some(floor);
        self
    }
}

/// The figures of all rounds: a row for each thing measured, a column for each server.
#[derive(Debug)]
pub struct Table {
    servers: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    step: &'static str,
    name: &'static str,
    floors: Vec<f64>,
    cells: Vec<Cell>,
}

#[derive(Clone, Default, Debug)]
struct Cell {
    values: Vec<f64>,
    /// Each value over the floor of its own minute, since a machine has faster and slower minutes.
    ratios: Vec<f64>,
}

impl Table {
    pub fn new(servers: Vec<String>) -> Table {
        Table { servers, rows: Vec::new() }
    }

    pub fn add(&mut self, step: &'static str, server: usize, figure: &Figure, floor: Floor) {
        let columns = self.servers.len();
        let same = |row: &Row| row.step == step && row.name == figure.name;
        let at = self.rows.iter().position(same).unwrap_or_else(|| {
            self.rows.push(Row {
                step,
                name: figure.name,
                floors: Vec::new(),
                cells: vec![Cell::default(); columns],
            });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        row.cells[server].values.push(figure.value);
        if let Some(plain) = figure.floor {
            let floor = plain(floor);
            row.floors.push(floor);
            row.cells[server].ratios.push(figure.value / floor);
        }
    }

    pub fn print(&mut self) {
        println!("| | | plain `send()` | {} |", self.servers.join(" | "));
        println!("| --- | --- {}|", "| --: ".repeat(self.servers.len() + 1));
        let mut last = "";
        for row in &mut self.rows {
            let step = if row.step == last { "" } else { row.step };
            last = row.step;
            print!("| {step} | {} | {} ", row.name, middle(&mut row.floors));
            for cell in &mut row.cells {
                print!("| {} ", cell.show());
            }
            println!("|");
        }
    }
}

impl Cell {
    fn show(&mut self) -> String {
        let mut text = middle(&mut self.values);
        if let [least, .., most] = self.values[..] {
            text = format!("**{text}** ({}–{})", digits(least), digits(most));
        }
        if !self.ratios.is_empty() {
            text += &format!(", {} ×", middle(&mut self.ratios));
        }
        text
    }
}

/// The median, after which the values are in order; nothing if there are none.
fn middle(values: &mut [f64]) -> String {
    match values {
        [] => String::new(),
        _ => digits(median(values)),
    }
}

/// Counts as they are; of the rest, three digits are enough on a machine that others use too.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size.fract() == 0.0 => format!("{value}"),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
