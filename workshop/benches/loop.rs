//! From a save to the verdict: `ghosts check` on an exercise beside `cargo test` in a bare hello-world crate of axum, after the
//! same edit, side by side in one run. The goal is 1.2 times.
//!
//! Everything happens in a copy of this workspace below the target directory, so no learner's file is touched. Both crates
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

use ghosts::{exercise, ghosts::ALL};

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
    println!("medians of {rounds} rounds, both in each; the goal is {GOAL} times hello world\n");
    println!("{:26}{:>14}{:>16}{:>8}", "exercise", "cargo test", "ghosts check", "ratio");
    let named: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for ghost in ALL.iter().filter(|ghost| named.is_empty() || named.iter().any(|slug| slug == ghost.slug)) {
        let mut exercise = Crate::exercise(&copy, ghost.slug);
        // Warm: all is built, and every file was read.
        for number in 0..2 {
            hello.judged_after_edit(number);
            exercise.judged_after_edit(number);
        }
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for number in 2..2 + rounds {
            theirs.push(hello.judged_after_edit(number));
            ours.push(exercise.judged_after_edit(number));
        }
        // Within a round, so that whatever else the machine does disturbs both alike.
        let ratios = theirs.iter().zip(&ours).map(|(theirs, ours)| ours.as_secs_f64() / theirs.as_secs_f64());
        let ratio = median(ratios.collect());
        let (theirs, ours) = (median(theirs), median(ours));
        let goal = if ratio <= GOAL { "met" } else { "missed" };
        println!("{:26}{:>11} ms{:>13} ms{ratio:>8.2}  {goal}", ghost.slug, theirs.as_millis(), ours.as_millis());
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
        let source = exercise::folder(copy, slug).join("src/lib.rs");
        let text = fs::read_to_string(&source).expect("a file of our own");
        let mut judge = ghosts();
        judge.args(["check", slug]);
        Self { source, text, judge }
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
