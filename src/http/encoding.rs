//! Whether a client takes gzip (RFC 9110 section 12.5.3).

/// Whether gzip is acceptable, and liked no less than the plain bytes. The list is the value of
/// `Accept-Encoding`, empty if there is none.
pub fn accepts_gzip(list: &str) -> bool {
    let (mut gzip, mut identity, mut others) = (None, None, None);
    for item in list.split(',') {
        let (coding, parameter) = item.split_once(';').unwrap_or((item, "q=1"));
        let weight = match coding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => &mut gzip,
            "identity" => &mut identity,
            "*" => &mut others,
            _ => continue,
        };
        *weight = Some(quality(parameter));
    }
    let gzip = gzip.or(others).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.or(others).unwrap_or(0.0)
}

/// The number of a parameter `q=0.5`; 0 if it is malformed.
fn quality(parameter: &str) -> f32 {
    let number = parameter.trim().strip_prefix(['q', 'Q']).and_then(|rest| rest.strip_prefix('='));
    let quality = number.and_then(|number| number.parse().ok());
    quality.filter(|quality| (0.0..=1.0).contains(quality)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_where_it_is_listed_and_liked() {
        for list in [
            "gzip",
            "GZip",
            "x-gzip",
            "gzip, deflate, br, zstd",
            "br;q=1.0, gzip;q=0.8, *;q=0.1",
            "*",
            "deflate,*;q=0.5",
            " gzip ; q=0.001 ",
            "identity;q=0.5, gzip;Q=0.5",
            "gzip, *;q=0",
            "gzip,",
        ] {
            assert!(accepts_gzip(list), "{list}");
        }
        for list in [
            "",
            "identity",
            "br",
            "gzip;q=0",
            "gzip;q=0.000, *",
            "*;q=0",
            "gzip;q=0.2, identity",
            "identity;q=0.5, *;q=0.2",
            "gzip;q=",
            "gzip;q=x",
            "gzip;q=nan",
            "gzip;q=-1",
            "gzip;q=2",
            "gzipped",
            "\"gzip\"",
            ";q=1",
            ",,;;==",
        ] {
            assert!(!accepts_gzip(list), "{list}");
        }
    }
}
