//! The figures that are kept: in a file that is compared with, and as the README's table.

use std::fs;

/// What is measured, in the order of the table.
pub const FIGURES: [&str; 6] = [
    "the program's file, kB",
    "resident at start, kB",
    "proportional share (PSS) at start, kB",
    "resident for each of 1,000 idle clients, kB",
    "the kernel's for each of those, kB",
    "resident for each of 100 clients who all talk, kB",
];
/// And of which builds.
const COLUMNS: [&str; 2] = ["x86_64", "armv7"];

const FILE: &str = "docs/footprint.tsv";
const README: &str = "README.md";
const BEGIN: &str = "<!-- footprint: made by `make footprint` -->\n";
const END: &str = "<!-- end of footprint -->";

/// One value for each figure; none for what cannot be told of a build.
pub type Figures = [Option<f64>; FIGURES.len()];

#[derive(Default, Debug)]
pub struct Table([Figures; COLUMNS.len()]);

impl Table {
    pub fn read() -> Result<Table, String> {
        let text = fs::read_to_string(FILE).map_err(|e| format!("reading {FILE}: {e}"))?;
        let mut table = Table::default();
        for line in text.lines().skip(1) {
            let mut cells = line.split('\t');
            let name = cells.next().unwrap_or_default();
            let figure = FIGURES.iter().position(|figure| *figure == name);
            let figure = figure.ok_or_else(|| format!("{FILE}: {name:?} is no figure"))?;
            for (column, cell) in table.0.iter_mut().zip(cells) {
                column[figure] = cell.parse().ok();
            }
        }
        Ok(table)
    }

    /// Writes the file and the README's table.
    pub fn write(&self) -> Result<(), String> {
        let mut text = format!("figure\t{}\n", COLUMNS.join("\t"));
        for (figure, name) in FIGURES.iter().enumerate() {
            let cells = self.0.map(|column| column[figure].map_or("-".into(), shown));
            text += &format!("{name}\t{}\n", cells.join("\t"));
        }
        fs::write(FILE, text).map_err(|e| format!("writing {FILE}: {e}"))?;
        let readme = readme()?;
        let (before, after) = parts(&readme)?;
        let readme = format!("{before}{BEGIN}{}{END}{after}", self.markdown());
        fs::write(README, readme).map_err(|e| format!("writing {README}: {e}"))
    }

    /// The README has these figures.
    pub fn is_in_readme(&self) -> Result<(), String> {
        let readme = readme()?;
        let (before, after) = parts(&readme)?;
        let table = &readme[before.len() + BEGIN.len()..readme.len() - after.len() - END.len()];
        match table == self.markdown() {
            true => Ok(()),
            false => Err(format!("{README} has other figures than {FILE}; try: make footprint")),
        }
    }

    pub fn markdown(&self) -> String {
        let mut text =
            format!("| | {} |\n| --- |{}\n", COLUMNS.join(" | "), " --: |".repeat(COLUMNS.len()));
        for (figure, name) in FIGURES.iter().enumerate() {
            let cells = self.0.map(|column| column[figure].map_or(String::new(), shown));
            text += &format!("| {name} | {} |\n", cells.join(" | "));
        }
        text
    }

    /// Takes over what is less than what there is.
    pub fn keep_least(&mut self, column: usize, figures: Figures) {
        for (kept, new) in self.0[column].iter_mut().zip(figures) {
            *kept = match (*kept, new) {
                (Some(kept), Some(new)) => Some(kept.min(new)),
                (kept, new) => kept.or(new),
            };
        }
    }

    /// What is more than `growth` times what it was, in words.
    pub fn grown(&self, before: &Table, growth: f64) -> Vec<String> {
        let mut grown = Vec::new();
        for (column, build) in COLUMNS.iter().enumerate() {
            for (figure, name) in FIGURES.iter().enumerate() {
                let (now, then) = (self.0[column][figure], before.0[column][figure]);
                if let (Some(now), Some(then)) = (now, then) {
                    if now > then * growth {
                        grown.push(format!(
                            "{build}, {name}: {} (was {})",
                            shown(now),
                            shown(then)
                        ));
                    }
                }
            }
        }
        grown
    }
}

fn readme() -> Result<String, String> {
    fs::read_to_string(README).map_err(|e| format!("reading {README}: {e}"))
}

/// What is before the README's table and behind it, without the marks.
fn parts(readme: &str) -> Result<(&str, &str), String> {
    let parts = readme.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    parts.ok_or_else(|| format!("{README} has no marks {BEGIN:?} and {END:?}"))
}

fn shown(kb: f64) -> String {
    if kb < 100.0 { format!("{kb:.1}") } else { format!("{kb:.0}") }
}
