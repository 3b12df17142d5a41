//! Where the engine is.

use std::fs;
use std::path::Path;

use redis::{ConnectionInfo, IntoConnectionInfo};

/// What is accepted.
const ACCEPTED: &str = "redis://HOST[:PORT][/DATABASE] or redis+unix:///PATH, without a password: see --engine-password-file";

/// The address that `--engine` gives, and the password in the first line of a file.
///
/// # Errors
/// A line that names the flag, the value and what is accepted.
pub fn parse(address: &str, password_file: Option<&Path>) -> Result<ConnectionInfo, String> {
    let refused = || format!("--engine: this is not {ACCEPTED}");
    let is_known = address.starts_with("redis://") || address.starts_with("redis+unix://");
    // Not shown: it may have the password.
    let info = address.into_connection_info().ok().filter(|_| is_known).ok_or_else(refused)?;
    let settings = info.redis_settings().clone();
    if settings.password().is_some() {
        return Err(refused());
    }
    let Some(path) = password_file else { return Ok(info) };
    let text = fs::read_to_string(path).map_err(|error| {
        format!("--engine-password-file {}: cannot read it: {error}", path.display())
    })?;
    let password = text.lines().next().filter(|line| !line.is_empty()).ok_or_else(|| {
        format!("--engine-password-file {}: its first line is empty", path.display())
    })?;
    Ok(info.set_redis_settings(settings.set_password(password)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestFolder;

    #[test]
    fn addresses() {
        for good in ["redis://localhost", "redis://[::1]:6380/2", "redis+unix:///run/redis.sock"] {
            parse(good, None).expect(good);
        }
        for bad in ["", "localhost:6379", "http://localhost", "redis://:secret@localhost"] {
            let line = parse(bad, None).expect_err(bad);
            assert!(line.contains("redis://HOST") && !line.contains("secret@"), "{line}");
        }
    }

    #[test]
    fn the_password_is_the_first_line_of_a_file() {
        let folder = TestFolder::new();
        let path = folder.path().join("password");
        let error = parse("redis://box", Some(&path)).expect_err("there is no file");
        assert!(error.contains("cannot read"), "{error}");
        fs::write(&path, "\nx").expect("a file");
        assert!(parse("redis://box", Some(&path)).expect_err("empty").contains("empty"));
        fs::write(&path, "hush\n").expect("a file");
        let info = parse("redis://ana@box", Some(&path)).expect("a password");
        let settings = info.redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("ana"), Some("hush")));
    }
}
