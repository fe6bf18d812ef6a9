//! The skeleton of a new ghost in every tree. It is small, but it is whole: it compiles, and its tests pass.

use serde::Serialize;

use crate::{
    Refusal,
    catalogue::{generated, ghosts},
    checkout::Checkout,
    terminal::{print, print_json},
};

/// Where each template goes; `{slug}` and `{module}` stand for the two forms of the name.
const FILES: [(&str, &str); 15] = [
    ("book/src/{slug}.md", include_str!("../../templates/chapter.md")),
    ("book/pictures/{slug}.toml", include_str!("../../templates/picture.toml")),
    ("cases/{slug}/Cargo.toml", include_str!("../../templates/case.Cargo.toml")),
    ("cases/{slug}/case.toml", include_str!("../../templates/case.toml")),
    ("cases/{slug}/src/lib.rs", include_str!("../../templates/broken.rs")),
    ("cases/{slug}/src/near_misses.rs", include_str!("../../templates/near_misses.rs")),
    ("cases/{slug}/src/near_misses/still_wrong.rs", include_str!("../../templates/near_miss.rs")),
    ("cases/{slug}/tests/reproduces.rs", include_str!("../../templates/reproduces.rs")),
    ("fixed/{slug}/Cargo.toml", include_str!("../../templates/case.Cargo.toml")),
    ("fixed/{slug}/src/lib.rs", include_str!("../../templates/fixed.rs")),
    ("fixed/{slug}/tests/holds.rs", include_str!("../../templates/holds.rs")),
    ("fixed/{slug}/tests/also_right/by_fallback.rs", include_str!("../../templates/also_right.rs")),
    ("tests/{slug}/Cargo.toml", include_str!("../../templates/specification.Cargo.toml")),
    ("tests/{slug}/src/lib.rs", include_str!("../../templates/specification.rs")),
    ("tests/{slug}/tests/hostile.rs", include_str!("../../templates/hostile.rs")),
];

/// The list of chapters, and the heading under which the skeleton's stands: its `case.toml` says `family = "state"`.
const SUMMARY: &str = "book/src/SUMMARY.md";
const FAMILY: &str = "# State\n\n";
/// The runner's manifest, and where its lines for the ghosts begin.
const MANIFEST: &str = "workshop/Cargo.toml";
const TWINS: &str = "# The twins and the specification: three lines for each ghost.\n";

/// What is searched for, the words of the pictures, and where those of the ghosts begin.
const SEARCHED: &str = "book/search.toml";
const WORDS: &str = "book/pictures/words.toml";
const OF_GHOSTS: &str = "# Of each ghost:\n\n";

#[derive(Serialize)]
struct Skeleton {
    schema: u32,
    slug: String,
    written: Vec<String>,
    by_hand: ByHand,
}

/// The line that a person adds to a file that is kept by hand.
#[derive(Serialize)]
struct ByHand {
    file: &'static str,
    line: String,
}

/// Writes the skeleton of `slug` and prints the line to add by hand.
///
/// # Errors
/// If `slug` is not a name for a ghost, or any of its files is there already. Nothing is written then.
pub fn run(checkout: &Checkout, slug: &str, json: bool) -> Result<bool, Refusal> {
    named_well(slug)?;
    let (module, words) = (slug.replace('-', "_"), slug.replace('-', " "));
    let filled = |text: &str| text.replace("{slug}", slug).replace("{module}", &module).replace("{words}", &words);
    let files: Vec<(String, String)> = FILES.iter().map(|(name, text)| (filled(name), filled(text))).collect();
    if let Some((name, _)) = files.iter().find(|(name, _)| checkout.has(name)) {
        return Err(Refusal::new(format!("{name} already exists; choose another name, or remove it first")));
    }
    let chapter = format!("- [The {words}]({slug}.md)\n");
    let dependencies = format!(
        "{slug} = {{ path = \"../cases/{slug}\" }}\n{slug}-fixed = {{ path = \"../fixed/{slug}\" }}\n\
         {slug}-spec = {{ path = \"../tests/{slug}\" }}\n"
    );
    let added = [
        added(checkout, SUMMARY, FAMILY, &chapter)?,
        added(checkout, MANIFEST, TWINS, &dependencies)?,
        added(checkout, SEARCHED, OF_GHOSTS, &filled("[{slug}]\nwords = [\"what people search for\"]\n\n"))?,
        added(checkout, WORDS, OF_GHOSTS, &filled(include_str!("../../templates/picture-words.toml")))?,
    ];
    for (name, text) in &files {
        // Both twins share one manifest, but for the name.
        let fixed = name.starts_with("fixed/") && name.ends_with("Cargo.toml");
        let text = if fixed { text.replacen(slug, &format!("{slug}-fixed"), 1) } else { text.clone() };
        write(checkout, name, &text)?;
    }
    for (name, text) in &added {
        write(checkout, name, text)?;
    }
    let names = files.into_iter().map(|(name, _)| name);
    let skeleton = Skeleton {
        schema: 2,
        slug: slug.to_owned(),
        written: names.chain(added.map(|(name, _)| name.to_owned())).collect(),
        by_hand: ByHand {
            file: "workshop/src/catalogue/ghosts.rs",
            line: format!(
                "Ghost::of::<{module}_spec::Spec>({module}::app, {module}_fixed::app, {module}::near_misses::ALL),"
            ),
        },
    };
    if json {
        print_json(&skeleton)?
    } else {
        print(&skeleton.text())?
    }
    Ok(true)
}

fn named_well(slug: &str) -> Result<(), Refusal> {
    let word = |word: &str| !word.is_empty() && word.chars().all(|letter| letter.is_ascii_lowercase());
    if slug.split('-').count() < 2 || !slug.split('-').all(word) {
        return Err(Refusal::new(format!(
            "`{}` is not a name for a ghost: use two or more lower-case words, such as `hidden-flush`",
            slug.escape_debug()
        )));
    }
    if ghosts::ALL.iter().any(|ghost| ghost.slug == slug) {
        return Err(Refusal::new(format!("there is already a ghost `{slug}`")));
    }
    Ok(())
}

fn write(checkout: &Checkout, name: &str, text: &str) -> Result<(), Refusal> {
    checkout.write(name, text).map_err(|error| Refusal::new(format!("cannot write {name}: {error}")))
}

/// The text of a file with lines behind the first `mark`.
fn added(checkout: &Checkout, name: &'static str, mark: &str, lines: &str) -> Result<(&'static str, String), Refusal> {
    let text = checkout.text(name)?;
    let (before, after) = text
        .split_once(mark)
        .ok_or_else(|| Refusal::new(format!("{name} is missing its line `{}`; put it back", mark.trim_end())))?;
    Ok((name, format!("{before}{mark}{lines}{after}")))
}

impl Skeleton {
    fn text(&self) -> String {
        let mut text: String = self.written.iter().map(|name| format!("wrote {name}\n")).collect();
        text.push_str(&format!("\nAdd to {}, in the order of the tour:\n  {}\n", self.by_hand.file, self.by_hand.line));
        text.push_str(&format!(
            "\nThen: INSTA_UPDATE=always cargo test -p {slug} -p {slug}-fixed -p {slug}-spec, read the snapshots,\n\
             {}, and cargo test.\n",
            generated::COMMAND,
            slug = self.slug
        ));
        text
    }
}
