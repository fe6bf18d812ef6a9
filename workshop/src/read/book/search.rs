//! The search of the book. mdBook puts every word of a page into its index: reports and tables too, which a program has written,
//! and none of the words that a reader has who does not know the page's yet. So the index is made from pages of its own.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Refusal, catalogue::ghosts, checkout::Checkout};

const WORDS: &str = "book/search.toml";

/// What is searched for, by the name of its page.
#[derive(Deserialize)]
#[serde(transparent)]
struct Words(BTreeMap<String, Searched>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Searched {
    words: Vec<String>,
}

fn words(checkout: &Checkout) -> Result<Words, Refusal> {
    toml::from_str(&checkout.text(WORDS)?)
        .map_err(|error| Refusal::new(format!("{WORDS}: {}", error.message().replace('\n', " "))))
}

/// What is wrong with the table of words: each ghost has some, and each entry has its page.
pub(super) fn faults(checkout: &Checkout, faults: &mut Vec<String>) -> Result<(), Refusal> {
    let Words(words) = words(checkout)?;
    for ghost in ghosts::ALL.iter().filter(|ghost| !words.contains_key(ghost.slug)) {
        faults.push(format!("{WORDS} lacks `[{}]` with the words that people search for", ghost.slug));
    }
    for page in words.keys().filter(|page| !checkout.has(&format!("{}/{page}.md", super::SOURCE))) {
        faults.push(format!("{WORDS}: there is no page {}/{page}.md", super::SOURCE));
    }
    for (page, Searched { words }) in &words {
        if words.is_empty() {
            faults.push(format!("{WORDS}: `[{page}]` has no words"));
        }
    }
    Ok(())
}

/// A page as the index reads it: without what is generated, and with a heading for each of the words that are searched for,
/// which leads to the page's title. People have written what threads show, and listings in steps, though both are generated.
#[cfg(any(test, feature = "book"))]
fn page(text: &str, words: &[String]) -> String {
    let generated = |line: &str| {
        line.starts_with("{{#include generated/") && !line.contains("/threads.md") && !line.contains(".rs}}")
    };
    let mut page = super::without(text, generated);
    let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
    let id = title.to_lowercase().replace(' ', "-");
    let id = id.replace(|letter: char| !letter.is_alphanumeric() && letter != '-' && letter != '_', "");
    // A chapter begins with its symptom, which then stands below the hit.
    let symptom = text.lines().find(|line| line.len() > 2 && line.starts_with('*') && line.ends_with('*'));
    for words in words {
        page.push_str(&format!("\n## {words} {{#{id}}}\n\n{}\n", symptom.unwrap_or_default()));
    }
    page
}

#[cfg(feature = "book")]
pub(super) use with_mdbook::write;

#[cfg(feature = "book")]
mod with_mdbook {
    use std::{
        fs, io,
        path::{Path, PathBuf},
    };

    use mdbook_driver::MDBook;

    use super::{Words, page, words};
    use crate::{Refusal, checkout::Checkout};

    /// Makes the index anew and puts it in the place of mdBook's own.
    ///
    /// # Errors
    /// If the table of words is wrong, or the index cannot be made or written.
    pub(crate) fn write(checkout: &Checkout, built: &Path) -> Result<(), Refusal> {
        let Words(words) = words(checkout)?;
        let refused = |what: &str, why: String| Refusal::new(format!("cannot {what} the book's search: {why}"));
        let mut book = MDBook::load(checkout.path("book")).map_err(|error| refused("read", format!("{error:#}")))?;
        let folder = built.join("search");
        book.config.build.build_dir.clone_from(&folder);
        // Nobody reads these pages; one with all of them would take as long as all of them.
        book.config.set("output.html.print.enable", false).map_err(|error| refused("set up", format!("{error:#}")))?;
        book.book.for_each_chapter_mut(|chapter| {
            let name = chapter.path.as_deref().and_then(Path::file_stem).unwrap_or_default().to_string_lossy();
            let words = words.get(&*name).map(|searched| &*searched.words).unwrap_or_default();
            chapter.content = page(&chapter.content, words);
        });
        book.build().map_err(|error| refused("build", format!("{error:#}")))?;
        let replaced = replace(&folder, built);
        replaced.map_err(|error| refused("write", error.to_string()))
    }

    fn replace(from: &Path, to: &Path) -> io::Result<()> {
        fs::copy(index(from)?, index(to)?)?;
        fs::remove_dir_all(from)
    }

    /// The index in a built book; its name has a digest in it.
    fn index(folder: &Path) -> io::Result<PathBuf> {
        let files = fs::read_dir(folder)?.map(|file| file.map(|file| file.path())).collect::<io::Result<Vec<_>>>()?;
        let named = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("searchindex") && name.ends_with(".js")
        };
        files.into_iter().find(named).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no searchindex.js in {}", folder.display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn reports_are_left_out_and_words_put_in() {
        let text = "# The late one\n\n*It is late.*\n\n```text\n{{#include generated/late-one/broken.txt}}\n```\n\n\
                    ```rust\n{{#include ../../cases/late-one/src/lib.rs:defect}}\n```\n\n\
                    {{#include generated/late-one/seen.md}}\n{{#include generated/late-one/threads.md}}\n";
        let read = page(text, &["too late".to_owned(), "never".to_owned()]);
        let expected = "# The late one\n\n*It is late.*\n\n\n\
                        ```rust\n{{#include ../../cases/late-one/src/lib.rs:defect}}\n```\n\n\
                        {{#include generated/late-one/threads.md}}\n\n\
                        ## too late {#the-late-one}\n\n*It is late.*\n\n## never {#the-late-one}\n\n*It is late.*\n";
        assert_eq!(read, expected);
        assert_eq!(page("# Plain\n", &[]), "# Plain\n");
    }
}
