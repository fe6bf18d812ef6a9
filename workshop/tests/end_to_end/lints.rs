//! Which lints fall on which broken twin: the table of the book, made by running clippy and compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
};

use ghosts::{catalogue::ghosts::ALL, checkout::Checkout};
use serde_json::Value;

const TABLE: &str = "book/lints.md";
/// Every lint that clippy has, and rustc's groups beside those that are on.
const ALLOWED: [&str; 10] = [
    "clippy::all",
    "clippy::cargo",
    "clippy::nursery",
    "clippy::pedantic",
    "clippy::restriction",
    "future-incompatible",
    "keyword-idents",
    "let-underscore",
    "nonstandard-style",
    "unused",
];

/// How often each lint falls on a file, and on which lines.
type Falls = BTreeMap<String, BTreeMap<String, Vec<(u64, u64)>>>;

#[test]
fn the_table_of_lints_is_what_clippy_says_now() {
    let checkout = Checkout::here();
    let made = table(checkout.root());
    if std::env::var_os("UPDATE_LINTS").is_some() {
        fs::write(checkout.root().join(TABLE), &made).expect("the table can be written");
    }
    let there = checkout.text(TABLE).unwrap_or_default();
    let again = "UPDATE_LINTS=1 cargo test -p ghosts --features end-to-end --test end_to_end lints";
    assert!(there == made, "{TABLE} is not what clippy says now; {again} writes\n{made}");
}

fn table(root: &Path) -> String {
    let falls = falls(root);
    let mut text = format!("<!-- made by running {}; a test of the end-to-end suite compares -->\n", version());
    text += "| ghost | on the lines of the defect | more often than on the fixed twin | expected there, with a reason |\n|---|---|---|---|\n";
    for ghost in ALL.iter() {
        let (mut there, mut more, mut expected) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let file = |tree: &str, name: &str| format!("{tree}/{}/src/{name}", ghost.slug);
        for name in ["lib.rs", "shared.rs"] {
            let source = fs::read_to_string(root.join(file("cases", name))).unwrap_or_default();
            let lines = defect(&source);
            for (lint, files) in &falls {
                let on = |tree| files.get(&file(tree, name)).map_or(&[][..], Vec::as_slice);
                let (broken, fixed) = (on("cases"), on("fixed"));
                if broken.iter().any(|(from, to)| (*from..=*to).any(|line| lines.contains(&line))) {
                    there.insert(lint.as_str());
                }
                if broken.len() > fixed.len() {
                    more.insert(lint.as_str());
                }
            }
            expected.extend(
                source.split("#[expect(").skip(1).filter_map(|rest| rest.split([',', ')']).next()).map(str::to_owned),
            );
        }
        let cell = |lints: Vec<&str>| match lints.is_empty() {
            true => "none".to_owned(),
            false => lints
                .iter()
                .map(|lint| format!("`{}`", lint.trim_start_matches("clippy::")))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let cells =
            [Vec::from_iter(there), Vec::from_iter(more), expected.iter().map(String::as_str).collect()].map(cell);
        writeln!(text, "| `{}` | {} |", ghost.slug, cells.join(" | ")).expect("into a String");
    }
    text
}

/// The lines between the anchors of the defect.
fn defect(source: &str) -> BTreeSet<u64> {
    let mut inside = false;
    let mut lines = BTreeSet::new();
    for (line, text) in (1..).zip(source.lines()) {
        inside = (inside || text.contains("ANCHOR: defect")) && !text.contains("ANCHOR_END: defect");
        if inside {
            lines.insert(line);
        }
    }
    lines
}

fn falls(root: &Path) -> Falls {
    let mut clippy = Command::new(env!("CARGO"));
    clippy.args(["clippy", "--locked", "--lib", "--quiet", "--message-format=json"]).current_dir(root);
    for ghost in ALL.iter() {
        clippy.args(["--package", ghost.slug, "--package", &format!("{}-fixed", ghost.slug)]);
    }
    clippy.arg("--").args(ALLOWED.iter().flat_map(|group| ["-W", group]));
    let output = clippy.output().expect("clippy starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut falls = Falls::new();
    for line in String::from_utf8(output.stdout).expect("text").lines() {
        let message: Value = serde_json::from_str(line).expect("a message of cargo's");
        let Some(lint) = message["message"]["code"]["code"].as_str() else { continue };
        for span in
            message["message"]["spans"].as_array().into_iter().flatten().filter(|span| span["is_primary"] == true)
        {
            let file = span["file_name"].as_str().unwrap_or_default().replace('\\', "/");
            let lines = (span["line_start"].as_u64().unwrap_or(0), span["line_end"].as_u64().unwrap_or(0));
            falls.entry(lint.to_owned()).or_default().entry(file).or_default().push(lines);
        }
    }
    falls
}

fn version() -> String {
    let output = Command::new(env!("CARGO")).args(["clippy", "--version"]).output().expect("clippy starts");
    // The commit and the date are those of the compiler's build.
    String::from_utf8_lossy(&output.stdout).split(" (").next().unwrap_or_default().trim().to_owned()
}
