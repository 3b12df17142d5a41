//! What a client of a room wants to hear it as (`Accept`, RFC 9110 section 12.5.1).

use crate::wire::stream::Format;

/// The formats by their names. Lines of text are for whoever names none.
const FORMATS: [(&str, Format); 3] = [
    ("text/event-stream", Format::Sse),
    ("application/x-ndjson", Format::Json),
    ("application/json", Format::Json),
];

/// Whether the page is asked for by name, and nothing is more welcome.
pub fn wants_page(accept: &str) -> bool {
    let page = quality(accept, "text/html").unwrap_or_default();
    let others = FORMATS.into_iter().filter_map(|(name, _)| quality(accept, name));
    page > 0 && others.max().is_none_or(|other| other <= page)
}

/// The format that is asked for by name, or else lines of text.
pub fn format(accept: &str) -> Format {
    let wanted =
        FORMATS.into_iter().filter_map(|(name, format)| Some((quality(accept, name)?, format)));
    // Of two that are as welcome, the first.
    let best = wanted.filter(|(quality, _)| *quality > 0).rev().max_by_key(|(quality, _)| *quality);
    best.map_or(Format::Text, |(_, format)| format)
}

/// How welcome a media type is that is listed by its name, in thousandths.
fn quality(accept: &str, name: &str) -> Option<u32> {
    let range = accept.split(',').find_map(|range| {
        let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
        media.trim().eq_ignore_ascii_case(name).then_some(parameters)
    })?;
    let weight = range.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())?
    });
    Some((weight.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_for_whoever_names_it() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("Text/HTML; q=0.1", true),
            ("text/html, application/json", true),
            ("text/html;q=0.5, application/json;q=0.6", false),
            ("text/html;q=0", false),
            ("text/html;q=0.0, */*", false),
            ("text/htmlx", false),
            ("*/*", false),
            ("text/*", false),
            ("", false),
        ] {
            assert_eq!(wants_page(accept), expected, "{accept}");
        }
    }

    #[test]
    fn by_name_or_text() {
        for (accept, expected) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain", Format::Text),
            ("text/event-stream", Format::Sse),
            ("Text/Event-Stream,", Format::Sse),
            ("application/json", Format::Json),
            ("application/x-ndjson, */*;q=0.1", Format::Json),
            ("application/json;q=0.5, text/event-stream; q=0.9", Format::Sse),
            ("application/json;q=0", Format::Text),
            ("application/json;q=x", Format::Json),
            ("application/jsonx", Format::Text),
        ] {
            assert_eq!(format(accept), expected, "{accept}");
        }
    }
}
