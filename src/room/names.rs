//! Names that people may have, and when two of them are the same.

use crate::config::{NAME_BYTES, NAME_CHARS};

/// The name that was asked for, without spaces at its ends and with single ones inside.
///
/// # Errors
/// Why it cannot be had, for a person.
pub fn check(wish: &str) -> Result<String, &'static str> {
    // Whoever asks for more bytes than this does not want a name.
    if wish.len() > 4 * NAME_BYTES {
        return Err("a name has at most 32 characters");
    }
    let name = wish.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if name.chars().count() > NAME_CHARS {
        return Err("a name has at most 32 characters");
    }
    if name.len() > NAME_BYTES {
        return Err("a name has at most 96 bytes");
    }
    if name.chars().any(is_refused) {
        return Err("a name has no control, invisible or private characters");
    }
    if name.starts_with(is_joiner) || name.ends_with(is_joiner) {
        return Err("a name has no joiners at its ends");
    }
    if !name.chars().any(is_visible) {
        return Err("a name has at least one letter or sign");
    }
    // As it is compared, since what is ignored there is not seen either.
    let seen = fold(&name);
    if seen.starts_with(['#', '~', '@']) {
        return Err("a name does not begin with #, ~ or @");
    }
    if seen.rsplit_once([NUMBER, ANO_TELEIA]).is_some_and(|(_, end)| is_number(end)) {
        return Err("a name does not end with · and a number: the server gives those");
    }
    Ok(name)
}

/// Two names for which this is the same are the same.
pub fn fold(name: &str) -> String {
    let counted = name.chars().filter(|char| *char != ' ' && !is_ignored(*char));
    counted.flat_map(char::to_lowercase).collect()
}

/// The name that somebody gets whose name is taken: the `n`th of those who have it.
pub fn numbered(name: &str, n: u32) -> String {
    let end = format!("{NUMBER}{n}");
    let (mut chars, mut bytes) = (end.chars().count(), end.len());
    let fits = |char: &char| {
        (chars, bytes) = (chars + 1, bytes + char.len_utf8());
        chars <= NAME_CHARS && bytes <= NAME_BYTES
    };
    let base: String = name.chars().take_while(fits).collect();
    base.trim_end_matches([' ', '\u{200c}', '\u{200d}']).to_owned() + &end
}

/// Stands before the number.
const NUMBER: char = '·';

/// The Greek semicolon, which Unicode says is the same character (NFC makes it one).
const ANO_TELEIA: char = '\u{387}';

/// A space of any width: keyboards for Chinese and Japanese have U+3000. Those that end lines are refused.
fn is_space(char: char) -> bool {
    char.is_whitespace() && !is_refused(char)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(char::is_numeric)
}

/// A joiner, which Persian and emoji need within a name.
fn is_joiner(char: char) -> bool {
    matches!(char, '\u{200c}' | '\u{200d}')
}

/// A character that nobody sees: a joiner, or a variation selector, as many emoji have.
fn is_ignored(char: char) -> bool {
    is_joiner(char) || matches!(char, '\u{fe00}'..='\u{fe0f}')
}

/// A character that is seen by itself.
fn is_visible(char: char) -> bool {
    !char.is_whitespace() && !is_joiner(char) && !is_mark(char)
}

/// Characters of no name: those that are not seen, that turn the direction of what follows, or that mean
/// nothing to others.
fn is_refused(char: char) -> bool {
    char.is_control()
        || matches!(char,
            // Those of Default_Ignorable_Code_Point but joiners and variation selectors, and the like.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
            // Private use.
            | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}'
            // No characters (Unicode, section 23.7), with those at the end of each plane.
            | '\u{fdd0}'..='\u{fdef}')
        || u32::from(char) & 0xfffe == 0xfffe
}

/// Whether this is a combining mark: general category M.
fn is_mark(char: char) -> bool {
    let char = u32::from(char);
    let behind = MARKS.partition_point(|(first, _)| *first <= char);
    behind.checked_sub(1).is_some_and(|n| char <= MARKS[n].1)
}

/// The first and the last of each run of combining marks, of Unicode 18.
#[rustfmt::skip]
const MARKS: &[(u32, u32)] = &[
    (0x300, 0x36f), (0x483, 0x489), (0x591, 0x5bd), (0x5bf, 0x5bf), (0x5c1, 0x5c2),
    (0x5c4, 0x5c5), (0x5c7, 0x5c9), (0x610, 0x61a), (0x64b, 0x65f), (0x670, 0x670),
    (0x6d6, 0x6dc), (0x6df, 0x6e4), (0x6e7, 0x6e8), (0x6ea, 0x6ed), (0x711, 0x711),
    (0x730, 0x74a), (0x7a6, 0x7b0), (0x7eb, 0x7f3), (0x7fd, 0x7fd), (0x816, 0x819),
    (0x81b, 0x823), (0x825, 0x827), (0x829, 0x82d), (0x859, 0x85b), (0x897, 0x89f),
    (0x8ca, 0x8e1), (0x8e3, 0x903), (0x93a, 0x93c), (0x93e, 0x94f), (0x951, 0x957),
    (0x962, 0x963), (0x981, 0x983), (0x9bc, 0x9bc), (0x9be, 0x9c4), (0x9c7, 0x9c8),
    (0x9cb, 0x9cd), (0x9d7, 0x9d7), (0x9e2, 0x9e3), (0x9fe, 0x9fe), (0xa01, 0xa03),
    (0xa3c, 0xa3c), (0xa3e, 0xa42), (0xa47, 0xa48), (0xa4b, 0xa4d), (0xa51, 0xa51),
    (0xa70, 0xa71), (0xa75, 0xa75), (0xa81, 0xa83), (0xabc, 0xabc), (0xabe, 0xac5),
    (0xac7, 0xac9), (0xacb, 0xacd), (0xae2, 0xae3), (0xafa, 0xaff), (0xb01, 0xb03),
    (0xb3c, 0xb3c), (0xb3e, 0xb44), (0xb47, 0xb48), (0xb4b, 0xb4d), (0xb53, 0xb57),
    (0xb62, 0xb63), (0xb82, 0xb82), (0xbbe, 0xbc2), (0xbc6, 0xbc8), (0xbca, 0xbcd),
    (0xbd7, 0xbd7), (0xc00, 0xc04), (0xc3c, 0xc3c), (0xc3e, 0xc44), (0xc46, 0xc48),
    (0xc4a, 0xc4d), (0xc55, 0xc56), (0xc62, 0xc63), (0xc81, 0xc83), (0xcbc, 0xcbc),
    (0xcbe, 0xcc4), (0xcc6, 0xcc8), (0xcca, 0xccd), (0xcd5, 0xcd6), (0xce2, 0xce3),
    (0xcf3, 0xcf3), (0xd00, 0xd03), (0xd3b, 0xd3c), (0xd3e, 0xd44), (0xd46, 0xd48),
    (0xd4a, 0xd4d), (0xd57, 0xd57), (0xd62, 0xd63), (0xd81, 0xd83), (0xdca, 0xdca),
    (0xdcf, 0xdd4), (0xdd6, 0xdd6), (0xdd8, 0xddf), (0xdf2, 0xdf3), (0xe31, 0xe31),
    (0xe34, 0xe3a), (0xe47, 0xe4e), (0xeb1, 0xeb1), (0xeb4, 0xebc), (0xec8, 0xece),
    (0xf18, 0xf19), (0xf35, 0xf35), (0xf37, 0xf37), (0xf39, 0xf39), (0xf3e, 0xf3f),
    (0xf71, 0xf84), (0xf86, 0xf87), (0xf8d, 0xf97), (0xf99, 0xfbc), (0xfc6, 0xfc6),
    (0x102b, 0x103e), (0x1056, 0x1059), (0x105e, 0x1060), (0x1062, 0x1064), (0x1067, 0x106d),
    (0x1071, 0x1074), (0x1082, 0x108d), (0x108f, 0x108f), (0x109a, 0x109d), (0x135d, 0x135f),
    (0x1712, 0x1715), (0x1732, 0x1734), (0x1752, 0x1753), (0x1772, 0x1773), (0x17b4, 0x17d3),
    (0x17dd, 0x17dd), (0x180b, 0x180d), (0x180f, 0x180f), (0x1885, 0x1886), (0x18a9, 0x18a9),
    (0x1920, 0x192b), (0x1930, 0x193b), (0x1a17, 0x1a1b), (0x1a55, 0x1a5e), (0x1a60, 0x1a7c),
    (0x1a7f, 0x1a7f), (0x1ab0, 0x1af0), (0x1b00, 0x1b04), (0x1b34, 0x1b44), (0x1b6b, 0x1b73),
    (0x1b80, 0x1b82), (0x1ba1, 0x1bad), (0x1be6, 0x1bf3), (0x1c24, 0x1c37), (0x1cd0, 0x1cd2),
    (0x1cd4, 0x1ce8), (0x1ced, 0x1ced), (0x1cf4, 0x1cf4), (0x1cf7, 0x1cf9), (0x1dc0, 0x1dff),
    (0x20d0, 0x20f0), (0x2cef, 0x2cf1), (0x2d7f, 0x2d7f), (0x2de0, 0x2dff), (0x302a, 0x302f),
    (0x3099, 0x309a), (0xa66f, 0xa672), (0xa674, 0xa67d), (0xa69e, 0xa69f), (0xa6f0, 0xa6f1),
    (0xa802, 0xa802), (0xa806, 0xa806), (0xa80b, 0xa80b), (0xa823, 0xa827), (0xa82c, 0xa82c),
    (0xa880, 0xa881), (0xa8b4, 0xa8c5), (0xa8e0, 0xa8f1), (0xa8ff, 0xa8ff), (0xa926, 0xa92d),
    (0xa947, 0xa953), (0xa980, 0xa983), (0xa9b3, 0xa9c0), (0xa9e5, 0xa9e5), (0xaa29, 0xaa36),
    (0xaa43, 0xaa43), (0xaa4c, 0xaa4d), (0xaa7b, 0xaa7d), (0xaab0, 0xaab0), (0xaab2, 0xaab4),
    (0xaab7, 0xaab8), (0xaabe, 0xaabf), (0xaac1, 0xaac1), (0xaaeb, 0xaaef), (0xaaf5, 0xaaf6),
    (0xabe3, 0xabea), (0xabec, 0xabed), (0xfb1e, 0xfb1e), (0xfe00, 0xfe0f), (0xfe20, 0xfe2f),
    (0x101fd, 0x101fd), (0x102e0, 0x102e0), (0x10376, 0x1037a), (0x10a01, 0x10a03),
    (0x10a05, 0x10a06), (0x10a0c, 0x10a0f), (0x10a38, 0x10a3a), (0x10a3f, 0x10a3f),
    (0x10ae5, 0x10ae6), (0x10d24, 0x10d27), (0x10d69, 0x10d6d), (0x10eab, 0x10eac),
    (0x10ecb, 0x10ecf), (0x10ef0, 0x10eff), (0x10f46, 0x10f50), (0x10f82, 0x10f85),
    (0x11000, 0x11002), (0x11038, 0x11046), (0x11070, 0x11070), (0x11073, 0x11074),
    (0x1107f, 0x11082), (0x110b0, 0x110ba), (0x110c2, 0x110c2), (0x11100, 0x11102),
    (0x11127, 0x11134), (0x11145, 0x11146), (0x11173, 0x11173), (0x11180, 0x11182),
    (0x111b3, 0x111c0), (0x111c9, 0x111cc), (0x111ce, 0x111cf), (0x1122c, 0x11237),
    (0x1123e, 0x1123e), (0x11241, 0x11241), (0x112df, 0x112ea), (0x11300, 0x11303),
    (0x1133b, 0x1133c), (0x1133e, 0x11344), (0x11347, 0x11348), (0x1134b, 0x1134d),
    (0x11357, 0x11357), (0x11362, 0x11363), (0x11366, 0x1136c), (0x11370, 0x11374),
    (0x113b8, 0x113c0), (0x113c2, 0x113c2), (0x113c5, 0x113c5), (0x113c7, 0x113ca),
    (0x113cc, 0x113d0), (0x113d2, 0x113d2), (0x113e1, 0x113e2), (0x11435, 0x11446),
    (0x1145e, 0x1145e), (0x114b0, 0x114c3), (0x115af, 0x115b5), (0x115b8, 0x115c0),
    (0x115dc, 0x115dd), (0x11630, 0x11640), (0x116ab, 0x116b7), (0x1171d, 0x1172b),
    (0x1182c, 0x1183a), (0x11930, 0x11935), (0x11937, 0x11938), (0x1193b, 0x1193e),
    (0x11940, 0x11940), (0x11942, 0x11943), (0x119d1, 0x119d7), (0x119da, 0x119e0),
    (0x119e4, 0x119e4), (0x11a01, 0x11a0a), (0x11a33, 0x11a39), (0x11a3b, 0x11a3e),
    (0x11a47, 0x11a47), (0x11a51, 0x11a5b), (0x11a8a, 0x11a99), (0x11b60, 0x11b67),
    (0x11c2f, 0x11c36), (0x11c38, 0x11c3f), (0x11c92, 0x11ca7), (0x11ca9, 0x11cb6),
    (0x11d31, 0x11d36), (0x11d3a, 0x11d3a), (0x11d3c, 0x11d3d), (0x11d3f, 0x11d45),
    (0x11d47, 0x11d47), (0x11d8a, 0x11d8e), (0x11d90, 0x11d91), (0x11d93, 0x11d97),
    (0x11df0, 0x11df0), (0x11ef3, 0x11ef6), (0x11f00, 0x11f01), (0x11f03, 0x11f03),
    (0x11f34, 0x11f3a), (0x11f3e, 0x11f42), (0x11f5a, 0x11f5a), (0x13440, 0x13440),
    (0x13447, 0x13455), (0x1611e, 0x1612f), (0x16af0, 0x16af4), (0x16b30, 0x16b36),
    (0x16f4f, 0x16f4f), (0x16f51, 0x16f87), (0x16f8f, 0x16f92), (0x16fe4, 0x16fe4),
    (0x16ff0, 0x16ff1), (0x1bc9d, 0x1bc9e), (0x1cf00, 0x1cf2d), (0x1cf30, 0x1cf46),
    (0x1d127, 0x1d128), (0x1d165, 0x1d169), (0x1d16d, 0x1d172), (0x1d17b, 0x1d182),
    (0x1d185, 0x1d18b), (0x1d1aa, 0x1d1ad), (0x1d242, 0x1d244), (0x1d250, 0x1d252),
    (0x1d25b, 0x1d25c), (0x1d25f, 0x1d25f), (0x1d280, 0x1d281), (0x1da00, 0x1da36),
    (0x1da3b, 0x1da6c), (0x1da75, 0x1da75), (0x1da84, 0x1da84), (0x1da9b, 0x1da9f),
    (0x1daa1, 0x1daaf), (0x1e000, 0x1e006), (0x1e008, 0x1e018), (0x1e01b, 0x1e021),
    (0x1e023, 0x1e024), (0x1e026, 0x1e02a), (0x1e08f, 0x1e08f), (0x1e130, 0x1e136),
    (0x1e2ae, 0x1e2ae), (0x1e2ec, 0x1e2ef), (0x1e4ec, 0x1e4ef), (0x1e5ee, 0x1e5ef),
    (0x1e6e3, 0x1e6e3), (0x1e6e6, 0x1e6e6), (0x1e6ee, 0x1e6ef), (0x1e6f5, 0x1e6f5),
    (0x1e8d0, 0x1e8d6), (0x1e944, 0x1e94a), (0xe0100, 0xe01ef),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_have() {
        for (wish, name) in [
            ("Ana", "Ana"),
            ("  Ana   Lena ", "Ana Lena"),
            ("\u{3000}山田\u{3000}\u{a0}太郎\u{2003}", "山田 太郎"),
            ("小明", "小明"),
            ("Zoë\u{308}", "Zoë\u{308}"),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
            ("👩\u{200d}🔧", "👩\u{200d}🔧"),
            ("a#~@", "a#~@"),
            ("·", "·"),
            ("a·b", "a·b"),
            ("2·a", "2·a"),
            ("ana·2b", "ana·2b"),
            ("❤\u{fe0f}", "❤\u{fe0f}"),
            ("O'Hara <b>", "O'Hara <b>"),
            ("\\\"", "\\\""),
        ] {
            assert_eq!(check(wish).as_deref(), Ok(name));
        }
        assert!(check(&"é".repeat(32)).is_ok() && check(&"😀".repeat(24)).is_ok());
    }

    #[test]
    fn names_that_nobody_gets() {
        let refused = "\0\u{1f}\u{7f}\u{80}\u{9f}\n\t\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{200b}\u{200e}\
            \u{200f}\u{17b4}\u{17b5}\u{180b}\u{180f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{206f}\u{2800}\u{3164}\
            \u{feff}\u{ffa0}\u{fff0}\u{fffb}\u{1bca0}\u{1bca3}\u{1d173}\u{1d17a}\u{e0000}\u{e007f}\u{e0100}\u{e0fff}\u{e000}\u{f8ff}\
            \u{f0000}\u{10fffd}\u{fdd0}\u{fdef}\u{fffe}\u{ffff}\u{1fffe}\u{10ffff}";
        for char in refused.chars() {
            assert!(check(&format!("a{char}b")).is_err(), "{:x}", u32::from(char));
        }
        for wish in [
            "",
            " ",
            "\u{301}",
            "\u{301}\u{200d}\u{302}",
            "\u{200d}a",
            "a\u{200c}",
            "#a",
            "~a",
            "@a",
            "ana·2",
            "ana·99",
            "·7",
            "ana·٣",
            "ana·\u{200c}2",
            "ana· 2",
            "ana·2\u{fe0f}",
            "ana\u{387}2",
            "\u{fe0f}#a",
            "\u{fe0f}",
            "\n",
            "Ana\n",
        ] {
            assert!(check(wish).is_err(), "{wish:?}");
        }
        for wish in ["a".repeat(33), "😀".repeat(25), " a".repeat(1000)] {
            assert!(check(&wish).is_err());
        }
    }

    #[test]
    fn the_borders_of_what_is_refused() {
        let good = "!~\u{a1}\u{ac}\u{ae}\u{34e}\u{350}\u{61b}\u{61d}\u{115e}\u{1161}\u{17b3}\
            \u{17b6}\u{180a}\u{1810}\u{200c}\u{200d}\u{2010}\u{2027}\u{2030}\u{205e}\u{2070}\u{27ff}\
            \u{2801}\u{3163}\u{3165}\u{fdcf}\u{fdf0}\u{fefe}\u{ff00}\u{ff9f}\u{ffa1}\u{ffef}\
            \u{fffc}\u{fffd}\u{d7ff}\u{f900}\u{10000}\u{1bc9f}\u{1bca4}\u{1d172}\u{1d17b}\
            \u{1fffd}\u{dfffd}\u{e1000}\u{efffd}";
        for char in good.chars() {
            assert!(check(&format!("a{char}b")).is_ok(), "{:x}", u32::from(char));
        }
        // The runs are in order, and apart.
        assert!(MARKS.windows(2).all(|pair| pair[0].0 <= pair[0].1 && pair[0].1 + 1 < pair[1].0));
        for (mark, is) in
            [(0x2ff, false), (0x300, true), (0x36f, true), (0x370, false), (0x5be, false)]
        {
            assert_eq!(char::from_u32(mark).map(is_mark), Some(is), "{mark:x}");
        }
    }

    #[test]
    fn the_same_names() {
        for (one, other) in [
            ("Ana", "aNA"),
            ("A na", "an a"),
            ("ÉÀ", "éà"),
            ("می\u{200c}خ", "میخ"),
            ("ana\u{fe0f}", "ana"),
        ] {
            assert_eq!(fold(one), fold(other));
        }
        assert_ne!(fold("Ana"), fold("Anna"));
    }

    #[test]
    fn a_numbered_name_is_not_longer_than_a_name() {
        assert_eq!(numbered("ana", 2), "ana·2");
        let long = numbered(&"é".repeat(32), 99);
        assert_eq!((long.chars().count(), long.ends_with("é·99")), (32, true));
        assert!(numbered(&"😀".repeat(24), 99).len() <= NAME_BYTES);
        assert_eq!(
            numbered("aaaaaaaaaaaaaaaaaaaaaaaaaaaaa bb", 2),
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa·2"
        );
    }
}
