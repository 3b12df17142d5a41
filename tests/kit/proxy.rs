//! The real proxies, set up with the blocks of docs/operating.md.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Signal, kill_process};

use super::PATIENCE;
use super::program::{Process, free_address};

/// A proxy that runs in the foreground, with a folder for its configuration.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    folder: PathBuf,
    pub address: SocketAddr,
}

impl Proxy {
    /// With this inside of `http`, in which a `server` listens at ADDRESS.
    #[track_caller]
    pub fn nginx(http: &str) -> Self {
        Self::start("nginx", |folder, address| {
            let folder = folder.display();
            let http = http.replace("ADDRESS", &address.to_string());
            let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
                .concat();
            let config = format!(
                "daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n\
                 access_log off;\n{paths}{http}}}\n"
            );
            (config, vec!["-c".into(), format!("{folder}/config"), "-e".into(), "stderr".into()])
        })
    }

    /// With this site, at PORT.
    #[track_caller]
    pub fn caddy(site: &str) -> Self {
        Self::start("caddy", |folder, address| {
            let site = site.replace("PORT", &address.port().to_string());
            let config = format!("{{\nadmin off\n}}\n{site}");
            let path = format!("{}/config", folder.display());
            let args = ["run", "--adapter", "caddyfile", "--config", path.as_str()];
            (config, args.map(String::from).to_vec())
        })
    }

    /// With this block, whose frontend has the documented address.
    #[track_caller]
    pub fn haproxy(block: &str) -> Self {
        Self::start("haproxy", |folder, address| {
            let bind = format!("bind {address}");
            let config = block.replace("bind :443 ssl crt /etc/haproxy/chat.pem", &bind);
            let config = format!("global\n    maxconn 100\n{config}");
            (config, vec!["-db".into(), "-f".into(), format!("{}/config", folder.display())])
        })
    }

    /// Starts it with what `set_up` makes of its folder and address: a configuration, and how it
    /// is told where that is.
    #[track_caller]
    fn start(
        program: &str,
        set_up: impl Fn(&PathBuf, SocketAddr) -> (String, Vec<String>),
    ) -> Self {
        // Neither can take a socket that listens already.
        let address = free_address();
        let folder = std::env::temp_dir().join(format!("roomd-{program}-{}", address.port()));
        fs::create_dir_all(&folder).unwrap();
        let (config, args) = set_up(&folder, address);
        fs::write(folder.join("config"), config).unwrap();
        // `make test` unpacks what is not installed there: installing would start services.
        let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/usr");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{path}:/usr/sbin:/sbin:{tools}/sbin:{tools}/bin");
        let child = Command::new(program)
            .args(args)
            .env("LD_LIBRARY_PATH", libraries(tools))
            .env("PATH", path)
            .env("HOME", &folder)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("errors")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        let mut proxy = Proxy { process: Process(child), folder, address };
        if let Err(error) = proxy.process.listens(address, PATIENCE) {
            let errors = fs::read_to_string(proxy.folder.join("errors")).unwrap_or_default();
            panic!("{program} {error}: {errors}");
        }
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx's worker ends with its master only if that is asked to end.
        let _ = kill_process(self.process.pid(), Signal::TERM);
        let _ = self.process.0.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where what is unpacked has its libraries: in one folder for each kind of machine.
fn libraries(tools: &str) -> String {
    let folders = fs::read_dir(format!("{tools}/lib")).into_iter().flatten().flatten();
    folders.map(|folder| folder.path().display().to_string()).collect::<Vec<_>>().join(":")
}

/// The block in this language from docs/operating.md, from this heading on, with other addresses.
#[track_caller]
pub fn documented(heading: &str, language: &str, addresses: &[(&str, SocketAddr)]) -> String {
    let document =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).unwrap();
    let (begin, heading) = (format!("```{language}\n"), format!("\n{heading}\n"));
    let section = document.split_once(&heading).unwrap_or_else(|| panic!("no {heading:?}")).1;
    let block = section.split_once(&begin).and_then(|(_, rest)| rest.split_once("```"));
    let block = block.unwrap_or_else(|| panic!("no block {begin:?} below {heading:?}")).0;
    addresses.iter().fold(block.to_owned(), |block, (documented, address)| {
        assert!(block.contains(documented), "no {documented} in {block}");
        block.replace(documented, &address.to_string())
    })
}
