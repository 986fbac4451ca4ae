//! A line of arguments into words, by the shell's rules of quoting (and no others of its rules).

/// Splits as a POSIX shell does: blanks part words, `'…'` keeps everything, `"…"` everything but `\"`, `\\`, `\$` and
/// ``\` ``, a backslash elsewhere the character behind it.
pub(crate) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or("a ' has no end")? {
                        '\'' => break,
                        quoted => word.push(quoted),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or("a \" has no end")? {
                        '"' => break,
                        '\\' => match characters.next().ok_or("a \" has no end")? {
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        quoted => word.push(quoted),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(characters.next().ok_or("nothing stands behind the last \\")?),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn quoting_is_the_shells() {
        let cases: [(&str, Option<&[&str]>); 12] = [
            ("", Some(&[])),
            ("  \t\n", Some(&[])),
            ("-w 4 --bind=:80", Some(&["-w", "4", "--bind=:80"])),
            ("--name 'a b'", Some(&["--name", "a b"])),
            (r#"--name "a \"b\" \n""#, Some(&["--name", r#"a "b" \n"#])),
            (r"a\ b\\", Some(&[r"a b\"])),
            ("''", Some(&[""])),
            (r#"a'b'"c"d"#, Some(&["abcd"])),
            ("#5", Some(&["#5"])),
            ("'a", None),
            ("\"a", None),
            ("a\\", None),
        ];
        for (text, expected) in cases {
            let words = split(text).ok();
            assert_eq!(
                words.as_ref().map(|words| words.iter().map(String::as_str).collect()),
                expected.map(<[_]>::to_vec)
            );
        }
    }
}
