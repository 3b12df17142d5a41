//! A QR code, for a terminal and for the page.

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules that belong around a code, so that a camera finds it.
const QUIET: i32 = 4;

/// A code, with the quiet zone around it.
pub struct Code(QrCode);

impl Code {
    /// The code that says `text`. None: it is too long for one.
    pub fn new(text: &str) -> Option<Code> {
        // What is left in a code of the same size goes into more correction.
        QrCode::encode_text(text, QrCodeEcc::Low).ok().map(Code)
    }

    /// How many modules wide and high it is.
    pub fn size(&self) -> i32 {
        self.0.size() + 2 * QUIET
    }

    /// Whether the module in this column and row is dark. Outside of the code none is.
    pub fn is_dark(&self, x: i32, y: i32) -> bool {
        self.0.get_module(x - QUIET, y - QUIET)
    }

    /// Lines of half blocks, two rows of modules each. What is light is drawn: a font's blocks may be
    /// smaller than their place, and a camera minds dark lines in the light less than the reverse.
    /// Without `colours` the screen has to be dark, as most terminals are.
    pub fn text(&self, colours: bool) -> String {
        let (start, end) = if colours { ("\x1b[37;40;1m", "\x1b[0m") } else { ("", "") };
        let block = |x, y| match (self.is_dark(x, y), self.is_dark(x, y + 1)) {
            (true, true) => ' ',
            (true, false) => '▄',
            (false, true) => '▀',
            (false, false) => '█',
        };
        let row = |y| (0..self.size()).map(|x| block(x, y)).collect::<String>();
        // The size is odd: the last line has a light row more.
        (0..self.size()).step_by(2).map(|y| format!("{start}{}{end}\n", row(y))).collect()
    }

    /// A drawing as the URL of an image, in which a module is one unit wide. It has no double quotes.
    pub fn image(&self) -> String {
        let (size, path) = (self.size(), self.path());
        format!(
            "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 -.5 {size} {size}' \
             shape-rendering='crispEdges'><path fill='white' d='M0-.5h{size}v{size}H0z'/>\
             <path stroke='black' d='{path}'/></svg>"
        )
    }

    /// The dark modules as the data of an SVG path whose lines are one unit high.
    fn path(&self) -> String {
        let mut path = String::new();
        for y in 0..self.size() {
            let mut x = 0;
            while x < self.size() {
                let run = (x..).take_while(|x| self.is_dark(*x, y)).count();
                if run > 0 {
                    path.push_str(&format!("M{x} {y}h{run}"));
                }
                x += run as i32 + 1;
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://192.168.1.5:8000/";

    fn code() -> Code {
        Code::new(URL).expect("a code")
    }

    /// What a camera would read: the bytes of a code of version 2, which has one block. It knows
    /// the standard (ISO 18004) and nothing of the encoder.
    fn read(is_dark: impl Fn(i32, i32) -> bool) -> String {
        const SIZE: i32 = 25;
        let module = |x: i32, y: i32| is_dark(x + QUIET, y + QUIET);
        let mask = [(2, 8), (3, 8), (4, 8)]
            .iter()
            .zip([true, false, true])
            .fold(0, |mask, ((x, y), flip)| mask << 1 | i32::from(module(*x, *y) != flip));
        let is_masked = |x: i32, y: i32| match mask {
            0 => (x + y) % 2 == 0,
            1 => y % 2 == 0,
            2 => x % 3 == 0,
            3 => (x + y) % 3 == 0,
            4 => (y / 2 + x / 3) % 2 == 0,
            5 => x * y % 2 + x * y % 3 == 0,
            6 => (x * y % 2 + x * y % 3) % 2 == 0,
            _ => ((x + y) % 2 + x * y % 3) % 2 == 0,
        };
        let is_function = |x: i32, y: i32| {
            let near = |low: i32, n: i32| (low..low + 9).contains(&n);
            x == 6
                || y == 6
                || near(0, x) && near(0, y)
                || near(SIZE - 8, x) && near(0, y)
                || near(0, x) && near(SIZE - 8, y)
                || (16..21).contains(&x) && (16..21).contains(&y)
        };
        let mut bits = Vec::new();
        let columns = (1..=SIZE / 2).map(|pair| SIZE + 1 - 2 * pair - i32::from(pair >= 10));
        for (turn, right) in columns.enumerate() {
            for step in 0..SIZE {
                let y = if turn % 2 == 0 { SIZE - 1 - step } else { step };
                for x in [right, right - 1] {
                    if !is_function(x, y) {
                        bits.push(module(x, y) != is_masked(x, y));
                    }
                }
            }
        }
        let number = |bits: &[bool]| bits.iter().fold(0, |sum, bit| sum << 1 | usize::from(*bit));
        assert_eq!(number(&bits[..4]), 4, "the mode of bytes");
        let len = number(&bits[4..12]);
        let bytes = bits[12..12 + 8 * len].chunks(8).map(|byte| number(byte) as u8);
        String::from_utf8(bytes.collect()).expect("text")
    }

    #[test]
    fn a_camera_reads_the_text_in_the_terminal() {
        assert_eq!(code().size(), 25 + 2 * QUIET);
        for (colours, start, end) in [(false, "", ""), (true, "\x1b[37;40;1m", "\x1b[0m")] {
            let text = code().text(colours);
            let lines: Vec<Vec<char>> = text
                .lines()
                .map(|line| line.strip_prefix(start)?.strip_suffix(end))
                .map(|line| line.expect("colours around the line").chars().collect())
                .collect();
            assert_eq!(lines.len(), 17);
            assert!(lines.iter().all(|line| line.len() == 33));
            let read = read(|x, y| {
                let shown = lines[y as usize / 2][x as usize];
                shown == ' ' || shown == if y % 2 == 0 { '▄' } else { '▀' }
            });
            assert_eq!(read, URL);
        }
    }

    #[test]
    fn a_camera_reads_the_text_in_the_page() {
        let mut dark = Vec::new();
        let image = code().image();
        assert!(!image.contains(['"', '#', '%']), "they mean something else in JSON or a URL");
        let path = image.split("d='").nth(2).and_then(|rest| rest.split('\'').next());
        for run in path.expect("a path").split('M').skip(1) {
            let (start, width) = run.split_once('h').expect("a width");
            let (x, y) = start.split_once(' ').expect("a place");
            let numbers = [x, y, width].map(|number| number.parse::<i32>().expect("a number"));
            let [x, y, width] = numbers;
            dark.extend((x..x + width).map(|x| (x, y)));
        }
        assert_eq!(read(|x, y| dark.contains(&(x, y))), URL);
        let outside = |n: i32| !(QUIET..QUIET + 25).contains(&n);
        assert!(!dark.iter().any(|(x, y)| outside(*x) || outside(*y)), "the zone is quiet");
    }

    #[test]
    fn what_no_code_can_say_has_none() {
        assert!(Code::new(&"x".repeat(5000)).is_none());
    }
}
