//! The forms of JSON that the book documents, in `book/src/for-machines.md`, and whether a document has one of them.

use std::collections::BTreeMap;

use ghosts::checkout::Checkout;
use serde_json::{Map, Value};

const PAGE: &str = "book/src/for-machines.md";

/// The forms under each heading of the page.
pub(crate) struct Forms(BTreeMap<String, Vec<Value>>);

impl Forms {
    /// As the book has them.
    pub(crate) fn documented() -> Self {
        let page = Checkout::here().text(PAGE).expect("a page of the book");
        let (mut forms, mut heading) = (BTreeMap::<String, Vec<Value>>::new(), String::new());
        let mut block: Option<String> = None;
        for line in page.lines() {
            match &mut block {
                Some(text) if line == "```" => {
                    let form = serde_json::from_str(text).unwrap_or_else(|error| panic!("{PAGE}: {error}: {text}"));
                    forms.entry(heading.clone()).or_default().push(form);
                    block = None;
                }
                Some(text) => *text += &format!("{line}\n"),
                None if line == "```json" => block = Some(String::new()),
                None => {
                    if let Some(title) = line.strip_prefix("## ").or(line.strip_prefix("### ")) {
                        heading = title.trim_matches('`').to_owned();
                    }
                }
            }
        }
        Self(forms)
    }

    /// Every heading with a form under it.
    pub(crate) fn headings(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Holds a document against the forms under a heading: it has exactly one of them.
    pub(crate) fn hold(&self, heading: &str, document: &Value) {
        let forms = self.0.get(heading).unwrap_or_else(|| panic!("{PAGE} has no form under `{heading}`"));
        let faults: Vec<String> = forms.iter().filter_map(|form| self.fits(form, document, heading).err()).collect();
        assert_eq!(faults.len() + 1, forms.len(), "{PAGE}, `{heading}`: {faults:#?}\n{document:#}");
    }

    fn fits(&self, form: &Value, value: &Value, at: &str) -> Result<(), String> {
        let fault = || Err(format!("{at} is {value}, and {form} is documented"));
        match (form, value) {
            (Value::String(form), _) => {
                let kind = form.split(": ").next().unwrap_or_default();
                let fits = match (kind, value) {
                    ("text" | "text or null", Value::String(_)) => true,
                    ("number" | "number or null", Value::Number(_)) => true,
                    ("true or false" | "true or false or null", Value::Bool(_)) => true,
                    ("text or null" | "number or null" | "true or false or null", Value::Null) => true,
                    _ => match kind.strip_prefix("form ") {
                        Some(name) => {
                            let fits = self.0[name].iter().map(|form| self.fits(form, value, at));
                            return fits.reduce(|one, other| one.or(other)).unwrap_or(Ok(()));
                        }
                        None => !kind.starts_with("text") && kind.split(" | ").any(|word| value == word),
                    },
                };
                if fits { Ok(()) } else { fault() }
            }
            (Value::Array(forms), Value::Array(values)) => match &forms[..] {
                [form] => values.iter().try_for_each(|value| self.fits(form, value, &format!("{at}[]"))),
                _ if forms.len() == values.len() => {
                    forms.iter().zip(values).try_for_each(|(form, value)| self.fits(form, value, &format!("{at}[]")))
                }
                _ => fault(),
            },
            (Value::Object(form), Value::Object(value)) => self.has_keys(&self.spread(form), value, at),
            _ if form == value => Ok(()),
            _ => fault(),
        }
    }

    /// The form with the keys of another in the place of `...`.
    fn spread(&self, form: &Map<String, Value>) -> Map<String, Value> {
        let mut all = form.clone();
        if let Some(Value::String(other)) = all.remove("...") {
            let other = self.0[other.trim_start_matches("form ")][0].as_object().expect("a form with keys");
            all.extend(other.clone());
        }
        all
    }

    fn has_keys(&self, form: &Map<String, Value>, value: &Map<String, Value>, at: &str) -> Result<(), String> {
        for (key, form) in form {
            let (key, may_be_missing) = key.strip_suffix('?').map_or((&**key, false), |key| (key, true));
            match value.get(key) {
                Some(value) => self.fits(form, value, &format!("{at}.{key}"))?,
                None if may_be_missing => {}
                None => return Err(format!("{at} has no `{key}`, which is documented")),
            }
        }
        let documented = |key: &String| form.contains_key(key) || form.contains_key(&format!("{key}?"));
        value.keys().find(|key| !documented(key)).map_or(Ok(()), |key| Err(format!("{at}.{key} is not documented")))
    }
}
