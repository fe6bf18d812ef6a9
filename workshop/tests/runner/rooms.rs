//! The house of the runner: which rooms of `workshop/src` use which, and that nothing goes in a circle.

use std::collections::{BTreeMap, BTreeSet};

use ghosts::checkout::Checkout;

const SOURCE: &str = "workshop/src";
/// Each room with those that it uses.
const ROOMS: [(&str, &[&str]); 6] = [
    ("catalogue", &[]),
    ("read", &["catalogue"]),
    ("learn", &["read", "catalogue"]),
    ("train", &["read", "catalogue"]),
    ("conform", &["catalogue"]),
    ("make", &["read", "conform", "catalogue"]),
];
/// The command line, which uses every room and is used by none. The other files at the top use no room.
const FRONT: [&str; 3] = ["main.rs", "cli.rs", "completions.rs"];
/// The most files at the top.
const TOP: usize = 12;

/// Every file, below `workshop/src`, with those that it uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn rooms_use_those_that_they_may_use() {
    let uses = uses();
    let all = uses.iter().flat_map(|(file, used)| used.iter().map(move |other| (file, other)));
    let refused: Vec<_> = all.filter(|(file, other)| !allowed(file, other)).collect();
    assert!(refused.is_empty(), "the first uses the second, and nothing may go there: {refused:#?}");
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut left = uses();
    // What uses nothing that is left, or is used by nothing that is left, is in no circle.
    let outside = |left: &Uses| {
        let used = |file| left.values().any(|uses| uses.contains(file));
        left.iter().find(|(file, uses)| uses.is_empty() || !used(*file)).map(|(file, _)| file.clone())
    };
    while let Some(file) = outside(&left) {
        left.remove(&file);
        left.values_mut().for_each(|used| used.retain(|other| *other != file));
    }
    assert!(left.is_empty(), "these go in a circle, or from one to another: {left:#?}");
}

#[test]
fn whoever_comes_in_sees_rooms_and_few_files() {
    let files = uses();
    let top: Vec<&String> = files.keys().filter(|file| !file.contains('/')).collect();
    assert!(top.len() <= TOP, "{} files stand at the top: {top:?}", top.len());
    let rooms: BTreeSet<&str> = files.keys().filter_map(|file| file.split_once('/')).map(|(room, _)| room).collect();
    assert_eq!(rooms, ROOMS.iter().map(|(room, _)| *room).collect());
    let uses_a_room = |room: &str| files.values().flatten().any(|used| used.starts_with(&format!("{room}/")));
    assert!(ROOMS.iter().all(|(room, _)| uses_a_room(room)), "the uses are found: {files:#?}");
}

#[test]
fn a_use_is_found_however_it_is_written() {
    let source = "use crate::{\n    Refusal,\n    learn::{exercise::Exercise, start},\n};\nuse super::{case::*, super::b as c};\n// crate::no\n";
    let found: Vec<String> = paths(source).iter().map(|path| path.join("::")).collect();
    let expected = ["crate::Refusal", "crate::learn::exercise::Exercise", "crate::learn::start", "super::case"];
    assert_eq!(found[..4], expected);
    assert!(found.contains(&"super::super::b".to_owned()), "{found:?}");
}

fn allowed(file: &str, other: &str) -> bool {
    let room =
        |file: &str| ROOMS.iter().find(|(room, _)| file.split_once('/').is_some_and(|(first, _)| first == *room));
    match (room(file), room(other)) {
        _ if FRONT.contains(&file) => true,
        _ if FRONT.contains(&other) => false,
        (_, None) => true,
        (None, Some(_)) => false,
        (Some((one, uses)), Some((another, _))) => one == another || uses.contains(another),
    }
}

/// What every file uses, without what it declares: `lib.rs` is the map of the house.
fn uses() -> Uses {
    let (checkout, mut files) = (Checkout::here(), Vec::new());
    collect(&checkout, "", &mut files);
    let of_file = |file: &String| {
        let source = checkout.text(&format!("{SOURCE}/{file}")).expect("a source");
        let module: Vec<&str> = module(file);
        let declared =
            source.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
        let declared = declared.filter(|_| file != "lib.rs").map(|child| vec!["self", child]);
        let all = paths(&source).into_iter().chain(declared);
        let used = all.map(|path| used(&module, &path, &files)).filter(|used| used != file);
        (file.clone(), used.collect())
    };
    files.iter().map(of_file).collect()
}

fn collect(checkout: &Checkout, folder: &str, files: &mut Vec<String>) {
    for name in checkout.names(&format!("{SOURCE}/{folder}")) {
        let name = format!("{folder}{name}");
        if name.ends_with(".rs") {
            files.push(name);
        } else {
            collect(checkout, &format!("{name}/"), files);
        }
    }
}

/// The module that a file is: none for `lib.rs`.
fn module(file: &str) -> Vec<&str> {
    file.trim_end_matches(".rs").split('/').filter(|name| *name != "lib").collect()
}

/// The file in which a path ends; what stands in no other file stands in `lib.rs`.
fn used(module: &[&str], path: &[&str], files: &[String]) -> String {
    let mut at = if path[0] == "crate" { Vec::new() } else { module.to_vec() };
    let mut found = "lib.rs".to_owned();
    for name in path {
        match *name {
            "crate" | "self" => continue,
            "super" => drop(at.pop()),
            name => at.push(name),
        }
        let file = format!("{}.rs", at.join("/"));
        if *name != "super" && files.contains(&file) {
            found = file;
        }
    }
    found
}

/// The paths of our own in a source, whether in a `use` or where something is used.
fn paths(source: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    for begin in ["crate::", "super::", "self::"] {
        for (at, _) in source.match_indices(begin) {
            let line = source[..at].rsplit('\n').next().unwrap_or_default();
            let inside =
                source[..at].ends_with(|letter: char| letter.is_alphanumeric() || [':', '_'].contains(&letter));
            if !inside && !line.trim_start().starts_with("//") {
                tree(&source[at..], &[], &mut found);
            }
        }
    }
    found
}

/// Reads one path, or several in braces, that go on from `before`; returns what comes after.
fn tree<'a>(text: &'a str, before: &[&'a str], found: &mut Vec<Vec<&'a str>>) -> &'a str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let path: Vec<&str> = before.iter().copied().chain(Some(name).filter(|name| !name.is_empty())).collect();
    if let Some(after) = rest.strip_prefix("::") {
        return tree(after, &path, found);
    }
    if !name.is_empty() || !rest.starts_with('{') {
        found.push(path);
        return rest;
    }
    while !rest.starts_with('}') {
        // Past the brace, the comma, or whatever else separates them.
        let mut letters = rest.chars();
        letters.next();
        rest = letters.as_str().trim_start();
        if !rest.starts_with('}') && !rest.is_empty() {
            rest = tree(rest, before, found);
        } else if rest.is_empty() {
            return rest;
        }
    }
    &rest[1..]
}
