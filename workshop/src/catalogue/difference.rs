//! The difference of the twins: the lesson.

use similar::{ChangeTag, TextDiff};

use crate::{Refusal, checkout::Checkout};

/// The files in which the twins may differ.
pub(crate) const FILES: [&str; 2] = ["lib.rs", "shared.rs"];

/// The one admitted difference in surface, which is no part of the lesson.
const NEAR_MISSES: &str = "#[doc(hidden)]\npub mod near_misses;\n";

/// The difference of the twins of `slug` as a unified diff, from broken to fixed.
///
/// # Errors
/// If a twin's source cannot be read.
pub fn unified(checkout: &Checkout, slug: &str) -> Result<String, Refusal> {
    let mut all = String::new();
    for file in FILES {
        let (broken, fixed) = (format!("cases/{slug}/src/{file}"), format!("fixed/{slug}/src/{file}"));
        let (old, new) = (source(checkout, &broken)?, source(checkout, &fixed)?);
        all.push_str(&compared((&broken, &old), (&fixed, &new), 3));
    }
    Ok(all)
}

/// The difference of a near miss of `slug` from the broken twin as a unified diff, with a line round each piece. What their
/// headers tell is left out.
///
/// # Errors
/// If a source cannot be read.
pub fn near_miss(checkout: &Checkout, slug: &str, name: &str) -> Result<String, Refusal> {
    let (twin, folder, own) = (format!("cases/{slug}/src"), near_misses(slug), name.replace('-', "_"));
    let lib = source(checkout, &format!("{folder}/{own}.rs"))?;
    // A core that is not the twin's stands beside the near miss, or is one that several share.
    let shared = lib.lines().find_map(|line| line.strip_prefix("use super::")?.split_once("::"));
    let core = shared.map_or(own.as_str(), |(module, _)| module);
    let files = [("lib.rs", format!("{folder}/{own}.rs")), ("shared.rs", format!("{folder}/{core}/shared.rs"))];
    let mut all = String::new();
    for (file, new) in files.iter().filter(|(_, new)| checkout.has(new)) {
        let old = format!("{twin}/{file}");
        let (old_code, new_code) = (code(&source(checkout, &old)?), code(&source(checkout, new)?));
        all.push_str(&compared((&old, &old_code), (new, &new_code), 1));
    }
    // Without the headers, line numbers are those of no file.
    let lines = all.lines().map(|line| if line.starts_with("@@ ") { "@@" } else { line });
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

/// The most lines of a near miss that its chapter shows.
const TOLD: usize = 12;
/// What stands between the first and the last line of a piece.
const TO: &str = " .. ";

/// Those lines of the difference of a near miss that its chapter shows, as `case.toml` chooses them: the piece with a line that
/// contains the text, or, where the text is `first .. last`, the lines from one to the other; `x .. x` is one line. Each choice
/// begins after the one before.
///
/// # Errors
/// If a source cannot be read, a text is not found, or there are more lines than a reader takes in.
pub fn told(checkout: &Checkout, slug: &str, name: &str, shows: &[String]) -> Result<String, Refusal> {
    let wrong = |why: String| Refusal::new(format!("cases/{slug}/case.toml: near miss `{name}`: {why}"));
    let all = near_miss(checkout, slug, name)?;
    let lines: Vec<&str> = all.lines().collect();
    let own = |line: &str| line.replace(&format!("cases/{slug}/src/"), "");
    let is_mark = |line: &str| line == "@@" || line.starts_with("--- ");
    let (mut told, mut count, mut next, mut file) = (String::new(), 0, 0, None);
    for text in shows {
        let (first, last) = text.split_once(TO).unwrap_or((text, text));
        let lost = |part: &str| wrong(format!("`shows` has `{part}`, which is in no line of the difference there"));
        let find = |from: usize, part: &str| {
            lines.iter().skip(from).position(|line| line.contains(part)).map(|at| from + at).ok_or_else(|| lost(part))
        };
        let at = find(next, first)?;
        let (begin, end) = if text.contains(TO) {
            (at, if first == last { at } else { find(at + 1, last)? } + 1)
        } else {
            let begin = lines[..at].iter().rposition(|line| is_mark(line)).map_or(0, |mark| mark + 1);
            let end = lines.iter().skip(at).position(|line| is_mark(line)).map_or(lines.len(), |mark| at + mark);
            (begin, end)
        };
        let piece = &lines[begin..end];
        if let Some(mark) = piece.iter().find(|line| is_mark(line)) {
            return Err(wrong(format!("`{text}` goes on over `{mark}`")));
        }
        let header = lines[..begin].iter().rposition(|line| line.starts_with("--- "));
        if header != file
            && let Some(header) = header
        {
            told.push_str(&format!("{}\n{}\n", own(lines[header]), own(lines[header + 1])));
            file = header.into();
        }
        told.push_str("@@\n");
        told.push_str(&dedented(piece));
        count += piece.len();
        next = end;
    }
    if count > TOLD {
        return Err(wrong(format!("`shows` chooses {count} lines, and may choose {TOLD}")));
    }
    Ok(told)
}

/// The lines of a difference without the blanks that all of them begin with, and without blank lines at either end.
fn dedented(lines: &[&str]) -> String {
    let blank = |line: &&str| line.get(1..).unwrap_or_default().trim().is_empty();
    let first = lines.iter().position(|line| !blank(line)).unwrap_or(0);
    let last = lines.iter().rposition(|line| !blank(line)).map_or(0, |last| last + 1);
    let indent = |line: &&str| line.len() - 1 - line[1..].trim_start().len();
    let common = lines.iter().filter(|line| !blank(line)).map(indent).min().unwrap_or(0);
    let cut = |line: &&str| match line.get(1 + common..) {
        Some(rest) => format!("{}{rest}\n", &line[..1]),
        None => "\n".to_owned(),
    };
    lines[first..last].iter().map(cut).collect()
}

/// The folder of the near misses of `slug`.
pub(crate) fn near_misses(slug: &str) -> String {
    format!("cases/{slug}/src/near_misses")
}

/// A source without its header, and without the module in which only the crate itself says what `sync` is.
fn code(source: &str) -> String {
    let begin = source.find("mod sync {\n").unwrap_or(source.len());
    let (before, rest) = source.split_at(begin);
    let after = rest.split_once("}\n").map_or("", |(_, after)| after);
    let lines = before.lines().chain(after.lines()).skip_while(|line| line.starts_with("//!"));
    lines.map(|line| format!("{line}\n")).collect::<String>().replace("\n\n\n", "\n\n")
}

/// Two files, each with its name and its text, as a unified diff with so many lines round each piece; empty if they are the same.
fn compared((old_name, old): (&str, &str), (new_name, new): (&str, &str), radius: usize) -> String {
    let diff = TextDiff::from_lines(old, new);
    diff.unified_diff().context_radius(radius).header(old_name, new_name).to_string()
}

/// How many code lines differ: the lines that are added and those that are taken away, without blank ones and comments.
///
/// # Errors
/// If a twin's source cannot be read.
pub fn changed_code_lines(checkout: &Checkout, slug: &str) -> Result<usize, Refusal> {
    let mut changed = 0;
    for file in FILES {
        let old = source(checkout, &format!("cases/{slug}/src/{file}"))?;
        let new = source(checkout, &format!("fixed/{slug}/src/{file}"))?;
        let diff = TextDiff::from_lines(&old, &new);
        let is_code = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        changed += diff
            .iter_all_changes()
            .filter(|change| change.tag() != ChangeTag::Equal && is_code(change.value()))
            .count();
    }
    Ok(changed)
}

/// The text of a source file with line feeds only, without what is there for the book and for the tests; empty where a twin
/// has no such file.
fn source(checkout: &Checkout, name: &str) -> Result<String, Refusal> {
    if name.ends_with("shared.rs") && !checkout.has(name) {
        return Ok(String::new());
    }
    let text = checkout.text(name)?.replace(NEAR_MISSES, "").replace("\n\n\n", "\n\n");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("// ANCHOR"));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::ghosts;

    #[test]
    fn a_near_miss_differs_by_its_code_only() {
        let checkout = Checkout::here();
        for ghost in ghosts::ALL.iter() {
            for near_miss in &ghost.near_misses {
                let difference = near_miss_of(&checkout, ghost.slug, near_miss.name);
                assert!(difference.starts_with(&format!("--- cases/{}/src/", ghost.slug)), "{difference}");
                for left_out in ["+//!", "-//!", "mod sync {", "mod near_misses", "ANCHOR"] {
                    assert!(!difference.contains(left_out), "{}: {left_out} in {difference}", near_miss.name);
                }
            }
        }
    }

    #[test]
    fn a_core_of_its_own_is_compared_too() {
        let checkout = Checkout::here();
        let of_its_own = near_miss_of(&checkout, "leaked-permit", "look-then-leave");
        assert!(
            of_its_own.contains("+++ cases/leaked-permit/src/near_misses/look_then_leave/shared.rs\n"),
            "{of_its_own}"
        );
        let of_several = near_miss_of(&checkout, "leaked-permit", "return-on-drop");
        assert!(of_several.contains("+++ cases/leaked-permit/src/near_misses/mended/shared.rs\n"), "{of_several}");
        let of_the_twin = near_miss_of(&checkout, "leaked-permit", "forgotten-grant");
        assert!(!of_the_twin.contains("shared.rs\n"), "{of_the_twin}");
    }

    fn near_miss_of(checkout: &Checkout, slug: &str, name: &str) -> String {
        near_miss(checkout, slug, name).expect("its source can be read")
    }
}
