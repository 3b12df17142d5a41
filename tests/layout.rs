//! The order of the folders in `src/`: imports point downwards, and no two folders need each other.
//!
//! Code of tests and of the fuzzer may import what it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders, and files in none, from top to bottom. Each imports only from lower floors, or from its own
/// as long as that closes no cycle.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["server"],
    &["http"],
    &["client"],
    &["room"],
    &["outbox", "engine"],
    &["history"],
    &["wire", "net", "metrics"],
    &["lan"],
    &["config", "reasons", "rate", "logger", "sync", "excerpt"],
];

/// Files that only tests and the fuzzer use, as do those in folders `model`, and the one that names all folders.
const LEFT_OUT: &[&str] =
    &["tests.rs", "fuzz_target.rs", "model.rs", "testing.rs", "fuzzing.rs", "lib.rs"];

/// Files directly in `src/`: what has more belongs in a folder.
const MOST_FILES: usize = 10;

#[test]
fn imports_point_downwards() {
    let upwards = imports().into_iter().filter(|import| floor(&import.folder) > floor(&import.to));
    let faults: Vec<_> =
        upwards.map(|Import { file, to, .. }| format!("src/{file} imports crate::{to}")).collect();
    assert!(faults.is_empty(), "upwards: {}", faults.join(", "));
}

#[test]
fn no_two_folders_need_each_other() {
    let mut graph = Graph::new();
    for Import { folder, to, .. } in imports() {
        graph.entry(folder).or_default().insert(to);
    }
    assert_eq!(cycle(&graph), None);
}

#[test]
fn few_files_are_in_no_folder() {
    let files = sources().into_iter().filter(|file| !file.contains('/')).collect::<Vec<_>>();
    assert!(files.len() <= MOST_FILES, "directly in src/: {files:?}");
}

/// The folder of the importing file (or its name, if it is in none) needs this folder or file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    file: String,
    folder: String,
    to: String,
}

type Graph = BTreeMap<String, BTreeSet<String>>;

/// The higher the number, the lower the floor.
fn floor(folder: &str) -> usize {
    let floor = FLOORS.iter().position(|floor| floor.contains(&folder));
    floor.unwrap_or_else(|| panic!("on which floor is src/{folder}? FLOORS does not say"))
}

/// The folders of a cycle, if there is one.
fn cycle(graph: &Graph) -> Option<Vec<&str>> {
    fn walk<'a>(graph: &'a Graph, from: &'a str, path: &mut Vec<&'a str>) -> bool {
        if path.contains(&from) {
            path.push(from);
            return true;
        }
        path.push(from);
        let found = graph.get(from).into_iter().flatten().any(|to| walk(graph, to, path));
        if !found {
            path.pop();
        }
        found
    }
    graph.keys().find_map(|folder| {
        let mut path = Vec::new();
        walk(graph, folder, &mut path).then_some(path)
    })
}

/// All imports from one folder in another.
fn imports() -> BTreeSet<Import> {
    let reexports = reexports(&tokens(&read("lib.rs")));
    let mut imports = BTreeSet::new();
    for file in sources() {
        let name = file.rsplit('/').next().unwrap_or_default();
        if LEFT_OUT.contains(&name) || file.contains("/model/") {
            continue;
        }
        let folder = top(&file).to_string();
        let depth = file.split('/').count() - usize::from(name == "mod.rs");
        for name in imported(&without_tests(tokens(&read(&file))), depth) {
            let to = reexports.get(&name).cloned().unwrap_or(name);
            if to != folder {
                imports.insert(Import { file: file.clone(), folder: folder.clone(), to });
            }
        }
    }
    imports
}

/// The folder of a file, or the name of a file in none.
fn top(file: &str) -> &str {
    let top = file.split('/').next().unwrap_or_default();
    top.strip_suffix(".rs").unwrap_or(top)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).expect("a source file")
}

/// All source files, as paths from `src/`.
fn sources() -> Vec<String> {
    fn walk(folder: &Path, files: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let path = path.strip_prefix(root()).expect("it is in there");
                files.push(path.to_str().expect("a name in UTF-8").to_string());
            }
        }
    }
    let mut files = Vec::new();
    walk(&root(), &mut files);
    files
}

/// The names and signs of the code, without comments and literals.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(len) = literal(rest) {
            len
        } else if rest.starts_with("::") {
            tokens.push("::".to_string());
            2
        } else if is_word(first) {
            let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(rest[..len].to_string());
            len
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[len..];
    }
    tokens
}

/// The length of the string or character that the code begins with, if it does.
fn literal(code: &str) -> Option<usize> {
    let raw = code.strip_prefix('b').unwrap_or(code).strip_prefix('r');
    if let Some(raw) = raw.filter(|raw| raw.trim_start_matches('#').starts_with('"')) {
        let hashes = raw.find('"')?;
        let end = format!("\"{}", &raw[..hashes]);
        let begin = code.len() - raw.len() + hashes + 1;
        return Some(begin + code[begin..].find(&end)? + end.len());
    }
    let quote = code.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut chars = code.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return Some(at + 1),
            // A lifetime.
            _ if quote == '\''
                && code[1..at].chars().count() >= 1
                && !code[1..].starts_with('\\') =>
            {
                return Some(1);
            }
            _ => {}
        }
    }
    None
}

/// The code without what is compiled for tests or the fuzzer alone.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "#" && tokens.get(at + 1).is_some_and(|next| next == "[") {
            let end = closing(&tokens, at + 1);
            let attribute = &tokens[at + 2..end];
            let has = |word: &str| attribute.iter().any(|token| token == word);
            if attribute.first().is_some_and(|first| first == "cfg")
                && (has("test") || has("fuzzing") || has("shuttle"))
                && !has("not")
            {
                at = item_end(&tokens, end + 1);
                continue;
            }
        }
        kept.push(tokens[at].clone());
        at += 1;
    }
    kept
}

/// Where the bracket closes that opens at this place.
fn closing(tokens: &[String], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!("a bracket does not close");
}

/// Behind the item, field or statement at this place.
fn item_end(tokens: &[String], mut at: usize) -> usize {
    let is_use = |at: usize| tokens[at..].iter().take(6).any(|token| token == "use");
    let ends_with_block = !is_use(at);
    while at < tokens.len() {
        match tokens[at].as_str() {
            ";" | "," => return at + 1,
            "{" if ends_with_block => return closing(tokens, at) + 1,
            "(" | "[" | "{" => at = closing(tokens, at) + 1,
            ")" | "]" | "}" => return at,
            _ => at += 1,
        }
    }
    at
}

/// What follows `crate::` in the code, or as many `super::` as lead there from a module that is
/// so deep.
fn imported(tokens: &[String], depth: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_path = |at: usize, word: &str| {
            tokens[at] == word && tokens.get(at + 1).is_some_and(|next| next == "::")
        };
        let mut above = 0;
        while at < tokens.len() && is_path(at, "super") {
            above += 1;
            at += 2;
        }
        if above >= depth && above > 0 {
            first_names(tokens, at, &mut names);
        } else if above == 0 && is_path(at, "crate") {
            at += 2;
            first_names(tokens, at, &mut names);
        } else {
            at += 1;
        }
    }
    names
}

/// The name at this place, or the first ones of each path in a group.
fn first_names(tokens: &[String], at: usize, names: &mut BTreeSet<String>) {
    match tokens.get(at).map(String::as_str) {
        Some("{") => {
            let end = closing(tokens, at);
            let mut at = at + 1;
            while at < end {
                names.insert(tokens[at].clone());
                while at < end && tokens[at] != "," {
                    at = if tokens[at] == "{" { closing(tokens, at) + 1 } else { at + 1 };
                }
                at += 1;
            }
        }
        Some(name) => drop(names.insert(name.to_string())),
        None => {}
    }
}

/// What `lib.rs` gives out under its own name, and from where.
fn reexports(tokens: &[String]) -> BTreeMap<String, String> {
    let mut reexports = BTreeMap::new();
    for statement in tokens.split(|token| token == ";") {
        let Some(at) = statement.windows(2).position(|pair| pair == ["pub", "use"]) else {
            continue;
        };
        let path = &statement[at + 2..];
        let names: Vec<&String> = match path.iter().position(|token| token == "{") {
            Some(open) => path[open + 1..].iter().filter(|token| *token != ",").collect(),
            None => path.last().into_iter().collect(),
        };
        reexports.extend(names.into_iter().map(|name| (name.clone(), path[0].clone())));
    }
    reexports
}

fn names_in(code: &str, depth: usize) -> Vec<String> {
    imported(&without_tests(tokens(code)), depth).into_iter().collect()
}

#[test]
fn imports_are_found_however_they_are_written() {
    for (code, names) in [
        ("use crate::http;", &["http"][..]),
        ("pub use crate::room::hub::{Hub, event};", &["room"]),
        (
            "use crate::{\n    net::{a, b},\n    room,\n    wire::c as d,\n};",
            &["net", "room", "wire"],
        ),
        ("fn f() -> crate::wire::Frame { crate::net::g::<'a'>() }", &["net", "wire"]),
        ("fn f<'a>(x: &'a str) { let y = ('\\'', b\"\\\"\", 'x'); crate::lan::g() }", &["lan"]),
        ("use super::super::wire; use super::queue;", &["wire"]),
        ("use super::{super::x};", &[]),
        ("#[cfg(not(test))] use crate::http;", &["http"]),
        ("#[cfg(test)] pub(crate) mod tests { use crate::http; } use crate::net;", &["net"]),
        ("#[cfg(any(test, fuzzing))] use crate::{http, room}; use crate::net;", &["net"]),
        ("struct A { #[cfg(test)] b: crate::http::B, c: crate::net::C }", &["net"]),
        ("//! [`crate::http`]\n/// crate::http\n/* crate::http */ \"crate::http\"", &[]),
        ("r#\"crate::http \"quoted\" \"#; pub(crate) fn f() {}", &[]),
    ] {
        assert_eq!(names_in(code, 2), names, "{code}");
    }
}

#[test]
fn a_cycle_is_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry(from.to_string()).or_default().insert(to.to_string());
        }
        graph
    };
    assert_eq!(cycle(&graph(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
    let around = graph(&[("a", "b"), ("b", "c"), ("c", "b")]);
    assert_eq!(cycle(&around), Some(vec!["a", "b", "c", "b"]));
}
