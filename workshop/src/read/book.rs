//! The book: what must be true of its pages before it is built, and how it is built and served.
//!
//! mdBook only logs a missing file and says nothing of a missing anchor, so [`faults`] looks first. `cargo test` and
//! `ghosts book` ask the same function.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use crate::{
    Refusal,
    catalogue::{
        case::{self, Family},
        ghosts,
    },
    checkout::Checkout,
};

mod paper;
mod search;

const SOURCE: &str = "book/src";
/// The languages to choose from, the folder of the translations, and the language that is none.
const LANGUAGES: &str = "book/src/languages.js";
const TRANSLATIONS: &str = "book/po";
const OWN: &str = "en";
const SUMMARY: &str = "book/src/SUMMARY.md";

/// What is wrong with the pages of the book, a sentence each with file, line and name.
///
/// # Errors
/// If a `case.toml` is wrong.
pub fn faults(checkout: &Checkout) -> Result<Vec<String>, Refusal> {
    let mut faults = Vec::new();
    let entries = entries(&checkout.text(SUMMARY).unwrap_or_default());
    let pages: BTreeSet<String> =
        checkout.names(SOURCE).into_iter().filter(|name| name.ends_with(".md") && name != "SUMMARY.md").collect();
    for entry in entries.iter().filter(|entry| !entry.page.is_empty() && !pages.contains(&entry.page)) {
        faults.push(format!("{SUMMARY}:{}: there is no page {SOURCE}/{}", entry.line, entry.page));
    }
    for page in pages.iter().filter(|page| entries.iter().all(|entry| entry.page != **page)) {
        faults.push(format!("{SUMMARY} does not lead to {SOURCE}/{page}"));
    }
    chapters(checkout, &entries, &mut faults)?;
    search::faults(checkout, &mut faults)?;
    languages(checkout, &mut faults);
    for ghost in ghosts::ALL.iter() {
        answers(checkout, &format!("{SOURCE}/{}.md", ghost.slug), &mut faults);
    }
    for page in &pages {
        let name = format!("{SOURCE}/{page}");
        for (number, line) in checkout.text(&name).unwrap_or_default().lines().enumerate() {
            let at = format!("{name}:{}", number + 1);
            for directive in directives(line) {
                if let Some(fault) = unfulfilled(checkout, directive) {
                    faults.push(format!("{at}: {fault}"));
                }
            }
            for link in links(line).filter(|link| !pages.contains(*link)) {
                faults.push(format!("{at}: there is no page {link}"));
            }
            for (target, id) in anchors(line) {
                let target = if target.is_empty() { page } else { target };
                if !checkout.text(&format!("{SOURCE}/{target}")).unwrap_or_default().contains(&format!("{{#{id}}}")) {
                    faults.push(format!("{at}: {target} has no heading with `{{#{id}}}`, which lasts in translation"));
                }
            }
        }
    }
    Ok(faults)
}

/// The languages to choose from are those that there is a translation for, and the book's own.
fn languages(checkout: &Checkout, faults: &mut Vec<String>) {
    let listed = checkout.text(LANGUAGES).unwrap_or_default();
    let listed: BTreeSet<&str> = listed.split("{ code: \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let files = checkout.names(TRANSLATIONS);
    let there: BTreeSet<&str> = files.iter().filter_map(|name| name.strip_suffix(".po")).chain([OWN]).collect();
    for code in there.difference(&listed) {
        faults.push(format!("{LANGUAGES} does not list `{code}`, and the book is there in it"));
    }
    for code in listed.difference(&there) {
        faults.push(format!("{LANGUAGES} lists `{code}`, and there is no {TRANSLATIONS}/{code}.po"));
    }
}

/// The answers of a chapter: each names the test that proves it, as "Proven by `test` in `file`".
fn answers(checkout: &Checkout, name: &str, faults: &mut Vec<String>) {
    let page = checkout.text(name).unwrap_or_default();
    let mut proven = 0;
    for (number, line) in page.lines().enumerate() {
        let Some((_, rest)) = line.split_once("Proven by `") else { continue };
        let mut words = rest.split('`');
        let (test, file) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        if file.is_empty() {
            faults.push(format!(
                "{name}:{}: \"Proven by `{test}` in\" has no file behind it in the same line",
                number + 1
            ));
        } else if checkout.text(file).unwrap_or_default().contains(&format!("fn {test}()")) {
            proven += 1;
        } else {
            faults.push(format!("{name}:{}: there is no test `{test}` in `{file}`", number + 1));
        }
    }
    if proven < 3 {
        faults.push(format!("{name} proves {proven} answers, and should prove three"));
    }
}

/// A line of the summary that leads to a page.
struct Entry {
    line: usize,
    part: String,
    title: String,
    page: String,
}

fn entries(summary: &str) -> Vec<Entry> {
    let (mut part, mut entries) = (String::new(), Vec::new());
    for (number, line) in summary.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("# ") {
            heading.clone_into(&mut part);
        }
        let entry = line.trim_start_matches([' ', '-', '*']).strip_prefix('[').and_then(|rest| rest.split_once("]("));
        if let Some((title, page)) = entry {
            entries.push(Entry {
                line: number + 1,
                part: part.clone(),
                title: title.to_owned(),
                page: page.trim_end().trim_end_matches(')').to_owned(),
            });
        }
    }
    entries
}

/// Each case has its chapter under the heading of its family, and each chapter there has its case.
fn chapters(checkout: &Checkout, entries: &[Entry], faults: &mut Vec<String>) -> Result<(), Refusal> {
    let mut titles = BTreeMap::new();
    for ghost in ghosts::ALL.iter() {
        let case = case::read(checkout, ghost.slug)?;
        let (part, page) = (heading(case.family), format!("{}.md", ghost.slug));
        match entries.iter().find(|entry| entry.title == case.title) {
            None => faults.push(format!("{SUMMARY} lacks the line `- [{}]({page})` under `# {part}`", case.title)),
            Some(entry) => {
                if entry.part != part || entry.page != page {
                    let line = format!("`- [{}]({page})` under `# {part}`", case.title);
                    faults.push(format!("{SUMMARY}:{}: {line} is right", entry.line));
                }
            }
        }
        titles.insert(case.title, page);
    }
    let parts =
        [Family::State, Family::Streams, Family::Failure, Family::Time, Family::Order, Family::Load].map(heading);
    for entry in entries.iter().filter(|entry| parts.contains(&entry.part.as_str())) {
        if !titles.contains_key(&entry.title) {
            faults.push(format!("{SUMMARY}:{}: no case has the title `{}`", entry.line, entry.title));
        }
    }
    Ok(())
}

fn heading(family: Family) -> &'static str {
    match family {
        Family::State => "State",
        Family::Streams => "Streams",
        Family::Failure => "Failure",
        Family::Time => "Time",
        Family::Order => "Order",
        Family::Load => "Load",
    }
}

/// What stands in each `{{#include …}}` of a line, without those that a backslash switches off.
fn directives(line: &str) -> impl Iterator<Item = &str> {
    let begins = line.match_indices("{{").filter(|(at, _)| !line[..*at].ends_with('\\'));
    begins.filter_map(|(at, _)| {
        let inner = line[at + 2..].split_once("}}")?.0.trim_start().strip_prefix('#')?;
        // A verb that mdBook does not know stays in the page as it is: it is named like a file that is not there.
        Some(inner.split_once(char::is_whitespace).map_or(inner, |(verb, rest)| match verb {
            "include" | "rustdoc_include" => rest.trim(),
            _ => inner,
        }))
    })
}

/// Why a directive has nothing to include.
fn unfulfilled(checkout: &Checkout, directive: &str) -> Option<String> {
    let mut parts = directive.split_whitespace().next().unwrap_or_default().splitn(2, ':');
    let (file, part) = (parts.next().unwrap_or_default(), parts.next());
    let Ok(included) = checkout.text(&below_root(file)) else {
        return Some(format!("there is no file {}", below_root(file)));
    };
    let file = below_root(file);
    if [".svg", ".html"].iter().any(|ending| file.ends_with(ending))
        && included.lines().any(|line| line.trim().is_empty())
    {
        return Some(format!("{file} has an empty line, at which Markdown ends the picture"));
    }
    let part = part?;
    if part.starts_with(|first: char| first.is_ascii_digit() || first == ':') {
        let last = part.split(':').filter_map(|number| number.parse::<usize>().ok()).max().unwrap_or(0);
        let lines = included.lines().count();
        return (last > lines).then(|| format!("{file} has {lines} lines and no line {last}"));
    }
    let marked = |mark: &str| {
        included.lines().position(|line| {
            let named = line.split_once(&format!("{mark}:")).map(|(_, rest)| rest.trim_start());
            named.and_then(|rest| rest.strip_prefix(part)).is_some_and(|rest| !rest.starts_with(is_of_anchor))
        })
    };
    match (marked("ANCHOR"), marked("ANCHOR_END")) {
        (Some(begin), Some(end)) if begin + 1 < end => None,
        (Some(_), Some(_)) => Some(format!("the anchor `{part}` of {file} has nothing in it")),
        (Some(_), None) => Some(format!("the anchor `{part}` of {file} has no end")),
        (None, _) => Some(format!("{file} has no anchor `{part}`")),
    }
}

fn is_of_anchor(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '-'
}

/// A path as it stands in a page, as seen from the root of the workspace.
fn below_root(file: &str) -> String {
    let mut path = PathBuf::new();
    for component in Path::new(SOURCE).join(file).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
    }
    path.to_string_lossy().replace('\\', "/")
}

/// The pages to which a line links, without what follows `#`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let reference = line.split_once("]: ").filter(|_| line.starts_with('[')).map(|(_, target)| target.trim());
    targets
        .chain(reference)
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| target.ends_with(".md") && !target.contains("://"))
}

/// What is to become of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It is served on this port until Ctrl-C.
    Served(u16),
    /// It is built, and that is all.
    Built,
    /// It is built and printed.
    Printed,
}

/// The text of a page that a person has written: without what is included, the one thing that's not for translating.
#[cfg(any(test, feature = "book"))]
pub fn own(text: &str) -> String {
    without(text, |line| line.starts_with("{{#include "))
}

/// The text of a page without the lines that are `left_out`, and without the blocks that begin with such a line.
#[cfg(any(test, feature = "book"))]
fn without(text: &str, left_out: impl Fn(&str) -> bool) -> String {
    let mut page = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("```") && lines.peek().is_some_and(|line| left_out(line)) {
            // To its end.
            lines.by_ref().find(|line| line.starts_with("```"));
        } else if !left_out(line) {
            page.push_str(line);
            page.push('\n');
        }
    }
    page
}

/// The headings to which a line links: the page, if it is another, and the id.
fn anchors(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets
        .filter_map(|target| target.split_once('#'))
        .filter(|(page, _)| page.is_empty() || page.ends_with(".md") && !page.contains("://"))
}

#[cfg(not(feature = "book"))]
pub use without_mdbook::run;

/// Without the feature: the command starts itself again, with it.
#[cfg(not(feature = "book"))]
mod without_mdbook {
    use std::process::Command;

    use super::{Wanted, paper};
    use crate::{
        Refusal,
        cargo::{become_it, program},
        checkout::Checkout,
        terminal::print,
    };

    /// Says what follows, and becomes `cargo run --features book -- book …`.
    ///
    /// # Errors
    /// If cargo cannot be started, or the book is to be printed and there is no Chromium.
    pub fn run(checkout: &Checkout, wanted: Wanted) -> Result<bool, Refusal> {
        if wanted == Wanted::Printed {
            paper::chromium()?;
        }
        let faults = super::faults(checkout)?;
        if !faults.is_empty() {
            return Err(Refusal::new(format!("the book cannot be built:\n{}", faults.join("\n"))));
        }
        let mut arguments = vec!["run".to_owned(), "--features".to_owned(), "ghosts/book".to_owned()];
        arguments.extend(["--", "book"].map(str::to_owned));
        match wanted {
            Wanted::Served(port) => arguments.extend(["--port".to_owned(), port.to_string()]),
            Wanted::Built => arguments.push("--build".to_owned()),
            Wanted::Printed => arguments.push("--pdf".to_owned()),
        }
        let line = format!("cargo {}", arguments.join(" "));
        if cfg!(windows) {
            // Windows does not let cargo replace a program that runs.
            return Err(Refusal::new(format!("the book needs mdBook's library; run this: {line}")));
        }
        print(&format!("The book needs mdBook's library, which is built once, in a minute or two: {line}\n"))?;
        let mut cargo = Command::new(program("CARGO", "cargo"));
        cargo.args(arguments).current_dir(checkout.root());
        Err(Refusal::new(format!("cannot start cargo: {}", become_it(&mut cargo))))
    }
}

#[cfg(feature = "book")]
pub use paper::write as pdf;
#[cfg(feature = "book")]
pub use with_mdbook::{build, router, run};

/// With the feature: mdBook as a library, and a server for what it has made.
#[cfg(feature = "book")]
mod with_mdbook {
    use std::{
        fs, io,
        path::{Path, PathBuf},
    };

    use axum::{
        Router,
        extract::{Request, State},
        http::{StatusCode, header},
        response::{IntoResponse, Response},
    };
    use mdbook_driver::MDBook;
    use tokio::{runtime, signal};

    use super::{Wanted, paper, search};
    use crate::{Refusal, checkout::Checkout, read::serve, terminal::print};

    /// Builds the book, and serves or prints it if that is wanted.
    ///
    /// # Errors
    /// If a page is not in order, the book cannot be written, the port is taken, or there is no Chromium to print it.
    pub fn run(checkout: &Checkout, wanted: Wanted) -> Result<bool, Refusal> {
        match wanted {
            Wanted::Served(port) => serve(checkout, port)?,
            Wanted::Built => print(&format!("the book is in {}\n", build(checkout)?.join("index.html").display()))?,
            Wanted::Printed => {
                // That there is nothing to print with is said before the book is built.
                paper::chromium()?;
                print(&format!("the book is in {}\n", paper::write(&build(checkout)?)?.display()))?;
            }
        }
        Ok(true)
    }

    fn serve(checkout: &Checkout, port: u16) -> Result<(), Refusal> {
        let runtime = runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Refusal::new(format!("cannot start a runtime: {error}")))?;
        runtime.block_on(async {
            // A port that is taken is said before the book is built.
            let listener = serve::bind(port).await?;
            let built = build(checkout)?;
            let address =
                listener.local_addr().map_err(|error| Refusal::new(format!("cannot read the port: {error}")))?;
            print(&format!("the book is on http://{address} until Ctrl-C\n"))?;
            serve::until(listener, router(built), async { drop(signal::ctrl_c().await) }).await
        })
    }

    /// Builds the book into `book/book` and says where that is.
    ///
    /// # Errors
    /// If a page is not in order or the book cannot be written.
    pub fn build(checkout: &Checkout) -> Result<PathBuf, Refusal> {
        let faults = super::faults(checkout)?;
        if !faults.is_empty() {
            return Err(Refusal::new(format!("the book cannot be built:\n{}", faults.join("\n"))));
        }
        let mut book = MDBook::load(checkout.path("book"))
            .map_err(|error| Refusal::new(format!("mdBook cannot read the book: {error:#}")))?;
        if let Some(repository) = repository(checkout)? {
            for (name, link) in [
                ("output.html.git-repository-url", repository.clone()),
                ("output.html.edit-url-template", format!("{repository}/edit/main/book/{{path}}")),
            ] {
                book.config
                    .set(name, link)
                    .map_err(|error| Refusal::new(format!("mdBook takes no {name}: {error:#}")))?;
            }
        }
        let built = book.build_dir_for("html");
        writable(&built)
            .map_err(|error| Refusal::new(format!("cannot write the book into {}: {error}", built.display())))?;
        book.build().map_err(|error| Refusal::new(format!("mdBook cannot build the book: {error:#}")))?;
        search::write(checkout, &built)?;
        Ok(built)
    }

    /// Where the manifest of the workspace says that the sources are. Without it the pages have no link to them.
    fn repository(checkout: &Checkout) -> Result<Option<String>, Refusal> {
        let manifest: toml::Table = toml::from_str(&checkout.text("Cargo.toml")?)
            .map_err(|error| Refusal::new(format!("cannot read Cargo.toml: {error}")))?;
        let package = manifest.get("workspace").and_then(|workspace| workspace.get("package"));
        let repository = package.and_then(|package| package.get("repository")).and_then(toml::Value::as_str);
        Ok(repository.map(|repository| repository.trim_end_matches('/').trim_end_matches(".git").to_owned()))
    }

    /// Whether a file can be made in a folder, which is made if it is not there.
    fn writable(folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let trial = folder.join(".trial");
        fs::write(&trial, "")?;
        fs::remove_file(trial)
    }

    /// Serves the files of a built book.
    pub fn router(built: PathBuf) -> Router {
        Router::new().fallback(file).with_state(built)
    }

    async fn file(State(built): State<PathBuf>, request: Request) -> Response {
        let path = request.uri().path().trim_start_matches('/');
        let name = if path.is_empty() { "index.html" } else { path };
        // mdBook's own names need no escapes, and a name that climbs is nobody's.
        let ours = name.split('/').all(|part| !part.is_empty() && part != ".." && !part.contains(['\\', ':', '%']));
        match fs::read(built.join(name)) {
            Ok(bytes) if ours => ([(header::CONTENT_TYPE, kind(name))], bytes).into_response(),
            _ => (StatusCode::NOT_FOUND, "there is no such page\n").into_response(),
        }
    }

    fn kind(name: &str) -> &'static str {
        match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "json" => "application/json",
            "svg" => "image/svg+xml",
            "png" => "image/png",
            "woff2" => "font/woff2",
            "txt" => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::languages;
    use super::{anchors, directives, entries, links, unfulfilled};
    use crate::checkout::Checkout;

    fn fault(directive: &str) -> String {
        unfulfilled(&Checkout::here(), directive).unwrap_or_default()
    }

    #[test]
    fn what_cannot_be_included_is_named() {
        assert_eq!(fault("generated/hidden-flush/fixed.txt"), "");
        assert_eq!(fault("../../cases/hidden-flush/src/lib.rs:defect"), "");
        assert_eq!(
            fault("generated/hidden-flush/lost.txt"),
            "there is no file book/src/generated/hidden-flush/lost.txt"
        );
        let lost = "cases/hidden-flush/src/lib.rs has no anchor `defec`";
        assert_eq!(fault("../../cases/hidden-flush/src/lib.rs:defec"), lost);
        assert!(fault("generated/hidden-flush/seen.md:1:999").ends_with("and no line 999"));
    }

    #[test]
    fn directives_and_links_are_found_where_they_stand() {
        let line = r"{{#include a.rs:one}} and \{{#include b.rs}} and {{ #include  c.rs }} {{#inlude d.rs}}";
        assert_eq!(directives(line).collect::<Vec<_>>(), ["a.rs:one", "c.rs", "inlude d.rs"]);
        let line = "[one](a.md#part), [two](https://example.org/b.md) and [three](c.html)";
        assert_eq!(links(line).collect::<Vec<_>>(), ["a.md"]);
        assert_eq!(links("[one]: a.md").collect::<Vec<_>>(), ["a.md"]);
        let line = "[one](a.md#part), [two](#here), [three](https://example.org/b.md#c) and [four](d.md)";
        assert_eq!(anchors(line).collect::<Vec<_>>(), [("a.md", "part"), ("", "here")]);
    }

    #[test]
    fn the_languages_are_those_of_the_translations() {
        let mut faults = Vec::new();
        languages(&Checkout::here(), &mut faults);
        assert_eq!(faults, [""; 0]);
    }

    #[test]
    fn the_summary_is_read_with_its_parts() {
        let entries = entries("[First](first.md)\n\n# Time\n\n- [The late one](late.md)\n- [To come]()\n");
        let read: Vec<_> =
            entries.iter().map(|entry| (entry.line, &*entry.part, &*entry.title, &*entry.page)).collect();
        assert_eq!(
            read,
            [(1, "", "First", "first.md"), (5, "Time", "The late one", "late.md"), (6, "Time", "To come", "")]
        );
    }
}
