//! What the trainer's slides and papers say beside the chapters: one table, which is translated with the book.

use serde::Deserialize;

#[cfg(test)]
use crate::html::inline;
use crate::{Refusal, checkout::Checkout};

/// The file of the words.
const FILE: &str = "book/trainer.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    /// How long a first build took.
    pub(super) first_build: String,
    pub(super) slides: Slides,
    pub(super) handout: Handout,
    pub(super) answers: Answers,
    pub(super) evaluation: Evaluation,
    pub(super) mails: Mails,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Slides {
    pub(super) title: String,
    pub(super) about: String,
    pub(super) tour: String,
    pub(super) begin: String,
    pub(super) measure: String,
    pub(super) story: String,
    pub(super) story_notes: String,
    pub(super) see: String,
    pub(super) serve_notes: String,
    pub(super) see_notes: String,
    pub(super) code: String,
    pub(super) code_notes: String,
    pub(super) turn: String,
    pub(super) turn_notes: String,
    pub(super) fixes: String,
    pub(super) fixes_say: String,
    pub(super) fixes_notes: String,
    pub(super) tempting: String,
    pub(super) tempting_notes: String,
    pub(super) rejected_notes: String,
    pub(super) seen: String,
    pub(super) seen_notes: String,
    pub(super) happens: String,
    pub(super) rule: String,
    pub(super) fix: String,
    pub(super) last: String,
    pub(super) last_say: String,
    pub(super) last_notes: String,
    pub(super) keys: String,
    pub(super) notes: String,
    pub(super) place: String,
    pub(super) next: String,
    pub(super) end: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Handout {
    pub(super) title: String,
    pub(super) story: String,
    pub(super) see: String,
    pub(super) see_how: String,
    pub(super) work: String,
    pub(super) start: String,
    pub(super) watch: String,
    pub(super) hint: String,
    pub(super) write: String,
    /// What people write down before they compare.
    pub(super) questions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Answers {
    pub(super) title: String,
    pub(super) afterwards: String,
    pub(super) cause: String,
    pub(super) fix: String,
    pub(super) near_miss: String,
    pub(super) tempts: String,
    pub(super) rejects: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Evaluation {
    pub(super) title: String,
    pub(super) heading: String,
    pub(super) how: String,
    pub(super) since: String,
    pub(super) grades: Vec<String>,
    /// What everybody is asked at the end, beside the objectives.
    pub(super) asked: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Mails {
    pub(super) invitation: String,
    pub(super) follow_up: String,
}

impl Words {
    /// The words, as the book has them.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn read(checkout: &Checkout) -> Result<Self, Refusal> {
        toml::from_str(&checkout.text(FILE)?).map_err(|error| Refusal::new(format!("{FILE}: {error}")))
    }

    /// The same in a language in which each sentence begins with a sign.
    #[cfg(test)]
    pub(super) fn signed(checkout: &Checkout) -> Self {
        fn sign(value: &mut toml::Value) {
            match value {
                toml::Value::String(text) => text.insert(0, SIGN),
                toml::Value::Array(all) => all.iter_mut().for_each(sign),
                toml::Value::Table(all) => all.iter_mut().for_each(|(_, value)| sign(value)),
                _ => {}
            }
        }
        let mut table = toml::Value::Table(toml::from_str(&checkout.text(FILE).unwrap()).unwrap());
        sign(&mut table);
        table.try_into().unwrap()
    }
}

#[cfg(test)]
const SIGN: char = '§';

/// The paragraphs, headings and cells of a page that neither begin with the sign nor stand in one of the sources.
#[cfg(test)]
pub(super) fn lost(html: &str, sources: &str) -> Vec<String> {
    let words = |text: &str| {
        let mut told = String::new();
        // Without tags and entities.
        for part in text.split('<') {
            told.push_str(part.split_once('>').map_or(part, |(_, rest)| rest));
        }
        for entity in ["&amp;", "&lt;", "&gt;", "&#123;"] {
            told = told.replace(entity, " ");
        }
        told.split(|letter: char| !letter.is_alphanumeric() && letter != SIGN)
            .filter(|word| !word.is_empty())
            .map(|word| format!("{} ", word.to_lowercase()))
            .collect::<String>()
    };
    // Markdown becomes what a page has of it; what is generated is HTML as it stands.
    let known = format!(" {}{}", words(&inline(&sources.replace('\n', " "))), words(sources));
    let mut page = html.to_owned();
    for end in ["</p>", "</h1>", "</h2>", "</td>", "</th>", "</b> "] {
        page = page.replace(end, &format!("{end}\0"));
    }
    // What is typed is not translated.
    let blocks = page.split('\0').map(|block| block.rsplit_once("</pre>").map_or(block, |(_, rest)| rest));
    let blocks = blocks.map(words).filter(|block| !block.is_empty());
    blocks.filter(|block| !block.starts_with(SIGN) && !known.contains(&format!(" {block}"))).collect()
}
