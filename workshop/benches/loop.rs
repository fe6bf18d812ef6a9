//! From a save to the verdict: `ghosts check` on an exercise beside `cargo test` in a bare hello-world crate of axum, after the
//! same edit, side by side in one run. The goal is 1.2 times. An exercise has a hundred lines that have to be compiled, and
//! hello world has five: beside both stands a bare crate with the exercise's own code and dependencies and nothing that judges
//! it: no check can be quicker than that.
//!
//! Everything happens in a copy of this workspace below the target directory, so no learner's file is touched. All crates
//! are built with the same lock file, the same profile and the same target directory, and once beforehand: what is measured is
//! warm. The edit changes a number in the body of `app`, so that the compiler and the linker have something to do. `cargo ghosts
//! check` takes longer than `ghosts check` by what cargo needs to find that the runner is fresh; `ghosts watch` pays that
//! once, and waits 80 ms after a save until an editor has done its writing.
//!
//! A learner's runner is not optimised: `cargo bench -p ghosts --profile dev --bench loop`, with slugs at the end to measure
//! only those.

#[path = "../tests/copy/mod.rs"]
mod copy;
#[expect(dead_code, reason = "only the other benches serve")]
mod surroundings;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use ghosts::{
    catalogue::{exercise_files::JUDGED, ghosts::ALL},
    checkout::Checkout,
};

use crate::copy::{of_the_workspace, target};

/// What a check may take, in times of what hello world takes.
const GOAL: f64 = 1.2;

const HELLO: &str = r#"//! The least that axum can do.

use axum::{Router, routing::get};

fn app() -> Router {
    Router::new().route("/", get(|| async { "hello, world" }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await.expect("a free port");
    axum::serve(listener, app()).await.expect("a server");
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower::ServiceExt;

    #[tokio::test]
    async fn says_hello() {
        let answer = super::app().oneshot(Request::new(Body::empty())).await.expect("no error can happen");
        assert_eq!(answer.status(), 200);
    }
}
"#;

fn main() {
    let rounds = if surroundings::rehearsal() { 1 } else { 9 };
    let copy = of_the_workspace("loop");
    let mut hello = Crate::hello(&copy);
    println!("\nfrom save to verdict, {}", surroundings::machine());
    println!("medians of {rounds} rounds, all three in each; the goal is {GOAL} times hello world\n");
    println!("{:26}{:>12}{:>17}{:>17}", "", "hello world", "the same code", "exercise");
    println!("{:26}{:>12}{:>17}{:>17}{:>15}", "exercise", "cargo test", "cargo test", "ghosts check", "times of both");
    let named: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for ghost in ALL.iter().filter(|ghost| named.is_empty() || named.iter().any(|slug| slug == ghost.slug)) {
        let mut exercise = Crate::exercise(&copy, ghost.slug);
        let mut bare = Crate::bare(&copy, ghost.slug);
        // Warm: all is built, and every file was read.
        for number in 0..2 {
            for one in [&mut hello, &mut bare, &mut exercise] {
                one.judged_after_edit(number);
            }
        }
        let taken: Vec<[Duration; 3]> = (2..2 + rounds)
            .map(|number| [&mut hello, &mut bare, &mut exercise].map(|one| one.judged_after_edit(number)))
            .collect();
        // Within a round, so that whatever else the machine does disturbs all alike.
        let times = |of: usize| median(taken.iter().map(|one| one[2].as_secs_f64() / one[of].as_secs_f64()).collect());
        let ms = |of: usize| median(taken.iter().map(|one| one[of].as_millis()).collect());
        let goal = if times(0) <= GOAL { "met" } else { "missed" };
        println!(
            "{:26}{:>9} ms{:>14} ms{:>14} ms{:>8.2} /{:5.2}  {goal}",
            ghost.slug,
            ms(0),
            ms(1),
            ms(2),
            times(0),
            times(1)
        );
    }
}

/// A crate that is edited and judged.
struct Crate {
    /// The file with `app`.
    source: PathBuf,
    text: String,
    judge: Command,
}

impl Crate {
    fn hello(copy: &Path) -> Self {
        let manifest: toml::Table =
            fs::read_to_string(copy.join("Cargo.toml")).expect("our manifest").parse().expect("a manifest");
        let mut own: toml::Table =
            "[package]\nname = \"hello\"\nedition = \"2024\"\n[workspace]".parse().expect("a manifest");
        let wanted = ["axum", "tokio", "tower"]
            .map(|name| (name.to_owned(), manifest["workspace"]["dependencies"][name].clone()));
        own.insert("dependencies".to_owned(), toml::Table::from_iter(wanted).into());
        own.insert("profile".to_owned(), manifest["profile"].clone());
        // As cargo would without the root's word, and as in an exercise.
        own["profile"]["dev"]["incremental"] = true.into();
        let folder = copy.join("hello");
        fs::create_dir_all(folder.join("src")).expect("a folder of our own");
        fs::write(folder.join("Cargo.toml"), own.to_string()).expect("a file of our own");
        fs::copy(copy.join("Cargo.lock"), folder.join("Cargo.lock")).expect("a file of our own");
        let mut judge = Command::new(env!("CARGO"));
        judge.arg("test").current_dir(folder).env("CARGO_TARGET_DIR", target());
        Self { source: copy.join("hello/src/main.rs"), text: HELLO.to_owned(), judge }
    }

    fn exercise(copy: &Path, slug: &str) -> Self {
        let ghosts = || {
            let mut ghosts = Command::new(env!("CARGO_BIN_EXE_ghosts"));
            ghosts.current_dir(copy).env("CARGO_TARGET_DIR", target());
            ghosts
        };
        let started = ghosts().args(["start", slug]).output().expect("the runner starts");
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let source = Checkout::at(copy).exercises().join(slug).join("src/lib.rs");
        let text = fs::read_to_string(&source).expect("a file of our own");
        let mut judge = ghosts();
        judge.args(["check", slug]);
        Self { source, text, judge }
    }

    /// The exercise's code with no promises, and a test that only has it compiled.
    fn bare(copy: &Path, slug: &str) -> Self {
        let exercise = Checkout::at(copy).exercises().join(slug);
        let folder = copy.join("exercises").join(format!("{slug}-bare"));
        fs::create_dir_all(folder.join("src")).expect("a folder of our own");
        let manifest = fs::read_to_string(exercise.join("Cargo.toml")).expect("a manifest");
        let mut manifest: toml::Table = manifest.parse().expect("a manifest");
        for part in ["dev-dependencies", "target", "workspace"] {
            manifest.remove(part);
        }
        manifest.insert("workspace".to_owned(), toml::Table::new().into());
        manifest["package"]["name"] = format!("{slug}-bare").into();
        let profile = manifest["profile"]["dev"]["package"].as_table_mut().expect("the profile of one package");
        if let Some(own) = profile.remove(&format!("{slug}-exercise")) {
            profile.insert(format!("{slug}-bare"), own);
        }
        fs::write(folder.join("Cargo.toml"), manifest.to_string()).expect("a file of our own");
        fs::copy(copy.join("Cargo.lock"), folder.join("Cargo.lock")).expect("a file of our own");
        let text = fs::read_to_string(exercise.join("src/lib.rs")).expect("a file of our own");
        let app = text.split(JUDGED.trim()).next().expect("the app comes first");
        let name = if app.contains("pub fn layer(") { "layer" } else { "app" };
        let test = format!("#[test]\nfn it_compiles() {{\n    std::hint::black_box({name} as *const ());\n}}\n");
        if let Ok(core) = fs::read_to_string(exercise.join("src/shared.rs")) {
            fs::write(folder.join("src/shared.rs"), core).expect("a file of our own");
        }
        let mut judge = Command::new(env!("CARGO"));
        judge.arg("test").current_dir(&folder).env("CARGO_TARGET_DIR", target());
        Self { source: folder.join("src/lib.rs"), text: format!("{app}{test}"), judge }
    }

    /// How long it takes from the save to the verdict.
    fn judged_after_edit(&mut self, number: usize) -> Duration {
        let (before, body) =
            self.text.split_at(self.text.find("fn app(").or(self.text.find("fn layer(")).expect("an app"));
        let (signature, body) = body.split_once("{\n").expect("a body");
        let edited = format!("{before}{signature}{{\n    std::hint::black_box({number});\n{body}");
        let begun = Instant::now();
        fs::write(&self.source, edited).expect("a file of our own");
        let output = self.judge.output().expect("it starts");
        let took = begun.elapsed();
        let said = [output.stdout, output.stderr].concat();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&said));
        took
    }
}

fn median<T: PartialOrd>(mut all: Vec<T>) -> T {
    all.sort_by(|one, other| one.partial_cmp(other).expect("times and their ratios are numbers"));
    all.swap_remove(all.len() / 2)
}
