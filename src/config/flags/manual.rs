//! The man page and the shells' completions, made from the table of flags.
//!
//! The program does not need them, so this is part of the tests alone, which say when a file is
//! not what the table gives. `make manual` has them write the files instead.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use log::LevelFilter;

use super::{ENGINE_PASSWORD, FLAGS, Flag};

/// What every file says about itself.
const ORIGIN: &str = "made from the table in src/config/flags.rs by `make manual`";

/// The flags that are not in the table: letter, name, what they do.
const OTHERS: [(char, &str, &str); 2] =
    [('h', "help", "print what there is"), ('V', "version", "print the version")];

const DESCRIPTION: &str = r#"
.B roomd
serves a chat room on one port.
Who opens
.BI http:// HOST : PORT /
in a browser talks with everybody who has the page open;
.B /echo
is the same page as a test of the connection.
Programs join the same room with a WebSocket at
.BI /ws/ CLIENT_ID\fR,
where
.I CLIENT_ID
is an integer of their choice: each text they send goes to everybody,
themselves too.
.B /ws
answers each text with an echo of it.
.PP
There is no account and no encryption: who reaches the port reads along and may
write.
Unless told otherwise,
.B roomd
listens on loopback, where this machine alone can reach it.
"#;

const BEHIND_THE_OPTIONS: &str = r#".SH EXIT STATUS
.TP
.B 0
It was stopped by a signal, or has printed what was asked for.
.TP
.B 1
It could not start, or failed.
Standard error has a line that says why, and what to do.
.TP
.B 2
The command line or a variable could not be understood, or another
.B roomd
uses the folder of
.BR \-\-state\-dir .
.SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT ", " SIGHUP
Nobody is let in any more, what was said still goes out, and everybody is
disconnected with close code 1001.
That takes a few seconds at most, even with clients that are stuck.
.SH FILES
Only with
.BI \-\-state\-dir " DIR"\fR:
.TP
.IB DIR /lock
One server at a time uses the folder.
.TP
.IB DIR /secret
From this the tags of clients are made; without it they get others.
.TP
.IB DIR / ROOM / NUMBER .log
The messages of a room from that number on, one JSON object in each line.
.TP
.IB DIR / ROOM / NUMBER .bad
A file of which nothing could be read.
.SH EXAMPLES
The room on http://localhost:8000/, for this machine:
.PP
.RS
.EX
roomd
.EE
.RE
.PP
For the whole network, over IPv4 and IPv6:
.PP
.RS
.EX
roomd \-\-listen [::]:8000
.EE
.RE
.PP
Publish a message in the room lab, and hear what is said there:
.PP
.RS
.EX
curl \-d 'pump 3 stopped' 'http://localhost:8000/lab?name=pump'
curl \-N http://localhost:8000/lab
.EE
.RE
.PP
Behind a proxy that serves it as chat.example:
.PP
.RS
.EX
roomd \-\-allow\-host chat.example
.EE
.RE
.PP
The same, with a variable:
.PP
.RS
.EX
ROOMD_ALLOW_HOST=chat.example roomd
.EE
.RE
"#;

/// The values a flag takes, if they are few.
fn values(flag: &Flag) -> String {
    match flag.name {
        "log-level" => {
            let levels = LevelFilter::iter().map(|level| level.as_str().to_lowercase());
            levels.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

/// A text for roff, where a hyphen is not a minus, a backslash is a command, and a line is short.
fn roff(text: &str) -> String {
    let mut out = String::new();
    let mut len = 0;
    for word in text.split(' ') {
        let word = word.replace('\\', r"\e").replace('-', r"\-");
        if len + word.len() >= 80 {
            out.push('\n');
            len = 0;
        } else if len > 0 {
            out.push(' ');
        }
        len += word.len() + 1;
        out.push_str(&word);
    }
    out
}

fn man() -> String {
    let mut out = format!(
        ".\\\" {ORIGIN}\n.TH ROOMD 1 2026-11-30 \"roomd {}\" \"User Commands\"\n\
         .SH NAME\nroomd \\- chat room and message hub on one port\n\
         .SH SYNOPSIS\n.B roomd\n.RI [ OPTION \" [\" VALUE ]]...\n\
         .SH DESCRIPTION{DESCRIPTION}.SH OPTIONS\n\
         Times are seconds, or have a unit: 2.5, 500ms.\n",
        env!("CARGO_PKG_VERSION")
    );
    for flag in FLAGS {
        let value = match flag.takes.word() {
            "" => String::new(),
            value => format!(" \\fI{}\\fR", roff(value)),
        };
        let _ = write!(
            out,
            ".TP\n\\fB\\-\\-{}\\fR{value}\n{}\n.br\n{}\n",
            roff(flag.name),
            roff(flag.help),
            roff(&format!("[default: {}]", flag.default))
        );
    }
    for (letter, name, help) in OTHERS {
        let _ = write!(out, ".TP\n.BR \\-{letter} \", \" \\-\\-{name}\n{help}\n");
    }
    let variables: Vec<_> = FLAGS.iter().map(Flag::variable).collect();
    let _ = write!(
        out,
        ".SH ENVIRONMENT\nEach option has a variable, which counts where the option is not given:\n\
         .BR {} .\n.PP\nThe password for the engine may be in\n.BR {ENGINE_PASSWORD} ,\n\
         and in no option, since others see those.\n",
        variables.join(" ,\n.BR ")
    );
    out.push_str(BEHIND_THE_OPTIONS);
    out
}

fn bash() -> String {
    let mut known = String::new();
    let mut unknown = Vec::new();
    let mut all = Vec::new();
    for flag in FLAGS {
        let name = format!("--{}", flag.name);
        let values = values(flag);
        if !values.is_empty() {
            let _ = writeln!(known, "        {name}) words='{values}' ;;");
        } else if !flag.takes.word().is_empty() {
            unknown.push(name.clone());
        }
        all.push(name);
    }
    all.extend(OTHERS.map(|(_, name, _)| format!("--{name}")));
    format!(
        "# bash completion for roomd; {ORIGIN}\n\
         _roomd() {{\n\
         {I}local word=${{COMP_WORDS[COMP_CWORD]}} flag=${{COMP_WORDS[COMP_CWORD - 1]}} words=\n\
         {I}# --flag=value comes as three words.\n\
         {I}if [[ $word == = ]]; then\n\
         {I}{I}word=\n\
         {I}elif [[ $flag == = ]]; then\n\
         {I}{I}flag=${{COMP_WORDS[COMP_CWORD - 2]}}\n\
         {I}fi\n\
         {I}case $flag in\n\
         {known}\
         {I}{I}{}) ;;\n\
         {I}{I}*) words='{}' ;;\n\
         {I}esac\n\
         {I}mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n\
         }}\n\
         complete -F _roomd roomd\n",
        unknown.join(" | "),
        all.join(" "),
        I = "    ",
    )
}

fn zsh() -> String {
    let escape = |text: &str| {
        ['\\', '[', ']', ':']
            .iter()
            .fold(text.to_string(), |text, mark| text.replace(*mark, &format!("\\{mark}")))
            .replace('\'', r"'\''")
    };
    let mut out = format!("#compdef roomd\n# zsh completion for roomd; {ORIGIN}\n_arguments \\\n");
    for flag in FLAGS {
        let again = if flag.help.contains("repeat") { "*" } else { "" };
        let (sign, value) = match (flag.takes.word(), values(flag)) {
            ("", _) => ("", String::new()),
            (value, values) if values.is_empty() => ("=", format!(":{}: ", escape(value))),
            (value, values) => ("=", format!(":{}:({values})", escape(value))),
        };
        let _ =
            writeln!(out, "    '{again}--{}{sign}[{}]{value}' \\", flag.name, escape(flag.help));
    }
    let others = OTHERS.map(|(letter, name, help)| {
        format!("    '(- *)'{{-{letter},--{name}}}'[{}]'", escape(help))
    });
    out.push_str(&others.join(" \\\n"));
    out.push('\n');
    out
}

fn fish() -> String {
    let escape = |text: &str| text.replace('\\', r"\\").replace('\'', r"\'");
    let mut out = format!("# fish completion for roomd; {ORIGIN}\ncomplete -c roomd -f\n");
    for flag in FLAGS {
        let value = match (flag.takes.word(), values(flag)) {
            ("", _) => String::new(),
            (_, values) if values.is_empty() => " -x".into(),
            (_, values) => format!(" -x -a '{values}'"),
        };
        let _ =
            writeln!(out, "complete -c roomd -l {}{value} -d '{}'", flag.name, escape(flag.help));
    }
    for (letter, name, help) in OTHERS {
        let _ = writeln!(out, "complete -c roomd -s {letter} -l {name} -d '{}'", escape(help));
    }
    out
}

#[test]
fn the_manual_and_the_completions_are_what_the_table_gives() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, made) in [
        ("roomd.1", man()),
        ("completions/roomd.bash", bash()),
        ("completions/_roomd", zsh()),
        ("completions/roomd.fish", fish()),
    ] {
        let path = docs.join(name);
        if env::var_os("MANUAL").is_some() {
            fs::write(&path, made).expect(name);
        } else {
            let there = fs::read_to_string(&path).unwrap_or_default();
            assert!(there == made, "docs/{name} is out of date; `make manual` makes it anew");
        }
    }
}
