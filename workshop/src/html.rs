//! What is written into a page of HTML, whoever has said it.

/// The text as XML has it, on one line, and without what mdBook would take for an instruction.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '{' => escaped.push_str("&#123;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.extend(c.escape_debug()),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A paragraph of Markdown: what stands between backticks is code, between asterisks it is emphasised, and a link is its words.
///
/// It is read by hand because pulldown-cmark comes with mdBook, which only the feature `book` builds: here it would be part of
/// everybody's first build.
pub(crate) fn inline(paragraph: &str) -> String {
    let mut html = String::new();
    for (place, part) in paragraph.split('`').enumerate() {
        if place % 2 == 1 {
            html.push_str(&format!("<code>{}</code>", escaped(part)));
            continue;
        }
        for (place, part) in without_links(part).split("**").enumerate() {
            let emphasised: String = part
                .split('*')
                .enumerate()
                .map(|(place, part)| if place % 2 == 1 { format!("<em>{}</em>", escaped(part)) } else { escaped(part) })
                .collect();
            html.push_str(&if place % 2 == 1 { format!("<strong>{emphasised}</strong>") } else { emphasised });
        }
    }
    html
}

/// The text with the words of its links, and without what they lead to.
fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if let Some(opened) = told.rfind('[') {
            told.remove(opened);
        }
        told.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::inline;

    #[test]
    fn a_paragraph_is_escaped_and_its_signs_are_read() {
        assert_eq!(inline("a <b> is `x < y`, *not* &"), "a &lt;b&gt; is <code>x &lt; y</code>, <em>not</em> &amp;");
        assert_eq!(
            inline("**One**: [the *other*](a.md#b), and [1]"),
            "<strong>One</strong>: the <em>other</em>, and [1]"
        );
    }
}
