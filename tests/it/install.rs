use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

/// A folder that `make install` takes for the root of a system. Dropping it removes it.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("roomd test {name} {}", process::id()));
        fs::create_dir(&root).expect("a new folder");
        Root(root)
    }

    /// Runs `make` without building: the program is the one that is tested.
    #[track_caller]
    fn make(&self, target: &str, init: &str) {
        let mut make = Command::new("make");
        make.current_dir(env!("CARGO_MANIFEST_DIR"));
        // Nothing comes from a make that runs this test.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").args(["-o", "build", target]);
        make.arg(format!("DESTDIR={}", self.0.display())).arg(format!("INIT={init}"));
        make.arg(concat!("BINARY=", env!("CARGO_BIN_EXE_roomd"))).arg("PREFIX=/opt/roomd");
        let output = make.output().expect("this test needs make");
        assert!(output.status.success(), "{make:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What there is beside folders.
    fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() { walk(&path, files) } else { files.push(path) }
            }
        }
        let mut files = Vec::new();
        walk(&self.0, &mut files);
        let name = |file: PathBuf| file.strip_prefix(&self.0).expect("in it").display().to_string();
        files.into_iter().map(name).collect()
    }

    #[track_caller]
    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).expect(file)
    }

    #[track_caller]
    fn is_executable(&self, file: &str) -> bool {
        fs::metadata(self.0.join(file)).expect(file).permissions().mode() & 0o777 == 0o755
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // It is in the system's folder for what does not matter.
        let _ = fs::remove_dir_all(&self.0);
    }
}

const UNITS: [&str; 3] = [
    "opt/roomd/lib/systemd/system/roomd-admin.socket",
    "opt/roomd/lib/systemd/system/roomd.service",
    "opt/roomd/lib/systemd/system/roomd.socket",
];
const SCRIPT: &str = "etc/init.d/roomd";
const AVAHI: &str = "etc/avahi/services/roomd.service";

#[test]
fn an_uninstall_removes_all_that_an_install_put_there() {
    for (init, services) in
        [("systemd", &UNITS[..]), ("openrc", &[SCRIPT]), ("procd", &[SCRIPT]), ("none", &[])]
    {
        let root = Root::new(init);
        // Not ours.
        fs::create_dir_all(root.0.join("opt/roomd/bin")).expect("a folder");
        fs::write(root.0.join("opt/roomd/bin/other"), "").expect("a file");
        root.make("install", init);
        let files = root.files();
        for file in ["opt/roomd/bin/roomd", "opt/roomd/share/doc/roomd/LICENSE", AVAHI] {
            assert!(files.iter().any(|other| other == file), "{file} is not in {files:#?}");
        }
        assert!(root.is_executable("opt/roomd/bin/roomd"));
        let is_service = |file: &&String| file.contains("systemd") || file.contains("init.d");
        let mut found: Vec<_> = files.iter().filter(is_service).collect();
        found.sort();
        assert_eq!(found, services, "for {init}");
        root.make("uninstall", init);
        assert_eq!(root.files(), ["opt/roomd/bin/other"], "for {init}");
        // Folders that others use too stay.
        assert!(!root.0.join("opt/roomd/share/doc/roomd").exists(), "for {init}");
    }
}

#[test]
fn services_start_the_program_where_it_is() {
    let root = Root::new("paths");
    root.make("install", "systemd");
    assert!(root.read(UNITS[1]).contains("\nExecStart=/opt/roomd/bin/roomd\n"));
    assert!(!root.is_executable(UNITS[1]));
    for (init, line) in [
        ("openrc", "\ncommand=/opt/roomd/bin/roomd\n"),
        ("procd", "\n\tprocd_set_param command /opt/roomd/bin/roomd\n"),
    ] {
        root.make("install", init);
        assert!(root.read(SCRIPT).contains(line), "for {init}");
        assert!(root.is_executable(SCRIPT));
    }
}

/// What OpenWrt's rc.common gives a script, with a configuration of these options.
const RC_COMMON: &str = r#"
option_cb() { :; }
list_cb() { :; }
config_load() {
    echo "config $*"
    option_cb max_clients 100
    option_cb listen '[::]:8000'
    list_cb allow_host chat.lan
    list_cb allow_host 'chat example'
}
procd_set_param() { [ "$1" != command ] || { shift; args "$@"; }; }
procd_append_param() { [ "$1" != command ] || { shift; args "$@"; }; }
args() { for arg in "$@"; do echo "arg $arg"; done; }
procd_open_instance() { echo open; }
procd_close_instance() { echo close; }
procd_add_reload_trigger() { echo "trigger $*"; }
. "$1"
start_service
service_triggers
"#;

#[test]
fn openwrt_options_are_flags() {
    let root = Root::new("openwrt");
    root.make("install", "procd");
    let mut command = Command::new("/bin/sh");
    command.args(["-euc", RC_COMMON, "rc.common"]).arg(root.0.join(SCRIPT));
    let output = command.output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("text");
    let expected = "open
arg /opt/roomd/bin/roomd
config roomd
arg --max-clients
arg 100
arg --listen
arg [::]:8000
arg --allow-host
arg chat.lan
arg --allow-host
arg chat example
close
trigger roomd
";
    assert_eq!(said, expected);
}
