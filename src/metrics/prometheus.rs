//! Prometheus' text format: families of samples in, lines out. Pure; what is counted is not known
//! here.

use std::fmt::{Display, Write};

/// What the format is called in a Content-Type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text so far.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// One family: its samples follow.
#[derive(Debug)]
pub struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// A text that will have about so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Exposition(String::with_capacity(bytes))
    }

    /// What only grows. The name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// What goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// How many were at most so large: `counts` has one more than `bounds`, for what is beyond
    /// them, and each counts what is between its bound and the one before.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        bounds: impl Iterator<Item = f64>,
        counts: &[u64],
        sum: f64,
    ) {
        let Family { out, .. } = self.family(name, "histogram", help);
        let bounds = bounds.map(|bound| bound.to_string()).chain(["+Inf".into()]);
        let mut so_far = 0;
        for (bound, count) in bounds.zip(counts) {
            so_far += count;
            // Writing to a string does not fail.
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {so_far}");
        }
        let _ = writeln!(out, "{name}_sum {sum}\n{name}_count {so_far}");
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        let out = &mut self.0;
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { out, name }
    }
}

impl Family<'_> {
    /// A family of one sample.
    pub fn is(mut self, value: impl Display) {
        self.sample(&[], value);
    }

    /// Adds a sample with these labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let Family { out, name } = self;
        out.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let _ = write!(out, "{}{label}=\"", if n == 0 { '{' } else { ',' });
            for char in text.chars() {
                match char {
                    '\\' => out.push_str(r"\\"),
                    '"' => out.push_str("\\\""),
                    '\n' => out.push_str(r"\n"),
                    other => out.push(other),
                }
            }
            out.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(out, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_as_the_format_has_it() {
        let mut text = Exposition::default();
        text.gauge("depth", "How deep.").is(3);
        let mut family = text.counter("seen_total", "What was seen.");
        family.sample(&[("what", "a \"b\"\\\n"), ("by", "me")], 7);
        family.sample(&[("what", ""), ("by", "me")], 0);
        text.histogram("wait_seconds", "How long.", [0.5, 1.0].into_iter(), &[2, 0, 1], 9.25);
        let expected = r#"# HELP depth How deep.
# TYPE depth gauge
depth 3
# HELP seen_total What was seen.
# TYPE seen_total counter
seen_total{what="a \"b\"\\\n",by="me"} 7
seen_total{what="",by="me"} 0
# HELP wait_seconds How long.
# TYPE wait_seconds histogram
wait_seconds_bucket{le="0.5"} 2
wait_seconds_bucket{le="1"} 2
wait_seconds_bucket{le="+Inf"} 3
wait_seconds_sum 9.25
wait_seconds_count 3
"#;
        assert_eq!(text.into_text(), expected);
    }
}
