//! Text that a client sent, in an answer or a log line.

/// The start of `text`: escaped, and at most about a hundred characters of the result.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 100;
    let mut shown = String::new();
    let mut len = 0;
    for character in text.chars() {
        let escaped = character.escape_debug();
        len += escaped.len();
        if len > LONGEST {
            shown.push('…');
            break;
        }
        shown.extend(escaped);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_what_is_odd_is_escaped() {
        let longest = "é".repeat(100);
        assert_eq!(excerpt(&longest), longest);
        assert_eq!(excerpt(&"é".repeat(4050)), longest + "…");
        assert_eq!(excerpt("a\r\n\u{1b}\"é"), "a\\r\\n\\u{1b}\\\"é");
        assert!(excerpt(&"\u{10fffe}".repeat(4050)).chars().count() <= 101);
    }
}
