//! `If-None-Match` (RFC 9110, section 13.1.2): compared weakly, as a list or `*`.

use actix_web::http::header::{HeaderMap, IF_NONE_MATCH};

/// Whether the client has this representation already. `etag` is quoted and strong.
pub(crate) fn has_it(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok()).any(|value| names(value, etag))
}

fn names(list: &str, etag: &str) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let tag = rest.strip_prefix("W/").unwrap_or(rest);
        // A tag may hold commas: it ends at its closing quote, and what is no tag ends the list.
        let Some(end) = tag.strip_prefix('"').and_then(|opened| opened.find('"')) else { return false };
        let (tag, after) = tag.split_at(end + 2);
        if tag == etag {
            return true;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_found_in_lists_weak_or_strong() {
        for list in ["*", " * ", "\"a\"", "W/\"a\"", "\"b\", \"a\"", "\"b,c\" , W/\"a\"", ",,\"a\"", "\"a\"junk"] {
            assert!(names(list, "\"a\""), "{list}");
        }
        for list in ["", "a", "\"b\"", "\"b,\"a\"", "\"a", "w/\"a\"", "\"A\"", "x \"a\"", "\"*\""] {
            assert!(!names(list, "\"a\""), "{list}");
        }
    }

    proptest! {
        #[test]
        fn any_list_is_read(list: String, etag: String) {
            let _ = names(&list, &etag);
        }

        #[test]
        fn a_tag_is_found_wherever_it_stands(before in prop::collection::vec("\"[a-z,]{0,5}\"", 0..4), etag in "\"[a-z0-9_-]{1,40}\"") {
            let list = before.iter().map(String::as_str).chain([etag.as_str()]).collect::<Vec<_>>().join(", ");
            prop_assert!(names(&list, &etag));
        }
    }
}
