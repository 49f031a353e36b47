//! JSON laid out for people, every value as it was sent.

/// Indents valid JSON by two spaces. Only white space between values changes: numbers keep their digits and
/// objects their order, which a parse and a print would not promise.
pub(crate) fn laid_out(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0usize;
    let mut chars = text.chars().filter_outside_strings().peekable();
    while let Some((letter, in_string)) = chars.next() {
        match letter {
            _ if in_string => out.push(letter),
            '{' | '[' => {
                out.push(letter);
                if let Some((close, false)) = chars.peek().copied()
                    && matches!(close, '}' | ']')
                {
                    out.push(close);
                    chars.next();
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push(letter),
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

trait FilterOutsideStrings: Iterator<Item = char> + Sized {
    /// Each character and whether it is part of a string; white space between values is left out.
    fn filter_outside_strings(self) -> impl Iterator<Item = (char, bool)> {
        let (mut in_string, mut escaped) = (false, false);
        self.filter_map(move |letter| {
            let is_part = in_string || letter == '"';
            match letter {
                '"' if !escaped => in_string = !in_string,
                letter if !in_string && letter.is_ascii_whitespace() => return None,
                _ => {}
            }
            escaped = in_string && letter == '\\' && !escaped;
            Some((letter, is_part))
        })
    }
}

impl<I: Iterator<Item = char>> FilterOutsideStrings for I {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn values_stay_as_they_were_sent() {
        let sent = r#"{"b":1.50,"a":[ ],"c":{"d":"x, {\"y\"}: \\"},"n":123456789012345678901234567890,"e":[1,{}]}"#;
        let expected = "{\n  \"b\": 1.50,\n  \"a\": [],\n  \"c\": {\n    \"d\": \"x, {\\\"y\\\"}: \\\\\"\n  },\n  \
                        \"n\": 123456789012345678901234567890,\n  \"e\": [\n    1,\n    {}\n  ]\n}";
        assert_eq!(laid_out(sent), expected);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_looks_as_serde_would_lay_it_out(value in any_json()) {
            let expected = serde_json::to_string_pretty(&value).expect("JSON");
            prop_assert_eq!(laid_out(&value.to_string()), expected.clone());
            prop_assert_eq!(laid_out(&expected), expected);
        }
    }
}
