//! What the program says first: what to open, and who can.

use std::net::SocketAddr;

use crate::lan::addresses;
use crate::lan::qr::Code;

/// The greeting of a server that listens at this address. Its socket may have been `passed` to it, whatever the flags say.
/// With `code`, the first URL for others comes as a QR code too; `colours` says whether the screen
/// knows colours.
pub fn greeting(listening: SocketAddr, passed: bool, code: bool, colours: bool) -> String {
    let port = listening.port();
    let note = if passed { "; the socket was passed, so --listen is not used" } else { "" };
    if addresses::is_private(listening) {
        let hint = format!("; --listen [::]:{port} opens it to the network");
        let hint = if passed { note } else { &hint };
        let mut said =
            format!("roomd: open http://{listening}/ (only this machine can reach it{hint})\n");
        if code {
            said.push_str("roomd: there is no QR code, since nobody else could open that\n");
        }
        return said;
    }
    let urls = addresses::urls(listening);
    let mut said = if !listening.ip().to_canonical().is_unspecified() {
        format!("roomd: open http://{listening}/ (its network can reach it{note})\n")
    } else if urls.is_empty() {
        format!(
            "roomd: open http://localhost:{port}/ here (the whole network could reach port {port}, \
             but this machine is on none{note})\n"
        )
    } else {
        let list: String = urls.iter().map(|url| format!("  {url}\n")).collect();
        format!(
            "roomd: open http://localhost:{port}/ here{note}; the whole network can open\n{list}"
        )
    };
    if code {
        match urls.first().and_then(|url| Code::new(url)) {
            Some(code) => said.push_str(&code.text(colours)),
            None => said.push_str("roomd: there is no QR code, since there is no address for it\n"),
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting_at(listening: &str, code: bool) -> String {
        greeting(listening.parse().expect("an address"), false, code, false)
    }

    #[test]
    fn one_address_is_said_once() {
        assert_eq!(
            greeting_at("10.1.2.3:80", false),
            "roomd: open http://10.1.2.3:80/ (its network can reach it)\n"
        );
    }

    #[test]
    fn the_code_says_the_first_url_for_others() {
        let code = Code::new("http://10.1.2.3:80/").expect("a code").text(false);
        assert!(greeting_at("10.1.2.3:80", true).ends_with(&format!("\n{code}")));
        for nobodys in ["127.0.0.1:80", "[::1]:80", "[fe80::1]:80"] {
            let said = greeting_at(nobodys, true);
            assert!(said.contains("no QR code") && !said.contains('█'), "{said}");
        }
    }
}
