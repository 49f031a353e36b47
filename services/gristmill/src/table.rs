//! Small tables of names and numbers.

/// Lines of a name and a number, names to the left, numbers with thousands marked to the right.
pub(crate) fn aligned(rows: &[(String, u64)]) -> String {
    let rows: Vec<_> = rows.iter().map(|(name, number)| (name, grouped(*number))).collect();
    let names = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let numbers = rows.iter().map(|(_, number)| number.len()).max().unwrap_or(0);
    rows.iter().map(|(name, number)| format!("  {name:<names$}  {number:>numbers$}\n")).collect()
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_stand_in_columns() {
        let rows = [("words".to_owned(), 1_234_567), ("ψυχή".to_owned(), 0)];
        assert_eq!(aligned(&rows), "  words  1,234,567\n  ψυχή           0\n");
        assert_eq!(aligned(&[]), "");
    }

    #[test]
    fn thousands_are_marked() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")] {
            assert_eq!(grouped(number), text);
        }
    }
}
